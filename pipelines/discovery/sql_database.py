"""Discovery of a database: tables and views with their columns, keys of constraints, and cursors of types and indexes.

PostgreSQL is asked two questions of its catalogue, however many tables there are; other databases are reflected by
SQLAlchemy, a question a schema where the dialect has one.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from connectors.discovery import Column, Discovery, Item, ItemKind, cursor_order, may_identify
from connectors.sources.sql_database import SqlDatabaseSource
from pipelines.sources import Context
from pipelines.sources.sql.reaching import reached

PAGE = 500
"""Tables of one page."""

_COLUMNS = """
SELECT c.oid::bigint, c.relname, c.relkind::text, c.reltuples::bigint,
       json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull) ORDER BY a.attnum)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = coalesce(:schema, current_schema()) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND NOT c.relispartition AND has_table_privilege(c.oid, 'SELECT') AND c.relname > :after
GROUP BY c.oid ORDER BY c.relname LIMIT :most
"""

_INDEXES = """
SELECT i.indrelid::bigint, i.indisprimary, i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL,
       array(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
             WHERE k.place <= i.indnkeyatts ORDER BY k.place)
FROM pg_index i WHERE i.indrelid = ANY(:tables) AND i.indisvalid
"""

_MOMENT = ("timestamp", "datetime", "date", "rowversion")
_NUMBER = ("bigint", "integer", "int", "smallint", "numeric", "decimal", "number")


def discover(source: SqlDatabaseSource, context: Context, cursor: str | None) -> Discovery:
    """A page of the tables and views that the login may read, by name."""
    engine = reached(source, context)
    try:
        if engine.dialect.name == "postgresql":
            return _postgres(engine, source.schema_name, cursor or "")
        return _reflected(engine, source.schema_name, cursor or "")
    finally:
        engine.dispose()


def _postgres(engine: sa.Engine, schema: str | None, after: str) -> Discovery:
    with engine.connect() as connection:
        asked = {"schema": schema, "after": after, "most": PAGE + 1}
        tables = connection.execute(sa.text(_COLUMNS), asked).all()
        more, tables = len(tables) > PAGE, tables[:PAGE]
        known: dict[int, list[tuple[bool, bool, list[str]]]] = {}
        for oid, *index in connection.execute(sa.text(_INDEXES), {"tables": [table[0] for table in tables]}):
            known.setdefault(oid, []).append(tuple(index))
    items = []
    for oid, name, kind, rows, columns in tables:
        found = [Column(column, said, nullable, may_identify(column)) for column, said, nullable in columns]
        required = {column.name for column in found if not column.nullable}
        indexes = known.get(oid, [])
        unique = [keys for _, is_unique, keys in indexes if is_unique and required.issuperset(keys)]
        key = next((keys for primary, _, keys in indexes if primary), min(unique, key=len, default=[]))
        leading = {keys[0] for _, _, keys in indexes if keys}
        view = kind in {"v", "m"}
        items.append(
            Item(
                name,
                ItemKind.VIEW if view else ItemKind.TABLE,
                tuple(found),
                rows if rows >= 0 and kind != "v" else None,
                tuple(key),
                _cursors(found, leading),
            )
        )
    return Discovery(tuple(items), items[-1].name if more else None)


def _reflected(engine: sa.Engine, schema: str | None, after: str) -> Discovery:
    inspector = sa.inspect(engine)
    views = set(inspector.get_view_names(schema=schema))
    names = sorted(name for name in {*inspector.get_table_names(schema=schema), *views} if name > after)
    shown = names[:PAGE]
    asked: dict[str, Any] = {"schema": schema, "filter_names": shown, "kind": sa.engine.reflection.ObjectKind.ANY}
    columns: dict[Any, Any] = inspector.get_multi_columns(**asked) if shown else {}
    keys: dict[Any, Any] = inspector.get_multi_pk_constraint(**asked) if shown else {}
    indexes: dict[Any, Any] = inspector.get_multi_indexes(**asked) if shown else {}
    items = []
    for name in shown:
        of = (schema, name)
        found = [
            Column(each["name"], _type_name(each["type"]), bool(each["nullable"]), may_identify(each["name"]))
            for each in columns.get(of, [])
        ]
        key = (keys.get(of) or {}).get("constrained_columns") or []
        leading = {each["column_names"][0] for each in indexes.get(of, []) if each["column_names"]}
        leading = {each for each in leading if each} | set(key[:1])
        kind = ItemKind.VIEW if name in views else ItemKind.TABLE
        items.append(Item(name, kind, tuple(found), None, tuple(key), _cursors(found, leading)))
    return Discovery(tuple(items), shown[-1] if len(names) > len(shown) else None)


def _type_name(kind: Any) -> str:
    """A type in the database's own words; some that SQLAlchemy cannot spell are named by their class."""
    try:
        return str(kind).lower()
    except (NotImplementedError, sa.exc.CompileError):
        return type(kind).__name__.lower()


def _cursors(columns: Sequence[Column], indexed: Iterable[str]) -> tuple[str, ...]:
    """Columns that may grow with each change: moments that are nobody's birthday, and numbers that lead an index."""
    leading = set(indexed)
    fitting = (
        column.name
        for column in columns
        if not column.identifying
        and (column.type.startswith(_MOMENT) or (column.name in leading and column.type.startswith(_NUMBER)))
    )
    return cursor_order(fitting)
