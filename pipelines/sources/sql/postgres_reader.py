"""Tables of PostgreSQL by ADBC: its binary COPY comes as Arrow batches, several times faster than rows through Python.

Types that Arrow doesn't carry the way dlt lands them (uuid, arrays, ranges...) are turned into text by the server, and
what a column's type can't hold stands beside it (`postgres_values`).
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

import pyarrow as pa
import sqlalchemy as sa
from dlt.sources.sql_database import BaseTableLoader
from sqlalchemy.dialects import postgresql

from pipelines.access import postgres_sessions
from pipelines.access.postgres_cancelling import cancel_of
from pipelines.rows.marks import with_beside
from pipelines.rows.read_ahead import ahead
from pipelines.sources.sql import postgres_values
from pipelines.sources.sql.beside import beside
from pipelines.sources.sql.cursors import parted
from pipelines.sources.sql.dialects import DECIMAL

if TYPE_CHECKING:
    from pipelines.sources.sql.streams.offers import Offer

BATCH_BYTES = 16 * 1024 * 1024

_EXACT_IN_DOUBLE = 15
"""Decimal digits that a double holds exactly (DBL_DIG): such a number becomes the same decimal again."""

_NATIVE = (sa.Integer, sa.Float, sa.Boolean, sa.Date, sa.DateTime, sa.Time, sa.LargeBinary, sa.Enum)
"""What ADBC hands out as it lands; so it does with texts, those of the catalog excepted."""


def adapt(table: sa.Table) -> None:
    """Give a reflected table's columns the types in which they land: a domain's own, and text for what has no other."""
    for column in table.columns:
        stored: Any = column.type
        while isinstance(stored, postgresql.DOMAIN):
            stored = stored.data_type
        column.info["stored"] = stored
        column.type = _landing(stored)


def _landing(kind: Any) -> Any:
    if isinstance(kind, sa.Time) and kind.timezone:
        return sa.Text()  # no other type keeps its zone
    if is_decimal(kind) and kind.precision:
        scale = kind.scale or 0
        # Digits left of the point that are always zero, or right of it.
        precision = max(kind.precision - min(scale, 0), scale)
        return sa.Text() if precision > DECIMAL[0] else sa.Numeric(precision, max(scale, 0))
    return kind


def is_decimal(kind: Any) -> bool:
    """Whether a type is numeric, of which SQLAlchemy thinks doubles to be some."""
    return isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float)


def address(url: sa.URL) -> str:
    """The address as libpq takes it, which knows no driver, wants each password encoded, and texts in UTF-8 here."""
    given = [(name, value) for name in url.query for value in url.normalized_query[name]]
    asked = {**dict(given), "client_encoding": "UTF8"}
    login = quote(url.username or "", safe="")
    if url.password is not None:
        login += ":" + quote(str(url.password), safe="")
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
    port = f":{url.port}" if url.port else ""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())
    return f"postgresql://{login}{'@' if login else ''}{host}{port}/{quote(url.database or '', safe='')}?{query}"


class PostgresLoader(BaseTableLoader):
    """Reads a table of PostgreSQL by ADBC, unless its rows stream."""

    offer: "ClassVar[Offer | None]" = None
    """That of the table, in a class of its own: see `offering`."""

    def load_rows(self, backend_kwargs: dict[str, Any] | None = None) -> Iterator[pa.Table]:
        """Arrow tables of some megabytes each, with the types that dlt's hints promise."""
        from adbc_driver_manager._reader import AdbcRecordBatchReader  # noqa: PLC0415  # only for PostgreSQL

        query: Any = self.make_query()
        shared = ""
        if (offer := self.offer) is not None and offer.may_stream():
            streamed, border = query, None
            if (increment := offer.increment) is not None and increment.last is not None:
                streamed, border = parted(query, increment, self.table, self.engine)

            def piece(condition: str) -> str:
                return self._statement(query.where(sa.literal_column(condition)))

            if offer.take(self._statement(streamed), is_whole=border is None, piece=piece):
                yield offer.empty()
                if border is None:
                    return
                query, shared = border, offer.shared
        columns = [_selected(self.table.c[column.name]) for column in query.selected_columns]
        statement = self._statement(query.with_only_columns(*columns))
        place = address(self.engine.url)
        with postgres_sessions.adbc(place) as connection, connection.cursor() as cursor:
            stop = cancel_of(connection, cursor, place)
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})

            def read() -> Iterator[pa.Table]:
                if shared:  # the other rows stream, and these must be of the same moment
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                    cursor.execute(f"SET TRANSACTION SNAPSHOT '{shared}'")
                cursor.execute(statement)
                # `fetch_record_batch` gives what is within this reader, whose errors have no SQLSTATE.
                stream = cursor.fetch_arrow()
                with contextlib.closing(AdbcRecordBatchReader._import_from_c(stream.address)) as batches:
                    for batch in batches:
                        yield self._landed(batch)

            yield from ahead(read, stop)

    def _statement(self, query: Any) -> str:
        compiled = query.compile(self.engine, compile_kwargs={"literal_binds": True})
        return str(compiled).replace("%%", "%")  # psycopg2's dialect doubles it for a driver that isn't used here

    def _landed(self, batch: pa.RecordBatch) -> pa.Table:
        landed: dict[str, pa.Array] = {}
        placed = []
        for field, array in zip(batch.schema, batch.columns, strict=True):
            values = array.storage if isinstance(field.type, pa.BaseExtensionType) else array
            # By the type and not by dlt's hint, which calls a masked column text: its hash is that of the number.
            values, others = _split(self.table.c[field.name].type, values)
            # Without the driver's metadata, which would differ from the next driver's.
            landed[field.name] = values
            if others is not None:
                placed.append(beside(field.name, batch.schema.names))
                landed[placed[-1]] = others
        return with_beside(pa.table(landed), placed)


def offering(offer: "Offer") -> type[PostgresLoader]:
    """The reader of one table, whose rows may stream."""
    return type("OfferingLoader", (PostgresLoader,), {"offer": offer})


def _selected(column: "sa.Column[Any]") -> Any:
    kind: Any = column.type
    if isinstance(kind, postgresql.ARRAY):
        return sa.cast(sa.func.to_jsonb(column), sa.Text).label(column.name)
    if is_decimal(kind) and kind.precision and kind.precision <= _EXACT_IN_DOUBLE:
        # Arrives in binary, where numeric would come as text that is written there and parsed here.
        return sa.cast(column, sa.Double).label(column.name)
    # `name` and `"char"` are `String` itself, and a byte of the latter need be no letter.
    text = isinstance(column.info["stored"], sa.String) and type(kind) is not sa.String
    if is_decimal(kind) or isinstance(kind, _NATIVE) or text:
        return column
    return sa.cast(column, sa.Text).label(column.name)


def _split(kind: Any, values: pa.Array) -> postgres_values.Split:
    if is_decimal(kind):
        precision, scale = (kind.precision, kind.scale or 0) if kind.precision else DECIMAL
        return postgres_values.decimals(values, precision, scale)
    if pa.types.is_date32(values.type):
        return postgres_values.dates(values)
    if pa.types.is_timestamp(values.type):
        return postgres_values.moments(values)
    if pa.types.is_time64(values.type):
        return postgres_values.times(values)
    return values, None
