"""Tables of a relational database, through dlt's `sql_database` with the fastest reader that is right for the dialect.

PostgreSQL is read by ADBC (`postgres_reader`), every other dialect through SQLAlchemy into Arrow (`sql_dialects`).
"""

from typing import Any

import sqlalchemy as sa
from dlt.extract import DltResource
from dlt.sources.sql_database import sql_table

from connectors.sources.sql_database import SqlDatabaseSource, SqlTable
from pipelines.errors import ConfigurationError
from pipelines.rows.to_arrow import ToArrow
from pipelines.sources import Context
from pipelines.sources.sql import dialects as sql_dialects
from pipelines.sources.sql import postgres_reader
from pipelines.sources.sql.cursors import increment_of_table, narrowing
from pipelines.sources.sql.reaching import reached
from pipelines.sources.sql.streams.fitness import Origin
from pipelines.sources.sql.streams.offers import Offer, put_into
from pipelines.sources.sql.streams.origins import origins_of
from pipelines.wording import quoted

CHUNK_ROWS = 50_000


def resources(source: SqlDatabaseSource, context: Context) -> list[DltResource]:
    """One resource a table, reflected now, so that a table or column that isn't there ends the run before it reads."""
    engine = reached(source, context)
    metadata = sa.MetaData(schema=source.schema_name)
    with engine.connect() as connection:
        found = [_reflected(connection, metadata, table) for table in source.tables]
        origins = {} if context.snapshot is None else origins_of(connection, found)
    # All columns, also those that no table is asked for: masking what isn't read harms nobody.
    context.declare((column.name for reflected in found for column in reflected.columns), complete=True)
    return [
        _resource(engine, reflected, table, context, origins.get(table.name))
        for reflected, table in zip(found, source.tables, strict=True)
    ]


def _reflected(connection: sa.Connection, metadata: sa.MetaData, table: SqlTable) -> sa.Table:
    reflected = sa.Table(table.name, metadata, autoload_with=connection, resolve_fks=False)
    adapt = postgres_reader.adapt if connection.dialect.name == "postgresql" else sql_dialects.adapt
    adapt(reflected)
    return reflected


def _resource(
    engine: sa.Engine, reflected: sa.Table, table: SqlTable, context: Context, origin: Origin | None
) -> DltResource:
    names = {column.name for column in reflected.columns}
    wanted = set(table.columns) or names
    needed = {*wanted, *table.primary_key, *([table.cursor_column] if table.cursor_column else [])}
    if unknown := sorted(needed - names):
        raise ConfigurationError(
            f"Table {quoted([table.name])} has no column {quoted(unknown)}: check source.tables; "
            f"it has {quoted(sorted(names))}."
        )
    if table.split and engine.dialect.name != "postgresql":
        raise ConfigurationError(
            f"split of table {quoted([table.name])} needs PostgreSQL as the source, and this is another database: "
            "leave split out."
        )
    loader: Any = postgres_reader.PostgresLoader if engine.dialect.name == "postgresql" else sql_dialects.RowsLoader
    offer = None
    if origin is not None and context.snapshot is not None and not table.types:
        context.snapshot.address = postgres_reader.address(engine.url)
        offer = Offer(table.name, origin.of(needed), context.snapshot)
        offer.remark = context.remarks.add
        loader = postgres_reader.offering(offer)
    increment = increment_of_table(engine, reflected, table, context)
    nullable = table.cursor_column is not None and reflected.c[table.cursor_column].nullable is not False
    resource = sql_table(
        credentials=engine,
        table=table.name,
        schema=reflected.metadata.schema,
        metadata=reflected.metadata,
        backend="pyarrow",
        chunk_size=CHUNK_ROWS,
        reflection_level="full",
        included_columns=sorted(needed),
        table_adapter_callback=_all_nullable,
        write_disposition=table.write_disposition.value,
        primary_key=list(table.primary_key) or None,  # type: ignore[arg-type]
        query_adapter_callback=narrowing(increment, nullable, context.row_limit),
        table_loader_class=loader,
    )
    if offer is not None:
        offer.increment = increment
        put_into(resource, offer)
    if table.types:
        resource.add_step(ToArrow(table.name, types=table.types))
    return resource if increment is None else resource.add_step(increment)


def _all_nullable(table: sa.Table) -> None:
    """A column that is never empty today may be so tomorrow: NOT NULL would then end every load."""
    for column in table.columns:
        column.nullable = None
