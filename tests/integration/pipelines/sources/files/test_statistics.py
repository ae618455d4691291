"""Files of statistics programs in a load: rows, codebook, and a file that was cut."""

from pathlib import Path
from typing import Any

import polars
import pyreadstat

from tests.support.data_plane.platform import Platform


def test_a_file_lands_with_its_codebook(platform: Platform, inbox: Path) -> None:
    rows = polars.DataFrame({"ID": [1.0, 2.0, 3.0], "SEX": [1.0, 2.0, 9.0], "NAME": ["A", "", "C"]})
    labels: dict[str, dict[Any, str]] = {"SEX": {1.0: "male", 2.0: "female"}, "NAME": {"A": "Quill, Ann"}}
    pyreadstat.write_sav(
        rows,
        str(inbox / "a.sav"),
        column_labels={"SEX": "Sex at birth"},
        variable_value_labels=labels,
        missing_ranges={"SEX": [9.0]},
    )
    connector = platform.add(
        {"type": "files", "url": str(inbox), "format": "sav", "table": "dm", "primary_key": "ID", "mask": ["NAME"]}
    )
    summary = platform.run(connector)
    (inbox / "b.sav").write_bytes((inbox / "a.sav").read_bytes()[:-8])
    schema = f"connector_{connector}"
    assert platform.duck(f"SELECT id, sex, sex__v_text, length(name) FROM {schema}.dm ORDER BY id") == [
        (1.0, 1.0, None, 64),
        (2.0, 2.0, None, None),
        (3.0, None, "9", 64),
    ]
    codebook = f'SELECT variable, "value", label, missing_values FROM {schema}.dm__codebook ORDER BY position, "value"'
    expected = [
        ("ID", "", None, None),
        ("SEX", "", "Sex at birth", "9"),
        ("SEX", "1", "male", None),
        ("SEX", "2", "female", None),
        ("NAME", "", None, None),  # masked, so that its values stand nowhere
    ]
    assert platform.duck(codebook) == expected
    assert summary.total_rows == 8
    # A changed file is read again, and its codebook stands once.
    (inbox / "b.sav").unlink()
    pyreadstat.write_sav(rows, str(inbox / "a.sav"), column_labels={"SEX": "Sex"})
    platform.run(connector)
    assert [row[2] for row in platform.duck(codebook) if row[:2] == ("SEX", "")] == ["Sex"]
