"""Changes of shape under `ask` wait for a person, and nothing of them lands before; under `evolve` people are told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from pipelines.load_history import Told
from tests.support.data_plane.platform import Platform, Sql
from tests.support.data_plane.samples import EMR

POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
DESTINATIONS = ("duckdb", "postgres")
Connector = Callable[..., int]


def add(platform: Platform, destination: str = "duckdb", contract: str | None = "ask", **table: Any) -> int:
    """A connector of one table."""
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", "primary_key": "id", **table}]}
    more = {} if contract is None else {"schema_contract": contract}
    return platform.add({**source, **more}, destination=POSTGRES if destination == "postgres" else None)


def changes(platform: Platform) -> list[tuple[Any, ...]]:
    """What was seen to have changed."""
    with platform.connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, kind, type_before, type_after, was, state FROM cai_schema_changes ORDER BY 1"
        )
        return list(cursor.fetchall())


def decide(platform: Platform, state: str, column: str) -> None:
    with platform.connection.cursor() as cursor:
        cursor.execute("UPDATE cai_schema_changes SET state = %s WHERE column_name = %s", [state, column])


def columns(ask: Sql, connector: int) -> list[str]:
    """The columns of the table in the destination."""
    found = ask(
        f"SELECT column_name FROM information_schema.columns WHERE table_schema = 'connector_{connector}' "
        "AND table_name = 'visit' AND column_name NOT LIKE '\\_dlt%' ESCAPE '\\' ORDER BY 1"
    )
    return [name for (name,) in found]


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_column_lands_once_it_is_approved_in_old_rows_too(
    platform: Platform, emr: Sql, warehouse: Sql, destination: str
) -> None:
    ask = warehouse if destination == "postgres" else platform.duck
    emr("CREATE TABLE visit (id int PRIMARY KEY, n int, at timestamp)")
    emr("INSERT INTO visit VALUES (1, 1, '2024-01-01'), (2, 2, '2024-01-02')")
    connector = add(platform, destination, cursor_column="at", lag=0)
    platform.run(connector)
    assert changes(platform) == []
    emr("ALTER TABLE visit ADD extra text, ALTER n TYPE text")
    emr("UPDATE visit SET extra = 'SECRET'")
    emr("INSERT INTO visit VALUES (3, 'x', '2024-01-03', 'SECRET')")
    told: list[Told] = []
    for _ in range(2):
        summary = platform.run(connector, tell=told.append)
        assert columns(ask, connector) == ["at", "id", "n"]
        assert "SECRET" not in summary.sentence
    assert [each.outcome for each in told] == ["changed", "completed", "completed"]
    assert told[0].message == (
        "The source has changed: of table visit, 'extra' is new, 'n' was bigint and has values that are text. "
        "Nothing of it lands until somebody approves it."
    )
    assert [(row[0], row[1], row[5]) for row in changes(platform)] == [
        ("extra", "new", "waiting"),
        ("n", "retyped", "waiting"),
    ]
    assert "did not fit its type bigint and were left out" in platform.run(connector, full_refresh=True).sentence
    assert columns(ask, connector) == ["at", "id", "n"], "a full refresh asks as well"
    assert ask(f"SELECT id, n FROM connector_{connector}.visit ORDER BY id") == [(1, None), (2, None), (3, None)]
    decide(platform, "refused", "n")
    decide(platform, "approved", "extra")
    summary = platform.run(connector)
    assert "approved columns changed" in summary.sentence
    assert columns(ask, connector) == ["at", "extra", "id", "n"]
    assert ask(f"SELECT id, extra FROM connector_{connector}.visit ORDER BY id") == [
        (key, "SECRET") for key in (1, 2, 3)
    ]
    decide(platform, "approved", "n")
    platform.run(connector)
    assert "n__v_text" in columns(ask, connector)


def test_what_is_gone_or_renamed_is_told(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, a text, b int, b2 date); INSERT INTO visit VALUES (1, 'x', 1)")
    emr("UPDATE visit SET b2 = '2024-01-01'")
    connector = add(platform)
    platform.run(connector)
    emr("ALTER TABLE visit RENAME a TO c")
    summary = platform.run(connector)
    assert "of table visit, 'a' seems to be called 'c' now" in summary.sentence
    assert changes(platform) == [("c", "renamed", "text", "text", "a", "waiting")]
    assert columns(platform.duck, connector) == ["a", "b", "b2", "id"]
    emr("ALTER TABLE visit DROP b, DROP b2")
    assert "'b', 'b2' are gone" in platform.run(connector).sentence
    assert ("b", "gone", "bigint", None, None, "waiting") in changes(platform)
    assert "The source has changed" not in platform.run(connector).sentence


def test_under_evolve_people_are_told_what_changed(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, n int); INSERT INTO visit VALUES (1, 1)")
    connector = add(platform, contract=None)
    platform.run(connector)
    emr("ALTER TABLE visit ADD extra text; UPDATE visit SET extra = 'e'")
    summary = platform.run(connector)
    assert "The source has changed: of table visit, 'extra' is new." in summary.sentence
    assert changes(platform) == [("extra", "new", None, "text", None, "applied")]
    assert columns(platform.duck, connector) == ["extra", "id", "n"]


def test_a_column_of_json_that_is_emptied_is_told(platform: Platform, inbox: Path) -> None:
    notes = {"type": "files", "url": str(inbox), "glob": "*.jsonl", "table": "visit", "schema_contract": "ask"}
    connector = platform.add(notes)
    (inbox / "1.jsonl").write_text('{"id": 1, "a": "x"}\n')
    platform.run(connector)
    (inbox / "2.jsonl").write_text("".join(f'{{"id": {number}}}\n' for number in range(100)))
    assert "'a' has no values any more" in platform.run(connector).sentence
    assert changes(platform) == [("a", "emptied", "text", None, None, "waiting")]
    (inbox / "3.jsonl").write_text('{"id": 300, "a": "y", "deep": {"b": 1}}\n{"id": 301}\n')
    platform.run(connector)
    assert columns(platform.duck, connector) == ["a", "id"]


def test_what_was_approved_is_a_type_and_another_is_asked_about_again(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, n int); INSERT INTO visit VALUES (1, 1)")
    connector = add(platform)
    platform.run(connector)
    emr("ALTER TABLE visit ALTER n TYPE text; UPDATE visit SET n = 'x'; ALTER TABLE visit ADD extra date")
    emr("UPDATE visit SET extra = '2024-01-01'")
    platform.run(connector)
    for column in ("n", "extra"):
        decide(platform, "approved", column)
    emr("ALTER TABLE visit ALTER extra TYPE timestamp USING '2024-01-01 10:00'::timestamp")
    assert "extra" in platform.run(connector).news, "it waited as a date"
    assert columns(platform.duck, connector) == ["id", "n", "n__v_text"]
    decide(platform, "approved", "extra")
    emr("ALTER TABLE visit ALTER n TYPE boolean USING true")
    platform.run(connector)
    assert columns(platform.duck, connector) == ["extra", "id", "n", "n__v_text"]
    seen = [(name, kind, after, state) for name, kind, _, after, _, state in changes(platform)]
    assert sorted(seen) == [
        ("extra", "new", "date", "approved"),
        ("extra", "new", "timestamp", "approved"),
        ("n", "retyped", "bool", "waiting"),
        ("n", "retyped", "text", "approved"),
    ]
    platform.run(connector, full_refresh=True)
    assert platform.duck(f"SELECT n, CAST(extra AS varchar) FROM connector_{connector}.visit") == [
        (None, "2024-01-01 10:00:00")
    ]


@pytest.mark.parametrize("destination", [*DESTINATIONS, "delta"])
def test_a_refresh_of_a_table_that_is_empty_keeps_what_people_have_decided_and_made(
    platform: Platform, emr: Sql, warehouse: Sql, destination: str
) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, n int); INSERT INTO visit VALUES (1, 1)")
    lake = {"type": "filesystem", "format": "delta", "url": str(platform.settings.data_dir / "lake")}
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", "primary_key": "id"}]}
    where = {"postgres": POSTGRES, "delta": lake}.get(destination)
    connector = platform.add({**source, "schema_contract": "ask"}, destination=where)
    platform.run(connector)
    if destination == "postgres":
        warehouse(f"GRANT SELECT ON connector_{connector}.visit TO pg_monitor")
    emr("ALTER TABLE visit ADD secret text DEFAULT 'SECRET'")
    platform.run(connector)
    decide(platform, "refused", "secret")
    emr("DELETE FROM visit")
    platform.run(connector, full_refresh=True)
    emr("ALTER TABLE visit ALTER n TYPE text; INSERT INTO visit VALUES (2, 'two', 'SECRET')")
    summary = platform.run(connector)
    assert "'n' was bigint and has values that are text" in summary.news
    if destination == "delta":
        path = platform.settings.data_dir / "lake" / f"connector_{connector}" / "visit"
        found = QueryBuilder().register("visit", DeltaTable(path)).execute("SELECT * FROM visit").read_all()
        assert [(row["id"], row["n"]) for row in pa.table(found).to_pylist()] == [(2, None)]
        assert "secret" not in pa.table(found).column_names
        return
    ask = warehouse if destination == "postgres" else platform.duck
    assert columns(ask, connector) == ["id", "n"]
    assert ask(f"SELECT id, n FROM connector_{connector}.visit") == [(2, None)]
    if destination == "postgres":
        assert warehouse(f"SELECT has_table_privilege('pg_monitor', 'connector_{connector}.visit', 'select')") == [
            (True,)
        ]
