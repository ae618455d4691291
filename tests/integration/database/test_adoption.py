"""A back end's own table, with what others have built on it: adopted, or a sentence before anything is changed."""

import subprocess
import threading
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from local.embedded_postgres import EmbeddedPostgres
from rigs.migrated import migrate

TABLE = (
    "CREATE TABLE cai_connectors (id integer PRIMARY KEY, name varchar(80) NOT NULL, schedule varchar(40), "
    "timezone varchar(40), is_active boolean, source json, created_at timestamp, clinic text)"
)
ROW = "INSERT INTO cai_connectors (id, name, schedule, source) VALUES (7, 'Labs', '0 * * * *', '{}')"
VIEW = "CREATE VIEW shown AS SELECT id, name, schedule FROM cai_connectors"

LIVED_WITH = [
    VIEW,
    "CREATE VIEW twice AS SELECT name FROM shown",
    "CREATE MATERIALIZED VIEW kept AS SELECT name FROM cai_connectors",
    "CREATE POLICY own ON cai_connectors USING (name = current_user)",
    "ALTER TABLE cai_connectors ADD COLUMN low text GENERATED ALWAYS AS (lower(name)) STORED",
    "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER renamed AFTER UPDATE OF name ON cai_connectors FOR EACH ROW WHEN (NEW.name <> '') "
    "EXECUTE FUNCTION nothing()",
    "CREATE FUNCTION names() RETURNS SETOF varchar BEGIN ATOMIC SELECT name FROM cai_connectors; END",
    "CREATE INDEX lowered ON cai_connectors (lower(name))",
    "CREATE TABLE bills (connector integer REFERENCES cai_connectors)",
]

IN_THE_WAY = [
    ("CREATE VIEW sources AS SELECT source FROM cai_connectors", "view sources"),
    ("CREATE POLICY recent ON cai_connectors USING (created_at > now())", "policy recent"),
    (
        "ALTER TABLE cai_connectors ADD COLUMN kind text GENERATED ALWAYS AS (source ->> 'type') STORED",
        "column kind of table cai_connectors",
    ),
]


@pytest.fixture
async def legacy(
    postgres: EmbeddedPostgres, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """A database of a back end's: its URL, and a connection."""
    url = postgres.create_database(f"legacy_{abs(hash(request.node.name))}")
    connection = await asyncpg.connect(url, server_settings={"application_name": "a back end"})
    yield url, connection
    await connection.close()


def refused(url: str, *arguments: str) -> str:
    """What the migrations say as they refuse."""
    with pytest.raises(subprocess.CalledProcessError) as failed:
        migrate(url, *arguments)
    said = str(failed.value.stdout + failed.value.stderr)
    assert "Traceback" not in said, said
    return said


async def untouched(connection: asyncpg.Connection) -> bool:
    """Whether the table is as the back end made it."""
    columns = await connection.fetchval(
        "SELECT count(*) FROM information_schema.columns "
        "WHERE table_name = 'cai_connectors' AND column_name = 'generation'"
    )
    return columns == 0 and await connection.fetchval("SELECT to_regclass('alembic_version')") is None


async def test_a_table_with_objects_on_its_texts_is_adopted_and_they_stay(
    legacy: tuple[str, asyncpg.Connection],
) -> None:
    url, connection = legacy
    await connection.execute(f"{TABLE}; {ROW}")
    for statement in LIVED_WITH:
        await connection.execute(statement)
    before = await connection.fetchval("SELECT count(*) FROM pg_depend")
    migrate(url)
    assert await connection.fetchval("SELECT count(*) FROM pg_depend") >= before
    row = await connection.fetchrow("SELECT id, name, schedule, source, generation FROM cai_connectors")
    assert tuple(row) == (7, "Labs", "0 * * * *", "{}", 1)
    await connection.execute("UPDATE cai_connectors SET name = 'Labs 2'")
    assert await connection.fetchval("SELECT generation FROM cai_connectors") == 2
    assert await connection.fetchval("SELECT name FROM twice") == "Labs 2"


async def test_all_that_is_in_the_way_is_named_before_anything_is_changed(
    legacy: tuple[str, asyncpg.Connection],
) -> None:
    url, connection = legacy
    await connection.execute(f"{TABLE}; {ROW}")
    for statement, _ in IN_THE_WAY:
        await connection.execute(statement)
    said = refused(url)
    for _, named in IN_THE_WAY:
        assert named in said
    assert "source (json, jsonb is needed)" in said
    assert "created_at (timestamp without time zone, timestamptz is needed)" in said
    assert "Nothing was changed" in said
    assert await untouched(connection)


async def test_a_column_that_the_database_computes_is_named_before_anything_is_changed(
    legacy: tuple[str, asyncpg.Connection],
) -> None:
    url, connection = legacy
    computed = "ADD COLUMN dataset_name text GENERATED ALWAYS AS (lower(name)) STORED"
    await connection.execute(f"{TABLE}; ALTER TABLE cai_connectors {computed}")
    said = refused(url)
    assert "The database computes cai_connectors.dataset_name" in said
    assert "DROP EXPRESSION" in said
    assert await untouched(connection)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE TABLE base (id int); CREATE VIEW cai_connectors AS SELECT * FROM base", "cai_connectors is a view"),
        ("CREATE TABLE cai_connectors (id int) PARTITION BY RANGE (id)", "cai_connectors is a partitioned table"),
    ],
)
async def test_what_is_no_plain_table_is_refused(
    legacy: tuple[str, asyncpg.Connection], statement: str, words: str
) -> None:
    url, connection = legacy
    await connection.execute(statement)
    assert words in refused(url)


async def test_values_that_cannot_be_had_in_our_type_are_told_by_their_rows_and_not_shown(
    legacy: tuple[str, asyncpg.Connection],
) -> None:
    url, connection = legacy
    await connection.execute("CREATE TABLE cai_connectors (id bigint PRIMARY KEY, name text, source text)")
    await connection.execute("INSERT INTO cai_connectors VALUES (1, 'a', '{}'), (2, 'b', 'patient Doe'), (3, 'c', '[')")
    said = refused(url)
    assert "cai_connectors.source must be jsonb, and the connectors 2, 3 hold something there that is none" in said
    assert "Doe" not in said
    assert await untouched(connection)


async def test_a_reader_who_is_in_the_way_is_waited_for_in_short_tries(
    legacy: tuple[str, asyncpg.Connection],
) -> None:
    url, connection = legacy
    await connection.execute(TABLE)
    await connection.execute(ROW)
    await connection.execute("BEGIN")
    await connection.fetch("SELECT * FROM cai_connectors")
    migrating = threading.Thread(target=migrate, args=(url,))
    migrating.start()
    other = await asyncpg.connect(url)
    try:
        await _until_somebody_waits(other)
        began = time.monotonic()
        await other.fetch("SELECT * FROM cai_connectors")
        assert time.monotonic() - began < 10, "whoever reads is let through between two tries"
        assert migrating.is_alive()
    finally:
        await other.close()
    await connection.execute("COMMIT")
    migrating.join(60)
    assert await connection.fetchval("SELECT generation FROM cai_connectors") == 1


async def _until_somebody_waits(connection: asyncpg.Connection) -> None:
    deadline = time.monotonic() + 30
    while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        assert time.monotonic() < deadline, "the migration never waited"


async def test_one_who_never_goes_is_named_and_nothing_was_changed(
    legacy: tuple[str, asyncpg.Connection],
) -> None:
    url, connection = legacy
    await connection.execute(TABLE)
    await connection.execute("BEGIN")
    await connection.fetch("SELECT * FROM cai_connectors")
    pid = await connection.fetchval("SELECT pg_backend_pid()")
    said = refused(url, "-x", "tries=2", "upgrade", "head")
    await connection.execute("ROLLBACK")
    assert "2 tries" in said
    assert f"process {pid} (application a back end, for " in said
    assert await untouched(connection)
