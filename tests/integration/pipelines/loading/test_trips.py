"""Sessions and transactions of a small load, of all three databases: what a load costs whatever its rows are."""

import os
from typing import Any

import psycopg2  # type: ignore[import-untyped]

from tests.support.data_plane.platform import Platform, Sql
from tests.support.waiting import until

TABLES = 5
CHANGED = 100
MOST_SESSIONS = 8
"""One of the platform's, three to read (one tells the types, one the tables' columns), four to write."""

MOST_TRANSACTIONS = 77

TEST_SESSIONS = 3
"""The test's own, one a database."""


def counts(admin: Any, databases: list[str]) -> tuple[int, int]:
    """Sessions and transactions so far. PostgreSQL writes them down when a session ends."""
    with admin.cursor() as cursor:
        cursor.execute(
            "SELECT sum(sessions), sum(xact_commit + xact_rollback) FROM pg_stat_database WHERE datname = ANY(%s)",
            (databases,),
        )
        sessions, transactions = cursor.fetchone()
    return int(sessions), int(transactions)


async def test_a_small_load_opens_few_sessions_and_begins_few_transactions(
    platform: Platform, emr: Sql, warehouse: Sql
) -> None:
    for number in range(TABLES):
        emr(f"CREATE TABLE visit_{number} (id int PRIMARY KEY, person text, value float8, at timestamptz NOT NULL)")
        emr(
            f"INSERT INTO visit_{number} SELECT n, 'person ' || n, n / 7.0, "
            "'2026-01-01Z'::timestamptz + n * interval '1 s' FROM generate_series(1, 1000) n"
        )
    tables = [{"name": f"visit_{number}", "primary_key": "id", "cursor_column": "at"} for number in range(TABLES)]
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": tables}
    destination = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
    connector = platform.add(source, destination=destination)
    platform.run(connector)
    for number in range(TABLES):
        emr(f"UPDATE visit_{number} SET value = -1, at = '2026-02-01Z' WHERE id <= {CHANGED}")
    urls = [os.environ[name] for name in ("CAI_DATABASE_URL", "CAI_SECRET_EMR", "CAI_SECRET_WAREHOUSE")]
    databases = [url.rsplit("/", 1)[1].partition("?")[0] for url in urls]
    admin = psycopg2.connect(urls[0].replace(f"/{databases[0]}", "/postgres"))
    admin.autocommit = True

    async def alone() -> bool:
        with admin.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = ANY(%s)", (databases,))
            return int(cursor.fetchone()[0]) == TEST_SESSIONS

    flush = "SELECT pg_stat_force_next_flush()"
    for ask in (emr, warehouse):
        ask(flush)
    with platform.connection.cursor() as cursor:
        cursor.execute(flush)
    await until("every session but the test's own has ended", alone, 30)
    before = counts(admin, databases)
    assert platform.run(connector).total_rows == TABLES * CHANGED
    await until("every session but the test's own has ended", alone, 30)
    after = counts(admin, databases)
    admin.close()
    sessions, transactions = after[0] - before[0], after[1] - before[1]
    assert (sessions <= MOST_SESSIONS, transactions <= MOST_TRANSACTIONS) == (True, True), (sessions, transactions)
