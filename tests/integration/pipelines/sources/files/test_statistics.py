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


def test_what_rows_may_leave_and_a_profile_do_to_codes(platform: Platform, inbox: Path) -> None:
    rows = polars.DataFrame({"WARD": [1.0, 9.0, 2.0], "STAFF": [1.0, 1.0, 2.0], "OK": [1.0, 1.0, 0.0]})
    staff: dict[Any, str] = {1.0: "one", 2.0: "canary, of a row that stays"}
    path = str(inbox / "a.sav")
    pyreadstat.write_sav(
        rows, path, column_labels={"OK": "Agrees"}, variable_value_labels={"STAFF": staff}, missing_ranges={"WARD": [9]}
    )
    where = {"path": "OK", "op": "==", "value": 1, "tables": ["dm"]}
    protect = {"profile": "safe_harbor", "where": [where]}
    said = {"type": "files", "url": str(inbox), "format": "sav", "table": "dm", "protect": protect}
    connector = platform.add(said)
    summary = platform.run(connector)
    schema = f"connector_{connector}"
    # A missing value of its users is none of the texts that the profile drops.
    assert platform.duck(f"SELECT ward, ward__v_text FROM {schema}.dm ORDER BY 1") == [(1.0, None), (None, "9")]
    codebook = 'SELECT variable, label FROM {}.dm__codebook ORDER BY position, "value"'
    assert platform.duck(codebook.format(schema)) == [("WARD", None), ("STAFF", None), ("OK", "Agrees")]
    assert "Labels of values don't land in dm__codebook" in summary.sentence
    assert b"canary" not in (platform.settings.data_dir / "warehouse.duckdb").read_bytes()
    # Who names the codebook has them.
    named = {"path": "variable", "op": "exists", "tables": ["dm__codebook"]}
    connector = platform.add({**said, "protect": {**protect, "where": [where, named]}})
    platform.run(connector)
    assert ("STAFF", staff[1.0]) in platform.duck(codebook.format(f"connector_{connector}"))
