"""Canaries beside rows: nothing of them is left in rejected rows, samples of changes, failed checks, comparisons."""

import json
from pathlib import Path
from typing import Any

import pytest

from connectors.runs import Options
from connectors.sources.write_rules import Comparison
from pipelines.errors import Step
from tests.support.data_plane.canaries import CANARIES, COLUMNS, ROW, Rig
from tests.support.data_plane.platform import Platform, Sql
from tests.support.data_plane.samples import EMR

PROTECT = {"protect": {"profile": "safe_harbor"}}
NAMES = ", ".join(ROW)


@pytest.fixture
def rig(platform: Platform, tmp_path: Path, caplog: Any, capfd: Any) -> Rig:
    return Rig(platform, tmp_path / "data", caplog, capfd)


def values(key: str | None, **other: str) -> str:
    """A row of canaries as SQL."""
    row = {**ROW, "visit_id": key, **other}
    return ", ".join("NULL" if value is None else f"'{value}'" for value in row.values())


def visits(emr: Sql, key: str = "") -> None:
    """A table with one row of canaries."""
    emr(f"CREATE TABLE visit (visit_id int {key}, birth_date date, admitted timestamp, {COLUMNS})")
    emr(f"INSERT INTO visit ({NAMES}) VALUES ({values('1')})")


def of(table: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A source of that table, under the profile."""
    return {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", **table}], **PROTECT, **more}


def told(rig: Rig, table: str) -> list[Any]:
    """All rows of a table of the platform."""
    with rig.platform.connection.cursor() as cursor:
        cursor.execute(f"SELECT row_to_json(t) FROM {table} t")
        return [row for (row,) in cursor.fetchall()]


def test_lines_of_a_file_that_are_no_rows(rig: Rig, inbox: Path) -> None:
    row = ",".join(f'"{value}"' for value in ROW.values())
    (inbox / "a.csv").write_text(
        "\n".join([",".join(ROW), row, row.replace('"1"', '"2"', 1), row + ",more", '"4"', ""])
    )
    said = {"type": "files", "url": str(inbox), "glob": "*.csv", "table": "visit", "bad_rows": "reject", **PROTECT}
    connector = rig.platform.add(said)
    assert "2 rows of table visit were rejected" in rig.run(connector)
    assert rig.platform.duck(f"SELECT line, row FROM connector_{connector}.visit__rejected ORDER BY 1") == [
        (4, None),
        (5, None),
    ], "of a line that can't be read nobody knows what stands where"


def test_rows_without_their_key(rig: Rig, emr: Sql) -> None:
    visits(emr)
    emr(f"INSERT INTO visit ({NAMES}) VALUES ({values(None)})")
    connector = rig.platform.add(of({"primary_key": "visit_id", "bad_rows": "reject"}))
    assert "1 row of table visit was rejected" in rig.run(connector)
    ((row,),) = rig.platform.duck(f"SELECT row FROM connector_{connector}.visit__rejected")
    assert "I10" in row, "the rest of the row is kept"


@pytest.mark.parametrize("contract", ["discard_row", "discard_value", "ask", "freeze"])
def test_what_a_contract_leaves_out(rig: Rig, emr: Sql, contract: str) -> None:
    visits(emr, "primary key")
    connector = rig.platform.add(of({"primary_key": "visit_id"}, schema_contract=contract))
    rig.run(connector)
    emr("ALTER TABLE visit ADD maiden_name text, ADD remark text, ADD weight int")
    emr(f"UPDATE visit SET maiden_name = '{CANARIES['patient_name']}', remark = '{CANARIES['email']}', weight = 61")
    if contract == "freeze":
        rig.run(connector, Step.VERIFY)
    else:
        rig.run(connector)
    if contract == "ask":
        samples = [change for change in told(rig, "cai_schema_changes") if change["kind"] == "new"]
        assert "weight" in json.dumps(samples), "it was noticed"


@pytest.mark.parametrize("on_failure", ["warn", "hold", "fail"])
def test_a_check_that_fails(rig: Rig, emr: Sql, on_failure: str) -> None:
    visits(emr, "primary key")
    emr(f"INSERT INTO visit ({NAMES}) VALUES ({values('2')})")
    checks = {"unique": ["icd"], "not_null": ["icd"], "accepted": {"icd": ["A00"]}, "on_failure": on_failure}
    connector = rig.platform.add(of({"primary_key": "visit_id", "checks": checks}))
    if on_failure == "warn":
        assert "A check of table 'visit'" in rig.run(connector)
    else:
        rig.run(connector, Step.VERIFY)


def test_a_comparison_names_keys_as_they_landed(rig: Rig, emr: Sql) -> None:
    visits(emr)
    emr(f"INSERT INTO visit ({NAMES}) VALUES ({values('2', mrn='other')})")
    connector = rig.platform.add(of({"primary_key": "mrn"}))
    rig.run(connector)
    emr(f"UPDATE visit SET icd = 'J45' WHERE mrn = '{CANARIES['mrn']}'")
    emr("DELETE FROM visit WHERE mrn = 'other'")
    rig.run(connector, options=Options(reconcile=Comparison.SUMS))
    assert "differ" in json.dumps(told(rig, "cai_comparisons"))
