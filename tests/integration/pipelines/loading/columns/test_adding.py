"""Columns that a table is to get: while others use it, where the login does not own it, and against a contract."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy.engine import make_url

from pipelines.errors import ConfigurationError, TransientError
from pipelines.loading.columns import adding, widening
from tests.support.data_plane.platform import Platform, Sql

EMR = {"env": "CAI_SECRET_EMR"}
WAREHOUSE = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}

Lab = Callable[..., int]


@pytest.fixture
def lab(platform: Platform, emr: Sql) -> Lab:
    """Adds a connector that has loaded one row, and whose source has a new column and values that fit no more then."""

    def loaded(**columns: Any) -> int:
        emr("DROP TABLE IF EXISTS lab; CREATE TABLE lab (id int PRIMARY KEY, n int)")
        emr("INSERT INTO lab VALUES (1, 1)")
        source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "lab", "primary_key": "id"}]}
        connector = platform.add({**source, **columns.pop("source", {})}, **columns)
        platform.run(connector)
        emr("ALTER TABLE lab ALTER n TYPE text, ADD note text")
        emr("INSERT INTO lab VALUES (2, 'x', 'new'), (3, '3', NULL)")
        return connector

    return loaded


@pytest.fixture
def login(warehouse: Sql, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A login that may make schemas and owns what it makes."""
    warehouse("CREATE ROLE loader LOGIN PASSWORD 'loader'; CREATE ROLE keeper")
    database = warehouse("SELECT current_database()")[0][0]
    warehouse(f'GRANT CREATE ON DATABASE "{database}" TO loader')
    address = make_url(os.environ["CAI_SECRET_WAREHOUSE"]).set(username="loader", password="loader")
    monkeypatch.setenv("CAI_SECRET_WAREHOUSE", address.render_as_string(hide_password=False))
    yield "loader"
    warehouse("DROP OWNED BY loader, keeper CASCADE; DROP ROLE loader, keeper")


def test_a_column_is_not_waited_for_without_end(
    platform: Platform, lab: Lab, warehouse: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = lab(destination=WAREHOUSE)
    for module in (adding, widening):
        monkeypatch.setattr(module, "LOCK_SECONDS", 1)
    other = psycopg2.connect(os.environ["CAI_SECRET_WAREHOUSE"])
    with other.cursor() as cursor:
        cursor.execute(f"UPDATE connector_{connector}.lab SET n = n")
        with pytest.raises(TransientError, match="New columns 'n__v_text', 'note' of table 'lab' could not be added"):
            platform.run(connector)
    other.rollback()
    other.close()
    assert warehouse(f"SELECT * FROM connector_{connector}.lab")[0][:2] == (1, 1)
    platform.run(connector)
    found = warehouse(f"SELECT id, coalesce(n::text, n__v_text), note FROM connector_{connector}.lab ORDER BY id")
    assert found == [(1, "1", None), (2, "x", "new"), (3, "3", None)]


def test_a_table_of_somebody_else_is_named_with_the_way_out(
    platform: Platform, lab: Lab, warehouse: Sql, login: str
) -> None:
    connector = lab(destination=WAREHOUSE)
    table = f"connector_{connector}.lab"
    warehouse(f"ALTER TABLE {table} OWNER TO keeper; GRANT ALL ON {table} TO {login}")
    with pytest.raises(ConfigurationError) as told:
        platform.run(connector)
    assert "can't add columns 'n__v_text', 'note' of table 'lab', since the table belongs to 'keeper'" in str(
        told.value
    )
    assert "(GRANT)" in str(told.value)
    assert "(ALTER TABLE ... OWNER TO)" in str(told.value)
    assert warehouse(f"SELECT id, n FROM {table}") == [(1, 1)]
    warehouse(f"GRANT keeper TO {login}")
    platform.run(connector)
    assert warehouse(f"SELECT count(*), count(n__v_text), count(note) FROM {table}") == [(3, 3, 1)]


@pytest.mark.parametrize("destination", [None, WAREHOUSE], ids=["duckdb", "postgres"])
@pytest.mark.parametrize(
    ("contract", "rows", "told"),
    [
        (
            "discard_value",
            3,
            ["3 values of 'n' of table lab did not fit", "1 value of 'note' of table lab was left out"],
        ),
        ("discard_row", 0, ["3 rows of table lab were left out, as schema_contract says"]),
    ],
)
def test_what_a_contract_leaves_out_is_counted(
    platform: Platform, lab: Lab, warehouse: Sql, destination: Any, contract: str, rows: int, told: list[str]
) -> None:
    ask = platform.duck if destination is None else warehouse
    connector = lab(source={"schema_contract": contract}, destination=destination)
    summary = platform.run(connector)
    assert summary.total_rows == rows
    for words in told:
        assert words in summary.sentence
    assert ask(f"SELECT count(*), count(n) FROM connector_{connector}.lab") == [(3 if rows else 1, 0 if rows else 1)]


def test_a_column_of_the_sources_own_beside_another_is_told_nowhere(platform: Platform, inbox: Path) -> None:
    source = {"type": "files", "url": str(inbox), "format": "parquet", "table": "t"}
    connector = platform.add(source)
    for number in (1, 2):
        pq.write_table(
            pa.table({"x": [number, None], "x__v_text": [None, f"own {number}"]}), inbox / f"{number}.parquet"
        )
        assert platform.run(connector).remarks == ()
    found = platform.duck(f"SELECT x, x__v_text FROM connector_{connector}.t ORDER BY x, x__v_text")
    assert found == [(1, None), (2, None), (None, "own 1"), (None, "own 2")]


def test_misfits_are_told_alone_where_they_share_a_column_of_the_sources_own(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE lab (id int, at timestamptz, x int, x__v_text text)")
    emr("INSERT INTO lab VALUES (1, '2024-01-01Z', 7, NULL), (2, '2024-01-02Z', NULL, 'own')")
    table = {"name": "lab", "cursor_column": "at", "write_disposition": "append", "lag": 7 * 86_400}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table]})
    assert platform.run(connector).remarks == ()
    emr("ALTER TABLE lab ALTER COLUMN x TYPE text")
    emr("INSERT INTO lab VALUES (3, '2024-01-03Z', '<5', NULL), (4, '2024-01-04Z', NULL, 'own')")
    told = "1 value of 'x' of table lab did not fit its type bigint and stands in 'x__v_text'."
    assert platform.run(connector).remarks == (told,)
    emr("INSERT INTO lab VALUES (5, '2024-01-05Z', '<6', NULL), (6, '2024-01-06Z', NULL, 'own')")
    assert platform.run(connector).remarks == (told,), "of the rows that are written, and not of those that stand there"
    found = platform.duck(f"SELECT id, x, x__v_text FROM connector_{connector}.lab ORDER BY id")
    assert found == [
        (1, 7, None), (2, None, "own"), (3, None, "<5"), (4, None, "own"), (5, None, "<6"), (6, None, "own"),
    ]  # fmt: skip
    assert platform.duck("SELECT column_name FROM duckdb_columns() WHERE column_name LIKE '%misfits%'") == []


def test_values_beside_are_told_once_and_not_by_runs_that_write_nothing(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE lab (id int PRIMARY KEY, at timestamptz, day date)")
    emr("INSERT INTO lab VALUES (1, '2024-01-01Z', '2024-01-01'), (2, '2024-01-02Z', 'infinity')")
    table = {"name": "lab", "cursor_column": "at", "write_disposition": "append"}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table]})
    assert "1 value of 'day' of table lab did not fit its type date and stands in 'day__v_text'" in (
        platform.run(connector).sentence
    )
    summary = platform.run(connector)
    assert (summary.total_rows, summary.remarks) == (0, ())
