"""PostgreSQL as a source: values that Arrow's types don't hold, other encodings, and reads that are cut short."""

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg2  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
import sqlalchemy as sa

from connectors.sources.sql_database import SqlDatabaseSource
from local.embedded_postgres import EmbeddedPostgres
from pipelines.access.secrets import Secrets
from pipelines.error_causes.classification import classify
from pipelines.errors import ConfigurationError, Step, TransientError
from pipelines.remarks import Remarks
from pipelines.sources import Context, sql_database
from pipelines.sources.sql import postgres_reader
from pipelines.sources.sql.postgres_reader import address
from tests.support.data_plane.platform import Platform, Sql

EMR = {"env": "CAI_SECRET_EMR"}


def source(table: str, **keys: Any) -> dict[str, Any]:
    return {"type": "sql_database", "credentials": EMR, "tables": [{"name": table, **keys}]}


def read(table: str, **keys: Any) -> tuple[list[pa.Table], list[str]]:
    """What the reader hands out for a table, and its remarks."""
    remarks = Remarks()
    given = SqlDatabaseSource.model_validate(source(table, **keys))
    (resource,) = sql_database.resources(given, Context(Secrets(), remarks=remarks))
    return list(resource), list(remarks)


def columns(table: str) -> dict[str, list[Any]]:
    (found,) = read(table)[0]
    return dict(found.to_pydict())


def test_a_bare_numeric_lands_with_all_its_digits_or_beside(platform: Platform, emr: Sql, warehouse: Sql) -> None:
    emr("CREATE TABLE lab (id int PRIMARY KEY, value numeric)")
    given = ["4.5e-11", "5.123456789012345", "1e30", "'Infinity'", "'-Infinity'", "'NaN'", "1.5", "1e-20", "null"]
    emr(f"INSERT INTO lab VALUES {', '.join(f'({index}, {value})' for index, value in enumerate(given))}")
    for destination in ({}, {"destination": {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}}):
        connector = platform.add(source("lab", primary_key="id"), **destination)
        summary = platform.run(connector)
        ask: Any = warehouse if destination else platform.duck
        found = ask(f"SELECT value::text, value__v_text FROM connector_{connector}.lab ORDER BY id")
        assert found == [
            (None, "0.000000000045"),
            (None, "5.123456789012345"),
            (None, "1000000000000000000000000000000"),
            (None, "Infinity"),
            (None, "-Infinity"),
            (None, "NaN"),
            ("1.500000000", None),
            (None, "0.00000000000000000001"),
            (None, None),
        ]
        assert [remark for remark in summary.remarks if "'value'" in remark] == [
            "7 values of 'value' of table lab did not fit its type decimal and stand in 'value__v_text'."
        ]


@pytest.mark.parametrize(
    ("kind", "keys"),
    [("numeric", ("NaN", "1.5")), ("timestamptz", ("infinity", "2024-01-01")), ("date", ("0044-03-15 BC", "infinity"))],
)
def test_a_key_that_no_number_or_day_is_lands_as_text(
    platform: Platform, emr: Sql, kind: str, keys: tuple[str, str]
) -> None:
    emr(f"CREATE TABLE t (id {kind} PRIMARY KEY, v int); INSERT INTO t VALUES ('{keys[0]}', 1), ('{keys[1]}', 2)")
    with pytest.raises(ConfigurationError, match=r'set types to \{"id": "text"\}'):
        platform.run(platform.add(source("t", primary_key="id")))
    connector = platform.add(source("t", primary_key="id", types={"id": "text"}))
    for _ in range(2):
        platform.run(connector)
        found = platform.duck(f"SELECT id, v FROM connector_{connector}.t ORDER BY v")
        assert [number for _, number in found] == [1, 2]
        assert found[0][0] == keys[0]
        assert found[1][0].startswith(keys[1])


def test_what_does_not_fit_stands_beside_its_own_column(platform: Platform, emr: Sql) -> None:
    """Though two names become one, and though the table has such a column itself."""
    emr(
        'CREATE TABLE cells (id int PRIMARY KEY, "CD4+" numeric, "CD4-" numeric, "Value" numeric, "Value__v_text" text)'
    )
    emr("INSERT INTO cells VALUES (1, 'NaN', 1, 'Infinity', 'own'), (2, 2, '1e30', 3, null)")
    connector = platform.add(source("cells", primary_key="id"))
    platform.run(connector)
    rows = platform.duck(f"SELECT * EXCLUDE (_dlt_load_id) FROM connector_{connector}.cells ORDER BY id")
    names = [row[0] for row in platform.duck(f"DESCRIBE connector_{connector}.cells") if not row[0].startswith("_dlt")]
    first, second = (dict(zip(names, row, strict=True)) for row in rows)
    (minus,) = {name for name in names if name.startswith("cd4x_") and "__v_" not in name}
    assert {name: value for name, value in first.items() if value is not None} == {
        "id": 1, "cd4x__v_text": "NaN", minus: Decimal(1), "value__v_text": "own", "value__v_text_2": "Infinity",
    }  # fmt: skip
    assert {name: value for name, value in second.items() if value is not None} == {
        "id": 2, "cd4x": Decimal(2), f"{minus}__v_text": "1" + 30 * "0", "value": Decimal(3),
    }  # fmt: skip


def test_a_numeric_of_any_precision_keeps_its_digits(emr: Sql) -> None:
    emr(
        "CREATE TABLE n (few numeric(10,2), many numeric(38,10), more numeric(60,30), small numeric(3,5), "
        "round numeric(5,-2), zero numeric(20,20))"
    )
    emr("INSERT INTO n VALUES (1.25, 1e27 + 0.0000000001, 1e29 + 1e-30, 0.00123, 12345, 0.12345678901234567890)")
    emr("INSERT INTO n VALUES ('NaN', 'NaN', 'NaN', 'NaN', 'NaN', 'NaN')")
    (table,) = read("n")[0]
    first, second = table.to_pylist()
    assert {name: str(value) for name, value in first.items() if "__v_" not in name} == {
        "few": "1.25",
        "many": "1000000000000000000000000000.0000000001",
        "more": "100000000000000000000000000000.000000000000000000000000000001",
        "small": "0.00123",
        "round": "12300",
        "zero": "0.12345678901234567890",
    }
    assert second.pop("more") == "NaN"  # of more digits than any decimal has: text altogether
    assert {name for name, value in second.items() if value == "NaN"} == {
        f"{name}__v_text" for name in ("few", "many", "small", "round", "zero")
    }


def test_infinite_and_far_dates_stand_beside_and_are_told_once(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, born date, seen timestamptz, at timestamp, clock time)")
    emr(
        "INSERT INTO visit VALUES (1, 'infinity', 'infinity', 'infinity', '24:00'), "
        "(2, '-infinity', '-infinity', '-infinity', '00:00'), (3, '0044-03-15 BC', '0044-03-15 12:00:00.5+00 BC', "
        "'0044-03-15 12:00 BC', null), (4, '10000-01-01', '9999-12-31 23:59:59-05', '294276-12-31 23:59:59.999999', "
        "'23:59:59.999999'), (5, '9999-12-31', '9999-12-31 23:59:59.999999+00', '0001-01-01', null)"
    )
    connector = platform.add(source("visit", primary_key="id"))
    summary = platform.run(connector)
    names = "born__v_text, seen__v_text, at__v_text, clock__v_text"
    assert platform.duck(f"SELECT {names} FROM connector_{connector}.visit ORDER BY id") == [
        ("infinity", "infinity", "infinity", "24:00:00"),
        ("-infinity", "-infinity", "-infinity", None),
        ("0044-03-15 BC", "0044-03-15 12:00:00.5+00 BC", "0044-03-15 12:00:00 BC", None),
        ("10000-01-01", "10000-01-01 04:59:59+00", "294276-12-31 23:59:59.999999", None),
        (None, None, None, None),
    ]
    assert platform.duck(
        f"SELECT born::text, seen = timestamptz '9999-12-31 23:59:59.999999+00', \"at\"::text "
        f'FROM connector_{connector}.visit WHERE born IS NOT NULL OR seen IS NOT NULL OR "at" IS NOT NULL'
    ) == [("9999-12-31", True, "0001-01-01 00:00:00")]
    assert len(summary.remarks) == 4, summary.remarks
    assert "4 values of 'born' of table visit did not fit its type date and stand in 'born__v_text'." in summary.remarks


def test_a_date_before_christ_is_masked_beside_its_column(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE patient (id int PRIMARY KEY, born date)")
    emr("INSERT INTO patient VALUES (1, '0044-03-15 BC'), (2, '1999-12-31'), (3, 'infinity')")
    connector = platform.add({**source("patient", primary_key="id"), "mask": ["born"]})
    platform.run(connector)
    found = platform.duck(f"SELECT born, born__v_text FROM connector_{connector}.patient ORDER BY id")
    assert [(len(born or ""), len(text or "")) for born, text in found] == [(0, 64), (64, 0), (0, 64)]


def test_words_for_what_arrow_cant_hold_are_the_servers_own(emr: Sql) -> None:
    """2,000 days and moments over all of PostgreSQL's calendar, as the server writes them."""
    emr(
        "CREATE TABLE far AS SELECT date '4713-01-01 BC' + (random() * 2147000000)::int AS d, "
        "timestamp '4713-01-01 BC' + make_interval(days => (random() * 109000000)::int, secs => random() * 86399) AS t "
        "FROM generate_series(1, 2000)"
    )
    emr(
        "CREATE VIEW words AS SELECT d, t, t AT TIME ZONE 'UTC' AS z, d::text AS d_text, t::text AS t_text, "
        "(t AT TIME ZONE 'UTC')::text AS z_text FROM far"
    )
    emr("ALTER ROLE CURRENT_USER SET timezone TO 'UTC'")
    found = columns("words")
    for name, parse in (("d", date.fromisoformat), ("t", datetime.fromisoformat), ("z", datetime.fromisoformat)):
        beside = 0
        for value, other, text in zip(found[name], found[f"{name}__v_text"], found[f"{name}_text"], strict=True):
            beside += other is not None
            assert other == text if other is not None else parse(text) == value
        assert 1_000 < beside < 2_000


def test_a_time_keeps_its_zone(emr: Sql) -> None:
    emr("CREATE TABLE shift (starts timetz)")
    emr("INSERT INTO shift VALUES ('10:00+02'), ('24:00-05:30'), (null)")
    assert columns("shift")["starts"] == ["10:00:00+02", "24:00:00-05:30", None]


def test_a_domain_lands_as_what_it_is_of(emr: Sql) -> None:
    emr("CREATE DOMAIN age AS int; CREATE DOMAIN years AS age; CREATE DOMAIN dose AS numeric(10,2)")
    emr("CREATE DOMAIN mrn AS text; CREATE DOMAIN tags AS text[]; CREATE DOMAIN seen AS timestamptz")
    emr("CREATE TABLE d (a age, y years, dose dose, mrn mrn, tags tags, seen seen)")
    emr("INSERT INTO d VALUES (9, 10, 1.50, 'ü', '{a,b}', 'infinity')")
    (table,) = read("d")[0]
    kinds = {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)}
    assert kinds == {
        "a": "int32", "y": "int32", "dose": "decimal128(38, 9)", "mrn": "string", "tags": "string",
        "seen": "timestamp[us, tz=UTC]", "seen__v_text": "string",
    }  # fmt: skip
    assert table.to_pylist()[0]["dose"] == Decimal("1.50")
    assert table.to_pylist()[0]["tags"] == '["a", "b"]'


LATIN1 = "ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"


def latin1(postgres: EmbeddedPostgres, name: str) -> str:
    """The address of a new database whose texts are stored in LATIN1."""
    url = postgres.create_database("clinic_of_no_encoding")
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")
            cursor.execute(f"CREATE DATABASE {name} {LATIN1}")
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@contextlib.contextmanager
def executing(url: str) -> Iterator[Any]:
    """Executes SQL in a database."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor


def test_texts_of_a_latin1_database_are_read_as_they_are(
    platform: Platform, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = latin1(postgres, "latin_source")
    monkeypatch.setenv("CAI_SECRET_EMR", url)
    with executing(url) as cursor:
        cursor.execute('CREATE TABLE patient (id int PRIMARY KEY, "straße" text)')
        cursor.execute("INSERT INTO patient VALUES (1, 'Müller é')")
    connector = platform.add(source("patient", primary_key="id"))
    platform.run(connector)
    assert platform.duck(f"SELECT * EXCLUDE (_dlt_load_id) FROM connector_{connector}.patient") == [(1, "Müller é")]


def test_texts_land_in_a_latin1_database_as_they_are(
    platform: Platform, emr: Sql, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = latin1(postgres, "latin_warehouse")
    monkeypatch.setenv("CAI_SECRET_WAREHOUSE", url)
    emr("CREATE TABLE patient (id int PRIMARY KEY, name text)")
    emr("INSERT INTO patient VALUES (1, 'Müller é')")
    warehouse = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
    connector = platform.add(source("patient", primary_key="id"), destination=warehouse)
    platform.run(connector)
    with executing(url) as cursor:
        cursor.execute(f"SELECT name, octet_length(name) FROM connector_{connector}.patient")
        assert cursor.fetchall() == [("Müller é", 8)]


def long_table(emr: Sql) -> Iterator[Any]:
    """A table of some 60 MB that is being read, of which the first rows are there."""
    emr("CREATE TABLE long AS SELECT i, repeat('x', 200) AS t FROM generate_series(1, 300000) i")
    (resource,) = sql_database.resources(SqlDatabaseSource.model_validate(source("long")), Context(Secrets()))
    rows = iter(resource)
    assert next(rows).num_rows
    return rows


@pytest.mark.parametrize("end", ["pg_terminate_backend", "pg_cancel_backend"])
def test_a_read_that_an_administrator_ends_is_worth_another_try(
    emr: Sql, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(postgres_reader, "BATCH_BYTES", 100_000)
    rows = long_table(emr)
    emr(f"SELECT {end}(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%long%' AND pid <> pg_backend_pid()")
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the driver's own
        list(rows)
    found = classify(caught.value, Step.EXTRACT)
    assert type(found) is TransientError
    assert "The source's database" in str(found)


def test_a_read_beyond_the_servers_time_limit_is_worth_another_try(emr: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    emr("CREATE VIEW slow AS SELECT i, pg_sleep(0.01)::text AS t FROM generate_series(1, 1000) i")
    url = os.environ["CAI_SECRET_EMR"]
    monkeypatch.setenv("CAI_SECRET_EMR", f"{url}?options=-cstatement_timeout%3D300")
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the driver's own
        read("slow")
    found = classify(caught.value, Step.EXTRACT)
    assert type(found) is TransientError
    assert re.search("statement[_ ]timeout", str(found))


def test_a_connection_that_breaks_while_rows_are_read_is_worth_another_try(
    emr: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    emr("CREATE TABLE long AS SELECT i, repeat('x', 200) AS t FROM generate_series(1, 50000) i")
    address = urlsplit(os.environ["CAI_SECRET_EMR"])
    with breaking(address.hostname or "", address.port or 0, after=3_000_000) as port:
        broken = address._replace(netloc=f"{address.username}:{address.password}@127.0.0.1:{port}")
        monkeypatch.setenv("CAI_SECRET_EMR", broken.geturl())
        with pytest.raises(Exception) as caught:  # noqa: PT011  # the driver's own
            read("long")
    found = classify(caught.value, Step.EXTRACT)
    assert type(found) is TransientError
    assert "The source's database" in str(found)


@contextlib.contextmanager
def breaking(host: str, port: int, after: int) -> Iterator[int]:
    """A port that leads to a server, until so many bytes of an answer have come through it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def forward(client: socket.socket) -> None:
        with client, socket.create_connection((host, port)) as server:
            sending = threading.Thread(target=pump, args=(client, server, 2**62), daemon=True)
            sending.start()
            pump(server, client, after)
            for side in (client, server):
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
            sending.join(10)

    def pump(given: socket.socket, taken: socket.socket, most: int) -> None:
        with contextlib.suppress(OSError):
            while most > 0 and (data := given.recv(65_536)):
                taken.sendall(data)
                most -= len(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=forward, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


@pytest.mark.parametrize(
    ("given", "libpq"),
    [
        ("postgresql+psycopg2://u:a b@h/d", "postgresql://u:a%20b@h/d?client_encoding=UTF8"),
        ("postgresql://u:p%40ss%2Fw@h:5433/d", "postgresql://u:p%40ss%2Fw@h:5433/d?client_encoding=UTF8"),
        ("postgresql://u@[::1]/d?sslmode=require", "postgresql://u@[::1]/d?sslmode=require&client_encoding=UTF8"),
        (
            "postgresql:///d?host=/run/pg&client_encoding=latin1",
            "postgresql:///d?host=%2Frun%2Fpg&client_encoding=UTF8",
        ),
    ],
)
def test_an_address_is_written_as_libpq_reads_it(given: str, libpq: str) -> None:
    assert address(sa.make_url(given)) == libpq


def test_a_password_with_a_space_is_taken(
    postgres: EmbeddedPostgres, emr: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    emr("DROP ROLE IF EXISTS spacious; CREATE ROLE spacious LOGIN SUPERUSER PASSWORD 'a b+c%d@e'")
    emr("CREATE TABLE visit (id int); INSERT INTO visit VALUES (7)")
    parts = urlsplit(os.environ["CAI_SECRET_EMR"])
    for password in ("a b+c%25d%40e", quote("a b+c%d@e", safe="")):
        url = parts._replace(netloc=f"spacious:{password}@{parts.hostname}:{parts.port}").geturl()
        monkeypatch.setenv("CAI_SECRET_EMR", url)
        assert columns("visit") == {"id": [7]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("?", "foo=1&sslmode=disable"), "'foo'"),
        (("path", "/no_such_database"), "no_such_database"),
    ],
)
def test_what_is_wrong_with_an_address_is_named(
    emr: Sql, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], words: str
) -> None:
    parts = urlsplit(os.environ["CAI_SECRET_EMR"])
    parts = parts._replace(query=change[1]) if change[0] == "?" else parts._replace(path=change[1])
    monkeypatch.setenv("CAI_SECRET_EMR", parts.geturl())
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the driver's own
        read("visit")
    found = classify(caught.value, Step.EXTRACT)
    assert type(found) is ConfigurationError
    assert words in str(found)
    assert "source.credentials" in str(found)


def test_a_cursor_beyond_all_days_is_no_newest_value(platform: Platform, emr: Sql) -> None:
    """Infinity, and the end of all time in another zone: what comes later is not lost behind them."""
    emr("CREATE TABLE visit (id int PRIMARY KEY, seen timestamptz, day date)")
    emr(
        "INSERT INTO visit VALUES (1, '2024-01-01', '2024-01-01'), (2, 'infinity', 'infinity'), "
        "(3, '9999-12-31 23:59:59-05', '10000-01-01'), (4, '-infinity', '0044-03-15 BC')"
    )
    connectors = [platform.add(source("visit", primary_key="id", cursor_column=name)) for name in ("seen", "day")]
    for connector in connectors:
        platform.run(connector)
    emr("INSERT INTO visit VALUES (5, '2024-01-02', '2024-01-02')")
    for connector in connectors:
        platform.run(connector)
        found = platform.duck(f"SELECT id, seen__v_text FROM connector_{connector}.visit ORDER BY id")
        assert found == [
            (1, None),
            (2, "infinity"),
            (3, "10000-01-01 04:59:59+00"),
            (4, "-infinity"),
            (5, None),
        ]
    appending = platform.add(source("visit", primary_key="id", cursor_column="seen", write_disposition="append"))
    with pytest.raises(ConfigurationError, match="missing or empty"):
        platform.run(appending)
