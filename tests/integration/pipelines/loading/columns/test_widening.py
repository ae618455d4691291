"""A column whose type changed at the source: wider where that loses nothing, else the values stand beside it."""

import gzip
import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import ConfigurationError, RunError
from tests.support.data_plane.platform import Platform

Sql = Callable[[str], list[tuple[Any, ...]]]

EMR = {"env": "CAI_SECRET_EMR"}
WAREHOUSE = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}


def _lake(platform: Platform) -> tuple[Any, Sql]:
    lake = platform.settings.data_dir / "lake"

    def ask(query: str) -> list[tuple[Any, ...]]:
        from deltalake import DeltaTable, QueryBuilder

        builder = QueryBuilder().register("t", DeltaTable(str(lake / "connector_1" / "t")))
        found = pa.table(builder.execute(query.replace("connector_1.t", "t")).read_all())
        return [tuple(row.values()) for row in found.to_pylist()]

    return {"type": "filesystem", "url": str(lake), "format": "delta"}, ask


@pytest.fixture(params=["duckdb", "postgres"])
def landing(request: pytest.FixtureRequest, platform: Platform, warehouse: Sql) -> tuple[Any, Sql]:
    """A destination, and a way to ask its tables."""
    return (None, platform.duck) if request.param == "duckdb" else (WAREHOUSE, warehouse)


@pytest.mark.parametrize("disposition", ["merge", "append", "replace"])
def test_a_column_that_is_wider_at_the_source_is_wider_here(
    platform: Platform, emr: Sql, landing: tuple[Any, Sql], disposition: str
) -> None:
    destination, ask = landing
    emr("CREATE TABLE lab (id int PRIMARY KEY, n int, d numeric(10,2), day date, big int)")
    emr("INSERT INTO lab VALUES (1, 1, 1.25, '2024-01-01', 7)")
    table = {"name": "lab", "primary_key": "id", "write_disposition": disposition}
    source = {"type": "sql_database", "credentials": EMR, "tables": [table]}
    connector = platform.add(source, destination=destination)
    platform.run(connector)
    emr(
        "ALTER TABLE lab ALTER n TYPE numeric(12,1), ALTER d TYPE numeric(12,4), ALTER day TYPE timestamp, "
        "ALTER big TYPE bigint"
    )
    emr("DELETE FROM lab" if disposition == "append" else "SELECT 1")
    emr("INSERT INTO lab VALUES (2, 1.5, 1.2345, '2024-01-02 10:30', 3000000000)")
    said = platform.run(connector).remarks
    assert ask(f"SELECT id, n, d, day, big FROM connector_{connector}.lab ORDER BY id") == [
        (1, Decimal("1.0"), Decimal("1.2500"), datetime(2024, 1, 1), 7),  # noqa: DTZ001
        (2, Decimal("1.5"), Decimal("1.2345"), datetime(2024, 1, 2, 10, 30), 3_000_000_000),  # noqa: DTZ001
    ]
    assert not said
    emr("INSERT INTO lab VALUES (3, 2.5, 1.2345, '2024-01-02 10:30', 3000000000)")
    emr("DELETE FROM lab WHERE id = 2" if disposition == "append" else "SELECT 1")
    platform.run(connector)
    assert ask(f"SELECT count(*) FROM connector_{connector}.lab") == [(3,)]


def test_a_column_on_which_a_view_depends_stays_and_the_values_stand_beside(
    platform: Platform, emr: Sql, warehouse: Sql
) -> None:
    emr("CREATE TABLE lab (id int PRIMARY KEY, n int)")
    emr("INSERT INTO lab VALUES (1, 1)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "lab", "primary_key": "id"}]}
    connector = platform.add(source, destination=WAREHOUSE)
    platform.run(connector)
    warehouse(f"CREATE VIEW seen AS SELECT n FROM connector_{connector}.lab")
    emr("ALTER TABLE lab ALTER n TYPE numeric(12,1)")
    emr("INSERT INTO lab VALUES (2, 1.5)")
    assert platform.run(connector).remarks == (
        "1 value of 'n' of table lab did not fit its type bigint and stands in 'n__v_decimal'.",
    )
    assert warehouse(f"SELECT id, n, n__v_decimal FROM connector_{connector}.lab ORDER BY id") == [
        (1, 1, None),
        (2, None, Decimal("1.5")),
    ]


def test_a_contract_keeps_the_type_and_names_the_column(platform: Platform, emr: Sql, warehouse: Sql) -> None:
    emr("CREATE TABLE lab (id int PRIMARY KEY, n int)")
    emr("INSERT INTO lab VALUES (1, 1)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "lab", "primary_key": "id"}]}
    connector = platform.add({**source, "schema_contract": "freeze"}, destination=WAREHOUSE)
    platform.run(connector)
    emr("ALTER TABLE lab ALTER n TYPE numeric(12,1)")
    platform.run(connector)
    emr("INSERT INTO lab VALUES (2, 1.5)")
    with pytest.raises(RunError, match="n__v_decimal"):
        platform.run(connector)
    kind = "SELECT data_type FROM information_schema.columns WHERE table_name = 'lab' AND column_name = 'n'"
    assert set(warehouse(kind)) == {("bigint",)}


DAY = date(2024, 1, 1)

CHANGES: list[tuple[str, pa.Array, pa.Array, dict[str, Any]]] = [
    ("bigint, then double", pa.array([1]), pa.array([20.25]), {"x": None, "x__v_double": 20.25}),
    ("int, then date", pa.array([1], pa.int32()), pa.array([DAY]), {"x": None, "x__v_date": DAY}),
    ("int, then text of its width", pa.array([1], pa.int32()), pa.array(["abcd"]), {"x": None, "x__v_text": "abcd"}),
    ("text, then boolean", pa.array(["a"]), pa.array([True]), {"x": "true"}),
    ("double, then real", pa.array([1.5]), pa.array([0.25], pa.float32()), {"x": 0.25}),
    ("text, then uint64", pa.array(["a"]), pa.array([2**64 - 1], pa.uint64()), {"x": str(2**64 - 1)}),
    ("bigint, then uint64", pa.array([1]), pa.array([2**64 - 1], pa.uint64()), {"x": Decimal(2**64 - 1)}),
    ("moments, then numbers", pa.array([datetime(2024, 1, 1)]), pa.array([5]), {"x": None, "x__v_bigint": 5}),  # noqa: DTZ001
]  # fmt: skip


@pytest.mark.parametrize("where", ["duckdb", "postgres", "delta"])
def test_parquet_files_whose_types_change_land_every_value(
    platform: Platform, inbox: Path, warehouse: Sql, where: str
) -> None:
    destination, ask = {
        "duckdb": (None, platform.duck),
        "postgres": (WAREHOUSE, warehouse),
        "delta": _lake(platform),
    }[where]
    names = [f"c{index}" for index in range(len(CHANGES))]
    source = {"type": "files", "url": str(inbox), "format": "parquet", "table": "t", "primary_key": "id"}
    connector = platform.add(source, destination=destination)
    for number in (1, 2):
        columns = {name: change[number] for name, change in zip(names, CHANGES, strict=True)}
        pq.write_table(pa.table({"id": [number], **columns}), inbox / f"{number}.parquet")
        platform.run(connector)
    for name, (what, _, _, wanted) in zip(names, CHANGES, strict=True):
        expected = wanted
        if where == "delta" and what == "bigint, then uint64":
            expected = {"x": None, "x__v_decimal": Decimal(2**64 - 1)}  # no column is widened there
        selected = ", ".join(column.replace("x", name, 1) for column in expected)
        found = ask(f"SELECT {selected} FROM connector_{connector}.t WHERE id = 2")
        assert found == [tuple(expected.values())], what


def test_values_of_every_odd_type_land_from_parquet(platform: Platform, inbox: Path, landing: tuple[Any, Sql]) -> None:
    destination, ask = landing
    table = pa.table(
        {
            "id": [1, 2],
            "real": pa.array([0.5, None], pa.float32()),
            "huge": pa.array([2**64 - 1, 0], pa.uint64()),
            "ns": pa.array([1_000, 1_001], pa.timestamp("ns")),
            "span": pa.array([1_500_000, None], pa.duration("us")),
            "many": pa.array([Decimal("1.5"), None], pa.decimal256(50, 1)),
            "list": pa.array([[1, 2], None]),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "tiny": pa.array([1, 2], pa.int8()),
            "empty": pa.nulls(2),
        }
    )
    pq.write_table(table, inbox / "a.parquet")
    # A second file of other types in the same load.
    pq.write_table(pa.table({"id": [3], "real": ["<5"], "tiny": [2.5], "list": ["no list"]}), inbox / "b.parquet")
    source = {"type": "files", "url": str(inbox), "format": "parquet", "table": "t", "primary_key": "id"}
    connector = platform.add(source, destination=destination)
    said = platform.run(connector).remarks
    columns = '"real", huge, ns, span, many, list::text, kind, tiny'
    assert ask(f"SELECT {columns} FROM connector_{connector}.t WHERE id = 1") == [
        (0.5, Decimal(2**64 - 1), datetime(1970, 1, 1, microsecond=1), "PT1.5S", Decimal("1.5"), "[1,2]", "a", 1)  # noqa: DTZ001
    ]
    assert ask(f"SELECT ns, ns__v_text FROM connector_{connector}.t WHERE id = 2") == [
        (None, "1970-01-01 00:00:00.000001001")
    ]
    beside = f'SELECT "real", real__v_text, tiny, tiny__v_double, list::text FROM connector_{connector}.t WHERE id = 3'
    assert ask(beside) == [(None, "<5", None, 2.5, '"no list"')]
    assert len(said) == 3
    assert not any("<5" in sentence for sentence in said)


def test_a_text_with_nul_lands_without_it_in_postgres_and_is_told(
    platform: Platform, inbox: Path, warehouse: Sql
) -> None:
    (inbox / "a.jsonl").write_text('{"id": 1, "note": "a\\u0000b"}\n{"id": 2, "note": "c"}\n')
    source = {"type": "files", "url": str(inbox), "format": "jsonl", "table": "t", "primary_key": "id"}
    connector = platform.add(source, destination=WAREHOUSE)
    assert platform.run(connector).remarks == (
        "1 text of 'note' of table t landed without the character NUL, which PostgreSQL can't hold.",
    )
    assert warehouse(f"SELECT note FROM connector_{connector}.t ORDER BY id") == [("ab",), ("c",)]


def test_a_key_with_nul_is_refused_where_two_rows_would_become_one(
    platform: Platform, inbox: Path, warehouse: Sql
) -> None:
    (inbox / "a.jsonl").write_text('{"code": "a\\u0000b"}\n{"code": "ab"}\n')
    source = {"type": "files", "url": str(inbox), "format": "jsonl", "table": "t", "primary_key": "code"}
    with pytest.raises(ConfigurationError, match="has the character NUL in the key column 'code'"):
        platform.run(platform.add(source, destination=WAREHOUSE))
    assert platform.run(platform.add(source)).total_rows == 2


def test_a_table_that_somebody_altered_still_takes_each_value(
    platform: Platform, emr: Sql, landing: tuple[Any, Sql]
) -> None:
    destination, ask = landing
    emr("CREATE TABLE lab (id int PRIMARY KEY, n bigint, r real)")
    emr("INSERT INTO lab VALUES (1, 1, 0.5)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "lab", "primary_key": "id"}]}
    connector = platform.add(source, destination=destination)
    platform.run(connector)
    alter = f"ALTER TABLE connector_{connector}.lab ALTER COLUMN n TYPE smallint"
    if destination is None:
        import duckdb

        with duckdb.connect(str(platform.settings.data_dir / "warehouse.duckdb")) as warehouse:
            warehouse.execute(alter)
    else:
        ask(alter)
    emr("UPDATE lab SET n = 2; INSERT INTO lab VALUES (2, 70000, 1.5)")
    platform.run(connector)
    assert ask(f"SELECT id, n, r FROM connector_{connector}.lab ORDER BY id") == [(1, 2, 0.5), (2, 70_000, 1.5)]


def test_a_run_that_dies_after_it_made_a_column_wider_is_made_good_by_the_next(
    platform: Platform, emr: Sql, landing: tuple[Any, Sql], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.loading.pipeline import LoadPipeline

    destination, ask = landing
    emr("CREATE TABLE lab (id int PRIMARY KEY, n int)")
    emr("INSERT INTO lab VALUES (1, 1)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "lab", "primary_key": "id"}]}
    connector = platform.add(source, destination=destination)
    platform.run(connector)
    emr("ALTER TABLE lab ALTER n TYPE numeric(12,1)")
    emr("INSERT INTO lab VALUES (2, 1.5)")

    def die(_: LoadPipeline) -> None:
        raise RunError

    with monkeypatch.context() as patched:
        patched.setattr(LoadPipeline, "normalize", die)
        with pytest.raises(RunError):
            platform.run(connector)
    # The table is wider, its staging table is not.
    platform.run(connector)
    assert ask(f"SELECT id, n FROM connector_{connector}.lab ORDER BY id") == [(1, Decimal(1)), (2, Decimal("1.5"))]


def test_values_beside_a_column_of_the_longest_name_are_neither_rounded_nor_doubled(
    platform: Platform, emr: Sql, warehouse: Sql
) -> None:
    longest = "l" * 63  # with `__v_decimal` behind it, PostgreSQL has no room for it
    emr(f"CREATE TABLE labs (id int PRIMARY KEY, {longest} boolean); INSERT INTO labs VALUES (1, true)")
    emr(f"CREATE TABLE doses (day date, {longest} numeric); INSERT INTO doses VALUES ('2024-01-01', 'NaN')")
    tables = [{"name": "labs", "primary_key": "id"}, {"name": "doses", "cursor_column": "day"}]
    connector = platform.add(
        {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": tables},
        destination={"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}},
    )
    platform.run(connector)
    emr(f"ALTER TABLE labs ALTER {longest} TYPE numeric(10,2) USING 1.25")
    platform.run(connector)
    emr(f"ALTER TABLE labs ALTER {longest} TYPE numeric(12,4); UPDATE labs SET {longest} = 1.2345")
    for _ in range(2):
        platform.run(connector)
        [beside] = warehouse(
            "SELECT column_name FROM information_schema.columns WHERE column_name LIKE '%\\_\\_v\\_decimal' "
            f"AND table_schema = 'connector_{connector}'"
        )
        assert warehouse(f"SELECT {beside[0]}::text FROM connector_{connector}.labs") == [("1.2345",)]
        assert warehouse(f"SELECT count(*) FROM connector_{connector}.doses") == [(1,)]


def test_what_no_column_is_made_wider_for_stands_beside_in_a_lake(platform: Platform, emr: Sql) -> None:
    """Delta and plain files take each column's first type; DuckDB and PostgreSQL make it wider."""
    emr(
        "CREATE TABLE t (id int PRIMARY KEY, n int, d numeric(10,2), day date, big int, r real, starts timetz, "
        "b numeric)"
    )
    emr("INSERT INTO t VALUES (1, 1, 1.25, '2024-01-01', 7, 0.5, '10:00+02', 'NaN')")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "t", "primary_key": "id"}]}
    destination, ask = _lake(platform)
    connector = platform.add(source, destination=destination)
    platform.run(connector)
    emr("ALTER TABLE t ALTER n TYPE numeric(12,1), ALTER d TYPE numeric(12,4), ALTER day TYPE timestamp")
    emr("ALTER TABLE t ALTER big TYPE bigint")
    emr("INSERT INTO t VALUES (2, 1.5, 1.2345, '2024-01-02 10:30', 3000000000, 'inf', null, 4.5e-11)")
    emr("INSERT INTO t VALUES (3, 2, 2.5, 'infinity', 5, 'nan', null, 1e30)")
    platform.run(connector)
    beside = "n, n__v_decimal, d, d__v_decimal, day__v_timestamp, day__v_text, big, starts, b__v_text"
    assert ask(f"SELECT {beside} FROM connector_{connector}.t ORDER BY id") == [
        (1, None, Decimal("1.25"), None, None, None, 7, "10:00:00+02", "NaN"),
        (None, Decimal("1.5"), None, Decimal("1.2345"), datetime(2024, 1, 2, 10, 30), None, 3 * 10**9, None,  # noqa: DTZ001
         "0.000000000045"),
        (2, None, Decimal("2.50"), None, None, "infinity", 5, None, "1" + 30 * "0"),
    ]  # fmt: skip
    assert ask(f"SELECT CAST(r AS varchar) FROM connector_{connector}.t ORDER BY id") == [("0.5",), ("inf",), ("NaN",)]


def test_numbers_that_json_has_not_stand_beside_in_files_of_json_lines(platform: Platform, inbox: Path) -> None:
    table = pa.table({"id": [1, 2, 3], "r": pa.array([0.5, float("inf"), float("nan")], pa.float32())})
    pq.write_table(table, inbox / "a.parquet")
    lake = platform.settings.data_dir / "lake"
    source = {"type": "files", "url": str(inbox), "format": "parquet", "table": "t"}
    connector = platform.add(source, destination={"type": "filesystem", "url": str(lake), "format": "jsonl"})
    assert platform.run(connector).remarks == (
        "2 values of 'r' of table t did not fit its type double and stand in 'r__v_text'.",
    )
    (file,) = (lake / f"connector_{connector}" / "t").glob("*.jsonl*")
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert [(row["r"], row["r__v_text"]) for row in rows] == [(0.5, None), (None, "inf"), (None, "nan")]
