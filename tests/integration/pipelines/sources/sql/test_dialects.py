"""Other databases than PostgreSQL: every type as it is, increments, drivers. MySQL and SQLite are real ones.

SQL Server and Oracle have no server here: of them the driver, what is asked of the server, and the errors are tested.
"""

import io
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import paramiko
import pymysql
import pytest
import sqlalchemy as sa
from sqlalchemy import dialects

from connectors.sources.sql_database import SqlDatabaseSource
from pipelines.access.host_keys import fingerprint
from pipelines.access.secrets import Secrets
from pipelines.error_causes.classification import classify
from pipelines.errors import ConfigurationError, RunError, Step, TransientError
from pipelines.sources import Context, sql_database
from pipelines.sources.sql.dialects import _asked, adapt, open_engine, plain, sync_url
from tests.support.data_plane.platform import Platform
from tests.support.servers.peers import mysql_server
from tests.support.servers.ssh_gate import ssh_gate

Sql = Callable[[str], Any]
mssql: Any = dialects.mssql
mysql: Any = dialects.mysql
oracle: Any = dialects.oracle
REFERENCE = {"env": "CAI_SECRET_OTHER"}


@pytest.fixture(scope="module")
def mysql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MySQL database."""
    with mysql_server(tmp_path_factory.mktemp("mysql")) as url:
        yield url


@pytest.fixture
def mysql_emr(mysql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sql]:
    """Executes SQL in the MySQL source behind `REFERENCE`, as a clinic two hours east of Greenwich."""
    monkeypatch.setenv("CAI_SECRET_OTHER", mysql_url)
    url = sync_url(mysql_url)
    connection = pymysql.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, database=url.database, autocommit=True
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+02:00', sql_mode = ''")
        yield cursor.execute


@pytest.fixture
def sqlite_emr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sql]:
    """Executes SQL in a SQLite file behind `REFERENCE`."""
    monkeypatch.setenv("CAI_SECRET_OTHER", f"sqlite:///{tmp_path}/emr.db")
    with closing(sqlite3.connect(tmp_path / "emr.db", isolation_level=None)) as connection:
        yield connection.execute


def table(name: str, **keys: Any) -> dict[str, Any]:
    return {"type": "sql_database", "credentials": REFERENCE, "tables": [{"name": name, "primary_key": "id", **keys}]}


def landed(platform: Platform, connector: int, name: str, columns: str) -> list[tuple[Any, ...]]:
    return platform.duck(f"SELECT {columns} FROM connector_{connector}.{name} ORDER BY id")


MYSQL_TYPES: dict[str, tuple[str, str, str, Any]] = {
    # column: type, a value as SQL, what it lands as, and the value there
    "tiny": ("tinyint", "-5", "BIGINT", -5),
    "flag": ("tinyint(1)", "1", "BIGINT", 1),
    "medium": ("mediumint unsigned", "16777215", "BIGINT", 16777215),
    "big": ("bigint", "9007199254740993", "BIGINT", 9007199254740993),
    "ubig": ("bigint unsigned", "18446744073709551615", "DECIMAL(20,0)", Decimal(18446744073709551615)),
    "price": ("decimal(20,5)", "123456789012345.12345", "DECIMAL(20,5)", Decimal("123456789012345.12345")),
    "wide": ("decimal(65,30)", "1.000000000000000000000000000001", "VARCHAR", "1.000000000000000000000000000001"),
    "f": ("float", "1234567", "DOUBLE", 1234567),
    "small": ("float", "0.1", "DOUBLE", 0.10000000149011612),  # of 32 bits, as PostgreSQL's real
    "d": ("double", "0.1234567890123456", "DOUBLE", 0.1234567890123456),
    "bits": ("bit(8)", "b'101'", "BIGINT", 5),
    "born": ("date", "'1999-12-31'", "DATE", date(1999, 12, 31)),
    "at": ("datetime(6)", "'2024-02-29 23:59:59.123456'", "TIMESTAMP", datetime(2024, 2, 29, 23, 59, 59, 123456)),  # noqa: DTZ001
    "seen": (
        "timestamp(6) NULL", "'2024-02-29 01:30:00.5'", "TIMESTAMP WITH TIME ZONE",
        datetime(2024, 2, 28, 23, 30, 0, 500000, UTC),
    ),
    "clock": ("time(3)", "'-25:00:00.25'", "VARCHAR", "-25:00:00.250"),
    "yr": ("year", "2024", "BIGINT", 2024),
    "v": ("varchar(50)", "'Müller 日本 🩺'", "VARCHAR", "Müller 日本 🩺"),
    "t": ("longtext", "'it''s \\\\ 100%'", "VARCHAR", "it's \\ 100%"),
    "bin": ("binary(4)", "x'01020304'", "BLOB", b"\x01\x02\x03\x04"),
    "b": ("blob", "x'00ff27'", "BLOB", b"\x00\xff'"),
    "e": ("enum('a','b')", "'b'", "VARCHAR", "b"),
    "place": ("point", "ST_PointFromText('POINT(0.1 2)')", "VARCHAR", "POINT(0.1 2)"),
    "s": ("set('x','y')", "'x,y'", "VARCHAR", "x,y"),
    "j": ("json", """'{"a": [1, "ü"]}'""", "VARCHAR", '{"a": [1, "ü"]}'),
}  # fmt: skip


def test_mysql_is_read_through_an_ssh_server_by_its_own_name(
    platform: Platform, mysql_emr: Sql, mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysql_emr("CREATE TABLE behind (id int PRIMARY KEY)")
    mysql_emr("INSERT INTO behind VALUES (1), (2)")
    key, text = paramiko.ECDSAKey.generate(), io.StringIO()
    key.write_private_key(text)
    monkeypatch.setenv("CAI_SECRET_SSH", text.getvalue())
    url = sync_url(mysql_url)
    monkeypatch.setenv("CAI_SECRET_OTHER", url.set(host="emr.clinic.test").render_as_string(hide_password=False))
    with ssh_gate(key, {"emr.clinic.test": str(url.host)}) as gate:
        ssh = {"host": "127.0.0.1", "port": gate.port, "user": "clinic", "private_key": {"env": "CAI_SECRET_SSH"}}
        connector = platform.add(table("behind") | {"ssh": ssh | {"host_key": fingerprint(gate.host_key.asbytes())}})
        assert platform.run(connector).total_rows == 2
        assert {host for host, _ in gate.asked} == {"emr.clinic.test"}
    assert landed(platform, connector, "behind", "id") == [(1,), (2,)]


def test_every_type_of_mysql_lands_as_it_is(platform: Platform, mysql_emr: Sql) -> None:
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, *_) in MYSQL_TYPES.items())
    mysql_emr(f"CREATE TABLE every (id int PRIMARY KEY, {columns})")
    mysql_emr(f"INSERT INTO every VALUES (1, {', '.join(value for _, value, _, _ in MYSQL_TYPES.values())})")
    mysql_emr("INSERT INTO every (id) VALUES (2)")
    mysql_emr("INSERT INTO every (id, born) VALUES (3, '0000-00-00')")  # which is no date
    connector = platform.add(table("every"))
    platform.run(connector)
    names = ", ".join(f'"{name}"' for name in MYSQL_TYPES)
    full, empty, odd = landed(platform, connector, "every", names)
    assert dict(zip(MYSQL_TYPES, full, strict=True)) == {name: value for name, (*_, value) in MYSQL_TYPES.items()}
    assert set(empty) == set(odd) == {None}
    kinds = dict(
        platform.duck(
            "SELECT column_name, data_type FROM information_schema.columns "
            f"WHERE table_schema = 'connector_{connector}'"
        )
    )
    assert {name: kinds[name] for name in MYSQL_TYPES} == {name: kind for name, (_, _, kind, _) in MYSQL_TYPES.items()}
    assert landed(platform, connector, "every", "born__v_text") == [(None,), (None,), ("0000-00-00",)]


@pytest.mark.parametrize("dialect", ["mysql", "sqlite"])
@pytest.mark.parametrize("disposition", ["merge", "append"])
def test_increments_bring_what_is_new_once(
    platform: Platform, request: pytest.FixtureRequest, dialect: str, disposition: str
) -> None:
    emr: Sql = request.getfixturevalue(f"{dialect}_emr")
    name = f"visit_{disposition}"
    moment = {"mysql": "timestamp(6) NULL", "sqlite": "datetime"}[dialect]
    emr(f"CREATE TABLE {name} (id int PRIMARY KEY, note text, changed {moment})")
    emr(f"INSERT INTO {name} VALUES (1, 'a', '2024-01-01 10:00:00'), (2, 'b', '2024-01-01 10:00:00.5')")
    connector = platform.add(table(name, cursor_column="changed", write_disposition=disposition))
    assert platform.run(connector).total_rows == 2
    emr(f"INSERT INTO {name} VALUES (3, 'c', '2024-01-01 10:00:00.5'), (4, 'd', '2024-01-01 09:00:00')")
    if disposition == "merge":
        emr(f"UPDATE {name} SET note = 'B', changed = '2024-01-02 00:00:00' WHERE id = 2")
    platform.run(connector)
    changed = "B" if disposition == "merge" else "b"
    assert landed(platform, connector, name, "id, note") == [(1, "a"), (2, changed), (3, "c")]
    assert platform.run(connector).total_rows == 0


def test_texts_of_mysql_that_sort_go_on_by_their_characters_whatever_the_collation(
    platform: Platform, mysql_emr: Sql
) -> None:
    mysql_emr(
        "CREATE TABLE steps (id int PRIMARY KEY, at varchar(20) COLLATE utf8mb4_general_ci, mood enum('sad', 'ok'))"
    )
    mysql_emr("INSERT INTO steps VALUES (1, 'B9', 'sad')")
    keys = {"write_disposition": "append", "cursor_type": "text"}
    connector = platform.add(table("steps", cursor_column="at", **keys))
    platform.run(connector)
    mysql_emr("INSERT INTO steps VALUES (2, 'b9', 'sad'), (3, 'C', 'ok'), (4, 'A', 'ok')")
    assert platform.run(connector).total_rows == 2
    assert landed(platform, connector, "steps", "id") == [(1,), (2,), (3,)]
    with pytest.raises(ConfigurationError, match="whose order on the server is not the one"):
        platform.run(platform.add(table("steps", cursor_column="mood")))


def test_what_sqlite_lets_into_a_column_lands_there_or_beside_it(platform: Platform, sqlite_emr: Sql) -> None:
    sqlite_emr(
        "CREATE TABLE lab (id integer PRIMARY KEY, value real, n integer, d decimal(10,2), "
        "at datetime, day date, ok boolean, raw blob)"
    )
    sqlite_emr("INSERT INTO lab VALUES (1, 1.5, 7, 12.345, '2024-01-01 10:00:00.25', '2024-01-01', 1, x'00ff')")
    sqlite_emr("INSERT INTO lab VALUES (2, '<5', 'many', '0.1', '2024-01-01T10:00:00+02:00', '1.1.24', 0, 'text')")
    connector = platform.add(table("lab"))
    platform.run(connector)
    assert landed(platform, connector, "lab", 'value, n, d, "at", day, ok, raw') == [
        (1.5, 7, None, datetime(2024, 1, 1, 10, 0, 0, 250000), date(2024, 1, 1), True, b"\x00\xff"),  # noqa: DTZ001
        (None, None, Decimal("0.10"), datetime(2024, 1, 1, 8), None, False, b"text"),  # noqa: DTZ001
    ]
    assert landed(platform, connector, "lab", "value__v_text, n__v_text, d__v_text, day__v_text") == [
        (None, None, "12.345", None),
        ("<5", "many", None, "1.1.24"),
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a cursor that nobody can close
@pytest.mark.parametrize("end", ["KILL {}", "KILL QUERY {}"])
def test_a_read_of_mysql_that_is_cut_short_is_worth_another_try(mysql_emr: Sql, mysql_url: str, end: str) -> None:
    mysql_emr("DROP TABLE IF EXISTS long_one")
    mysql_emr("CREATE TABLE long_one AS SELECT seq AS i, repeat('x', 200) AS t FROM seq_1_to_300000")
    given = SqlDatabaseSource.model_validate(table("long_one", primary_key=()))
    (resource,) = sql_database.resources(given, Context(Secrets()))
    rows = iter(resource)
    assert next(rows).num_rows == sql_database.CHUNK_ROWS
    url = sync_url(mysql_url)
    with (
        pymysql.connect(host=url.host, port=url.port or 0, user=url.username, password=str(url.password)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE info LIKE '%long_one%' AND id <> connection_id()"
        )
        for (number,) in cursor.fetchall():
            cursor.execute(end.format(number))
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the driver's own
        list(rows)
    assert type(classify(caught.value, Step.EXTRACT)) is TransientError


def test_a_sqlite_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not on this worker"):
        open_engine(f"sqlite:///{tmp_path}/none.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("mysql://h/d", "mysql+pymysql"),
        ("mysql+mysqldb://h/d", "mysql+pymysql"),
        ("mariadb://h/d", "mariadb+pymysql"),
        ("mssql://h/d", "mssql+pymssql"),
        ("mssql+pyodbc://h/d?driver=x", "mssql+pyodbc"),
        ("oracle://h/?service_name=d", "oracle+oracledb"),
        ("oracle+cx_oracle://h/?service_name=d", "oracle+oracledb"),
        ("sqlite+aiosqlite:///x.db", "sqlite+pysqlite"),
        ("postgres://h/d", "postgresql+psycopg2"),
        ("postgresql+asyncpg://h/d", "postgresql+psycopg2"),
    ],
)
def test_an_address_gets_the_driver_that_the_image_has(given: str, driver: str) -> None:
    assert sync_url(given).drivername == driver


@pytest.mark.parametrize(
    ("stored", "lands"),
    [
        (mssql.MONEY(), "NUMERIC(19, 4)"),
        (mssql.BIT(), "BOOLEAN"),
        (mssql.DATETIME2(), "DATETIME"),
        (mssql.UNIQUEIDENTIFIER(), "TEXT"),
        (mssql.XML(), "TEXT"),
        (mssql.ROWVERSION(), "BLOB"),
        (oracle.NUMBER(10, 0), "INTEGER"),
        (oracle.NUMBER(38, 0), "NUMERIC(38, 0)"),
        (oracle.NUMBER(), "NUMERIC(38, 9)"),
        (oracle.NUMBER(5, -2), "NUMERIC(38, 9)"),
        (oracle.BINARY_DOUBLE(), "FLOAT"),
        (oracle.DATE(), "DATETIME"),
        (oracle.INTERVAL(), "TEXT"),
        (oracle.CLOB(), "TEXT"),
        (oracle.RAW(16), "BLOB"),
        (mysql.BIGINT(unsigned=True), "NUMERIC(20, 0)"),
        (mysql.BIT(64), "NUMERIC(20, 0)"),
    ],
)  # fmt: skip
def test_each_type_has_a_plain_one(stored: Any, lands: str) -> None:
    assert str(plain(stored)) == lands


def test_zones_and_keys_are_asked_for_in_the_servers_own_words() -> None:
    def asked(dialect: Any, *columns: "sa.Column[Any]") -> str:
        given = sa.Table("visit", sa.MetaData(), *columns)
        adapt(given)
        query = sa.select(*(_asked(column, dialect.name) for column in given.columns))
        return " ".join(str(query.compile(dialect=dialect)).split())

    assert asked(
        mssql.dialect(),
        sa.Column("at", mssql.DATETIMEOFFSET()),
        sa.Column("k", mssql.UNIQUEIDENTIFIER()),
        sa.Column("n", sa.Integer),
    ).startswith(
        "SELECT CAST(switchoffset(visit.at, :switchoffset_1) AS DATETIME2) AS at, "
        "CAST(visit.k AS VARCHAR(36)) AS k, visit.n"
    )
    assert "sys_extract_utc(visit.at) AS at" in asked(
        oracle.dialect(), sa.Column("at", oracle.TIMESTAMP(timezone=True))
    )
    assert "to_char(visit.took)" in asked(oracle.dialect(), sa.Column("took", oracle.INTERVAL()))


@pytest.mark.parametrize(
    ("address", "kind", "words"),
    [
        ("{mysql}", None, ""),
        ("mysql://clinic:canary@{mysql_host}/emr", ConfigurationError, "source.credentials"),
        ("mysql://clinic:reads@{mysql_host}/mysql", ConfigurationError, "source.credentials"),
        ("mysql://u:canary@127.0.0.1:1/d", TransientError, "could not be reached"),
        ("mssql://u:canary@127.0.0.1:1/d", TransientError, "could not be reached"),
        ("oracle://u:canary@127.0.0.1:1/?service_name=d", TransientError, "could not be reached"),
        ("oracle://u:canary@no.such.host.invalid/?service_name=d", TransientError, "not known here"),
        ("mssql+pyodbc://u:canary@h/d", ConfigurationError, "lacks pyodbc"),
        ("db2://u:canary@h/d", ConfigurationError, "no address that is understood"),
    ],
)  # fmt: skip
def test_a_connection_that_fails_is_told_in_a_sentence(
    mysql_url: str, address: str, kind: type[RunError] | None, words: str
) -> None:
    host = mysql_url.rpartition("@")[2].partition("/")[0]
    address = address.replace("{mysql_host}", host).replace("{mysql}", mysql_url)
    try:
        open_engine(address).connect().close()
    except Exception as error:
        found = classify(error, Step.EXTRACT)
        assert type(found) is kind, found
        assert words in str(found)
        assert "canary" not in str(found)
        assert "\n" not in str(found)
    else:
        assert kind is None
