"""Rejected rows stand beside the table that they were for, with their reason, and are counted and told."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigurationError
from tests.support.data_plane.platform import Platform, Sql
from tests.support.data_plane.samples import EMR

POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
DESTINATIONS = ("duckdb", "postgres")


def rejected(ask: Sql, connector: int, table: str) -> list[tuple[Any, ...]]:
    """Reason, line and row of what was rejected."""
    rows = ask(f'SELECT reason, line, "row" FROM connector_{connector}.{table}__rejected ORDER BY line, reason')
    return [(reason, line, json.loads(row) if isinstance(row, str) else row) for reason, line, row in rows]


def counts(platform: Platform) -> tuple[Any, ...]:
    """What the last load says of its one table."""
    with platform.connection.cursor() as cursor:
        cursor.execute("SELECT table_name, read, written, rejected FROM cai_load_tables ORDER BY load_id DESC LIMIT 1")
        return tuple(cursor.fetchone())


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("contract", ["discard_row", "discard_value"])
def test_what_a_contract_leaves_out_stands_beside_masked(
    platform: Platform, emr: Sql, warehouse: Sql, destination: str, contract: str
) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, mrn text); INSERT INTO visit VALUES (1, 'SECRET')")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", "primary_key": "id"}]}
    connector = platform.add(
        {**source, "schema_contract": contract, "mask": ["mrn"]},
        destination=POSTGRES if destination == "postgres" else None,
    )
    platform.run(connector)
    emr("ALTER TABLE visit ADD extra int")
    emr("INSERT INTO visit VALUES (2, 'SECRET', 7), (3, 'SECRET', NULL)")
    summary = platform.run(connector)
    ask = warehouse if destination == "postgres" else platform.duck
    ((reason, line, row),) = rejected(ask, connector, "visit")
    assert (line, row["id"], row["extra"]) == (None, 2, 7)
    if contract == "discard_row":
        assert reason == "for which the table has no column 'extra' (schema_contract)"
        assert len(row["mrn"]) == 64, "masked as the table's rows are"
        assert counts(platform) == ("visit", 3, 2, 1)
        assert "1 row of table visit was rejected and stands in 'visit__rejected'" in summary.sentence
    else:
        assert reason == "without 'extra' (schema_contract)"
        assert counts(platform) == ("visit", 3, 3, 0)
        assert "'visit__rejected' has the values that 1 row landed without." in summary.sentence
    for _ in range(2):  # a table beside is no change of the source's, and grows by each load
        platform.run(connector)
    assert len(rejected(ask, connector, "visit")) == 3


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_rows_without_their_key_are_rejected_where_the_connector_says_so(
    platform: Platform, emr: Sql, warehouse: Sql, destination: str
) -> None:
    emr("CREATE TABLE visit (id int, note text); INSERT INTO visit VALUES (1, 'a'), (NULL, 'b'), (3, 'c')")
    table = {"name": "visit", "primary_key": "id"}
    source = {"type": "sql_database", "credentials": EMR}
    where = POSTGRES if destination == "postgres" else None
    with pytest.raises(ConfigurationError, match="no value in the key column 'id'"):
        platform.run(platform.add({**source, "tables": [table]}, destination=where))
    connector = platform.add({**source, "tables": [{**table, "bad_rows": "reject"}]}, destination=where)
    summary = platform.run(connector)
    ask = warehouse if destination == "postgres" else platform.duck
    assert ask(f"SELECT id FROM connector_{connector}.visit ORDER BY id") == [(1,), (3,)]
    found = rejected(ask, connector, "visit")
    assert found == [("without a value that fits in the key 'id'", None, {"note": "b"})]
    assert counts(platform) == ("visit", 3, 2, 1)
    assert "1 row of table visit was rejected" in summary.sentence
    assert summary.total_rows == 2
    # A full refresh has those of the rows that it reads.
    platform.run(connector, full_refresh=True)
    assert rejected(ask, connector, "visit") == found


def test_lines_of_csv_and_jsonl_are_rejected_by_their_number(platform: Platform, inbox: Path) -> None:
    (inbox / "labs.csv").write_text('id,note\n1,"a\nb"\n2,x,y\n3,c\n4\n5,d\n')
    labs = {"type": "files", "url": str(inbox), "glob": "labs.csv", "table": "labs"}
    with pytest.raises(ConfigurationError, match="lines that can't be read"):
        platform.run(platform.add(labs))
    connector = platform.add({**labs, "bad_rows": "reject"})
    summary = platform.run(connector)
    assert platform.duck(f"SELECT id FROM connector_{connector}.labs ORDER BY id") == [(1,), (3,), (5,)]
    reason = "with another number of cells than there are columns"
    assert rejected(platform.duck, connector, "labs") == [(reason, 4, ["2", "x", "y"]), (reason, 6, ["4"])]
    assert counts(platform) == ("labs", 5, 3, 2)
    assert f"2 rows of table labs were rejected and stand in 'labs__rejected': 2 {reason}." in summary.sentence
    hiding = platform.add({**labs, "bad_rows": "reject", "mask": ["note"]})
    platform.run(hiding)
    assert rejected(platform.duck, hiding, "labs") == [(reason, 4, None), (reason, 6, None)]

    (inbox / "a.jsonl").write_text('{"id": 1}\n{"id": 2\n\n{"id": 3}\n')
    notes = {"type": "files", "url": str(inbox), "glob": "*.jsonl", "table": "notes", "bad_rows": "reject"}
    connector = platform.add(notes)
    platform.run(connector)
    assert platform.duck(f"SELECT id FROM connector_{connector}.notes ORDER BY id") == [(1,), (3,)]
    assert rejected(platform.duck, connector, "notes") == [("that are no JSON", 2, '{"id": 2')]
    assert counts(platform) == ("notes", 3, 2, 1)


@pytest.mark.parametrize("text", ["id,note\n1,a,x\n2,b,x\n3,c\n", 'id,note\n1,a\n2,"b\n3,c,d\n'])
def test_a_file_that_is_mostly_wrong_or_wrong_otherwise_is_left(platform: Platform, inbox: Path, text: str) -> None:
    (inbox / "labs.csv").write_text(text)
    labs = {"type": "files", "url": str(inbox), "glob": "labs.csv", "table": "labs", "bad_rows": "reject"}
    with pytest.raises(ConfigurationError, match=r"labs\.csv has"):
        platform.run(platform.add(labs))


def test_so_many_rejected_rows_are_kept_and_the_others_are_counted(
    platform: Platform, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.rows.rejected.MOST_KEPT", 3)
    (inbox / "labs.csv").write_text("id,note\n" + "1,a\n" * 9 + "2\n" * 8)
    labs = {"type": "files", "url": str(inbox / "labs.csv"), "table": "labs", "bad_rows": "reject"}
    connector = platform.add(labs)
    summary = platform.run(connector)
    assert len(rejected(platform.duck, connector, "labs")) == 3
    assert counts(platform) == ("labs", 17, 9, 8)
    assert "5 rows of those of table labs are not kept there: one run keeps 3." in summary.sentence
