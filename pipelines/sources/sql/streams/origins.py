"""Origins: what PostgreSQL's catalog says of the tables that a run reads."""

from collections.abc import Sequence

import sqlalchemy as sa

from pipelines.sources.sql.streams.fitness import Origin

_FACTS = sa.text(
    "SELECT relkind::text, relhassubclass, pg_relation_size(oid), oid::bigint FROM pg_class "
    "WHERE oid = to_regclass(:name)"
)


def origins_of(connection: sa.Connection, tables: Sequence[sa.Table]) -> dict[str, Origin]:
    """The origins of reflected tables, by name; none where the server is no PostgreSQL."""
    if connection.dialect.name != "postgresql":
        return {}
    prepare = connection.dialect.identifier_preparer
    found = {}
    for table in tables:
        row = connection.execute(_FACTS, {"name": prepare.format_table(table)}).first()
        if row is not None:
            columns = {column.name: column.info["stored"] for column in table.columns}
            key = frozenset(column.name for column in table.primary_key.columns)
            found[table.name] = Origin(row[0], row[1], row[2] or 0, key, columns, row[3])
    return found
