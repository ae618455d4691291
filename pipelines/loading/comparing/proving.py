"""Proof that a table in the destination is the one at the source: counts, or checksums down to the keys that differ.

Both sides are written to Parquet in the run's directory: the source as it would land (`reading`), the destination as
it stands, unless that is DuckDB, which reads its table where it is. DuckDB then sums up each side by parts of the key,
in one pass over either, and looks only into parts whose sums differ. Keys that differ are rows of `_cai_differences`
in the dataset, where the rows themselves are, some of them in the comparison that the platform keeps, and none in a
sentence. If the process dies here, nothing has changed: that table is written in one transaction.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from json import loads
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination.exceptions import SqlClientNotAvailable

from connectors.comparisons import MOST_KEYS, Difference, DifferenceKind, KeyRange, TableComparison
from connectors.sources.write_rules import Comparison
from pipelines.errors import ConfigurationError
from pipelines.loading.comparing import ranges
from pipelines.loading.comparing.deleting import DELETED_AT
from pipelines.loading.comparing.reading import Reread
from pipelines.loading.comparing.sessions import Session

DIFFERENCES = "_cai_differences"
"""The table of the dataset that holds the keys which differed when a table was last compared."""

PARTS = 4096
MOST_DIFFERENCES = 10_000
"""Keys of one table that are written down; of more, only their number is told."""

MEMORY = "300MB"
THREADS = 2


def sentence_of(found: TableComparison, dataset: str) -> str:
    """What was found, without any value of a row."""
    counts = f"Table '{found.table_name}': {found.at_source:,} rows at the source, {found.in_destination:,} landed"
    if found.missing is None:
        return f"{counts}, counted only."
    if found.is_equal:
        return f"{counts}, all equal."
    return (
        f"{counts}; {found.missing:,} are missing, {found.extra:,} are too many, {found.different:,} are different: "
        f"their keys stand in {dataset}.{DIFFERENCES}."
    )


def counted(session: Session, read: Reread, rows_at_source: int) -> TableComparison:
    """Compare the numbers of rows alone."""
    columns = session.columns(read.table)
    if not columns:
        return of_counts(read.table, rows_at_source, 0)
    live = _live(session, columns)
    ((rows,),) = session.ask(f"SELECT count(*) FROM {session.table(read.table)} WHERE {live}")  # noqa: S608  # names
    return of_counts(read.table, rows_at_source, rows)


def of_counts(table: str, at_source: int, in_destination: int) -> TableComparison:
    """A table whose rows were counted alone."""
    return TableComparison(table, Comparison.COUNTS, at_source, in_destination)


def rows_of(pipeline: dlt.Pipeline, table: str) -> int:
    """The number of rows of a table in any destination that can be asked for it.

    Raises:
        ConfigurationError: it can't.
    """
    if pipeline.default_schema.tables[table].get("table_format") == "delta":
        from deltalake import DeltaTable  # noqa: PLC0415  # an extra
        from dlt.common.libs.deltalake import deltalake_storage_options  # noqa: PLC0415

        client, _ = pipeline._get_destination_clients(pipeline.default_schema)
        with client as files:
            settings: Any = files.config
            options = deltalake_storage_options(settings.credentials, settings.deltalake_storage_options)
            location = files.get_open_table_location("delta", table)  # type: ignore[attr-defined]
        return (
            int(DeltaTable(location, storage_options=options).count())
            if DeltaTable.is_deltatable(location, options)
            else 0
        )
    try:
        with pipeline.sql_client() as there:
            found = there.execute_sql(f"SELECT count(*) FROM {there.make_qualified_table_name(table)}")  # noqa: S608
    except SqlClientNotAvailable:
        raise ConfigurationError("The destination can't be asked for its rows, so nothing is compared.") from None
    return int(found[0][0]) if found else 0


def proved(session: Session, read: Reread, directory: Path) -> TableComparison:
    """Compare all values of a table by its key, and write down the keys that differ."""
    standing = session.columns(read.table)
    columns = [name for name in read.columns if name in standing]
    live, files = _live(session, standing), [str(path) for path in read.files]
    if (duck := session.duck) is not None:
        duck.execute("SET TimeZone = 'UTC'")
        found, differences = _compared(duck, files, f"{session.table(read.table)} WHERE {live}", read, columns)
        _write_down(session, read.table, differences)
        return found
    there = directory / f"{read.table}.standing.parquet"
    asked = ", ".join(map(session.column, columns))
    session.save(f"SELECT {asked} FROM {session.table(read.table)} WHERE {live}", there)  # noqa: S608  # names, escaped
    found, differences = compare(files, str(there), read, columns, directory)
    there.unlink(missing_ok=True)
    _write_down(session, read.table, differences)
    return found


def _live(session: Session, columns: Sequence[str]) -> str:
    return f"{session.column(DELETED_AT)} IS NULL" if DELETED_AT in columns else "TRUE"


def compare(
    source: list[str], standing: str, read: Reread, columns: Sequence[str], directory: Path
) -> tuple[TableComparison, list[tuple[str, str]]]:
    """Compare Parquet of both sides; the keys that differ as JSON, and in what way."""
    import duckdb  # noqa: PLC0415  # only in a run

    with contextlib.closing(duckdb.connect()) as db:
        db.execute(f"SET memory_limit = '{MEMORY}'; SET threads = {THREADS}; SET preserve_insertion_order = false")
        db.execute("SET temp_directory = ?", [str(directory / "compared")])
        db.execute("SET TimeZone = 'UTC'")
        return _compared(db, source, f"read_parquet({[standing]}, union_by_name = true)", read, columns)


def _compared(
    db: Any, source: list[str], standing: str, read: Reread, columns: Sequence[str]
) -> tuple[TableComparison, list[tuple[str, str]]]:
    """Compare Parquet files with what DuckDB reads `FROM` elsewhere."""
    kinds, here = _kinds(db, standing), f"read_parquet({source}, union_by_name = true)"
    arrived = _kinds(db, here) if source else {}
    of_source = ", ".join(_value(name, arrived.get(name), kinds[name]) for name in columns)
    if not source:
        of_source = ", ".join(f'"{name}"' for name in columns)
        here = f"(SELECT * FROM {standing}) WHERE FALSE"  # noqa: S608  # names, escaped
    of_standing = ", ".join(_value(name, kinds[name], arrived.get(name)) for name in columns)
    db.execute(f"CREATE OR REPLACE TEMP VIEW source AS SELECT {of_source} FROM {here}")  # noqa: S608
    db.execute(f"CREATE OR REPLACE TEMP VIEW standing AS SELECT {of_standing} FROM {standing}")  # noqa: S608
    return _summed_up(db, read, columns)


def _summed_up(db: Any, read: Reread, columns: Sequence[str]) -> tuple[TableComparison, list[tuple[str, str]]]:
    key = ", ".join(f'"{name}"' for name in read.key)
    row = ", ".join(f'"{name}"' for name in columns)
    db.execute("DROP TABLE IF EXISTS temp.main.differences")  # of the table before
    for side in ("source", "standing"):
        db.execute(
            f"CREATE OR REPLACE TEMP TABLE sums_{side} AS SELECT hash({key}) % {PARTS} AS part, count(*) AS n, "  # noqa: S608
            f"bit_xor(hash({row})) AS x, sum(hash({row}) % 1000003) AS s FROM {side} GROUP BY 1"
        )
    sums = "(SELECT coalesce(sum(n), 0)::bigint FROM sums_{})"
    ((at_source, in_destination),) = db.execute(f"SELECT {sums.format('source')}, {sums.format('standing')}").fetchall()
    parts = [
        part
        for (part,) in db.execute(
            "SELECT coalesce(a.part, b.part) FROM sums_source a FULL JOIN sums_standing b ON a.part = b.part "
            "WHERE a.n IS DISTINCT FROM b.n OR a.x IS DISTINCT FROM b.x OR a.s IS DISTINCT FROM b.s"
        ).fetchall()
    ]
    if not parts:
        return _found(read, (at_source, in_destination), {}, ranges.of_key(db, read.key[0])), []
    db.execute("CREATE OR REPLACE TEMP TABLE parts AS SELECT unnest(?) AS part", [parts])
    for side in ("source", "standing"):
        db.execute(
            f"CREATE OR REPLACE TEMP TABLE some_{side} AS SELECT {key}, hash({row}) AS h FROM {side} "  # noqa: S608
            f"WHERE hash({key}) % {PARTS} IN (SELECT part FROM parts)"
        )
    same = " AND ".join(f'a."{name}" = b."{name}"' for name in read.key)
    either = ", ".join(f'coalesce(a."{name}", b."{name}") AS "{name}"' for name in read.key)
    db.execute(
        f"CREATE OR REPLACE TEMP TABLE differences AS SELECT {either}, CASE WHEN b.h IS NULL "  # noqa: S608
        "THEN 'missing' WHEN a.h IS NULL THEN 'extra' ELSE 'different' END AS what "
        f"FROM some_source a FULL JOIN some_standing b ON {same} WHERE a.h IS DISTINCT FROM b.h"
    )
    numbers = dict(db.execute("SELECT what, count(*) FROM differences GROUP BY what").fetchall())
    shown = ", ".join(f'"{name}": "{name}"' for name in read.key)
    rows = db.execute(
        f"SELECT to_json({{{shown}}})::varchar, what FROM differences ORDER BY {key} LIMIT {MOST_DIFFERENCES}"  # noqa: S608
    ).fetchall()
    found = _found(read, (at_source, in_destination), numbers, ranges.of_key(db, read.key[0]))
    return replace(found, differences=_differences(db, read.key, columns)), rows


def _found(
    read: Reread, rows: tuple[int, int], numbers: Mapping[str, int], of_key: tuple[KeyRange, ...]
) -> TableComparison:
    missing, extra, different = (numbers.get(kind.value, 0) for kind in DifferenceKind)
    return TableComparison(read.table, Comparison.SUMS, *rows, missing, extra, different, ranges=of_key)


def _differences(db: Any, key: Sequence[str], columns: Sequence[str]) -> tuple[Difference, ...]:
    """Some of the keys that differ, of each kind; of those that both sides have, which columns differ."""
    keys = ", ".join(f'"{name}"' for name in key)
    db.execute(
        "CREATE OR REPLACE TEMP TABLE shown AS SELECT * FROM differences "  # noqa: S608  # names, escaped
        f"ORDER BY row_number() OVER (PARTITION BY what ORDER BY {keys}), what LIMIT {MOST_KEYS}"
    )
    for side in ("source", "standing"):
        db.execute(
            f"CREATE OR REPLACE TEMP TABLE shown_{side} AS SELECT * FROM {side} SEMI JOIN "  # noqa: S608
            f"(SELECT * FROM shown WHERE what = 'different') USING ({keys})"
        )
    others = [name for name in columns if name not in key]
    differing = ", ".join(f'CASE WHEN a."{name}" IS DISTINCT FROM b."{name}" THEN ? END' for name in others)
    listed = f"list_filter([{differing}], lambda name: name IS NOT NULL)" if others else "[]"
    json = ", ".join(f'"{name}": s."{name}"' for name in key)
    ordered = ", ".join(f's."{name}"' for name in key)
    found = db.execute(
        f"SELECT to_json({{{json}}})::varchar, s.what, CASE WHEN s.what = 'different' THEN {listed} ELSE [] END "  # noqa: S608
        f"FROM shown s LEFT JOIN shown_source a USING ({keys}) LEFT JOIN shown_standing b USING ({keys}) "
        f"ORDER BY s.what, {ordered}",
        others,
    ).fetchall()
    return tuple(Difference(loads(text), DifferenceKind(what), tuple(names)) for text, what, names in found)


def _kinds(db: Any, place: str) -> dict[str, str]:
    described = db.execute(f"DESCRIBE SELECT * FROM {place}").fetchall()  # noqa: S608  # a table, or our own files
    return {name: "VARCHAR" if kind == "JSON" else kind for name, kind, *_ in described}


_NUMBERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}


def _common(one: str, other: str) -> str:
    """The type in which two columns are compared: one that holds each value of both as it is."""
    if one == other:
        return one
    kinds = {one, other}
    decimals = [kind for kind in sorted(kinds) if kind.startswith("DECIMAL")]
    if "VARCHAR" in kinds and decimals:  # a driver gives decimals as text
        return decimals[0]
    if len(decimals) == 2:
        return f"DECIMAL(38,{max(int(kind.rstrip(')').partition(',')[2]) for kind in decimals)})"
    if kinds <= _NUMBERS:
        return "HUGEINT"
    if all(kind.startswith("TIMESTAMP") for kind in kinds):
        return "TIMESTAMP"
    return "DOUBLE" if kinds == {"FLOAT", "DOUBLE"} else "VARCHAR"


def _value(name: str, kind: str | None, other: str | None) -> str:
    """A column as both sides can be compared; one that a side does not have is empty there."""
    if kind is None:
        return f'CAST(NULL AS {other}) AS "{name}"'
    common = _common(kind, other or kind)
    return f'"{name}"' if common == kind else f'TRY_CAST("{name}" AS {common}) AS "{name}"'


def _write_down(session: Session, table: str, differences: Sequence[tuple[str, str]]) -> None:
    name = session.table(DIFFERENCES)
    session.ask(f"CREATE TABLE IF NOT EXISTS {name} (table_name varchar, what varchar, row_key varchar)")
    session.ask(f"DELETE FROM {name} WHERE table_name = '{table}'")  # noqa: S608  # a landed name
    quoted = [key.replace("'", "''") for key, _ in differences]
    for start in range(0, len(differences), 500):
        rows = ", ".join(
            f"('{table}', '{what}', '{key}')"
            for key, (_, what) in zip(quoted[start : start + 500], differences[start : start + 500], strict=True)
        )
        session.ask(f"INSERT INTO {name} VALUES {rows}")  # noqa: S608  # quoted above
