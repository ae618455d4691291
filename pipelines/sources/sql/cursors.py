"""Cursors of database tables: what a run asks the server for, in an order that the server and this program share.

A server compares by the type of its column, and texts by their collation, which may ignore case, accents or hyphens. A
cursor is only as good as both sides' agreement on which value is newer: so a type whose order is another one here is
refused before anything is read, texts must be of one shape, or are compared by the bytes of their characters when the
connector says that they sort that way.
"""

import contextlib
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from connectors.sources.sql_database import SqlTable
from connectors.sources.write_rules import WriteDisposition
from pipelines.errors import ConfigurationError
from pipelines.sources import Context
from pipelines.sources.cursors.asked import Asked
from pipelines.sources.cursors.incremental import Cursor, Increment
from pipelines.sources.cursors.values import moment_of, written_like
from pipelines.sources.cursors.windows import Bounds, first_of_day, next_day

SECOND = "%Y-%m-%d %H:%M:%S"


class Order(StrEnum):
    """By what a column's values are compared."""

    MOMENT = "moment"
    DAY = "day"
    NUMBER = "number"
    BYTES = "bytes"
    TEXT = "text"


def increment_of_table(engine: sa.Engine, reflected: sa.Table, table: SqlTable, context: Context) -> Increment | None:
    """The cursor of a table; None for one that is read whole.

    Raises:
        ConfigurationError: when the cursor's column has no order that is the same here.
    """
    # `replace` means the whole table each time: with a cursor it would leave only the newest rows.
    if table.cursor_column is None or table.write_disposition is WriteDisposition.REPLACE:
        return None
    column = reflected.c[table.cursor_column]
    order = order_of_column(column, engine.dialect.name, text=table.cursor_type == "text")
    window = None
    if context.window:
        if order not in {Order.MOMENT, Order.DAY, Order.TEXT}:
            raise ConfigurationError(
                f"backfill needs a date as cursor, and {column.name} of {column.table.name} is none."
            )
        window = context.window.bounds()
    url = engine.url
    cursor = Cursor(
        table.cursor_column,
        Asked(
            same={"source.credentials": [url.host, url.port, url.database], "schema": reflected.schema},
            chosen={"columns": table.columns},
            begins={"initial_value": table.initial_value},
        ),
        initial=_as_value(table.initial_value, column, order),
        lag=table.lag,
        text=table.cursor_type == "text",
        one_shape=order is Order.TEXT and table.cursor_type != "text",
        appends=table.write_disposition is WriteDisposition.APPEND,
        setting="cursor_column",
    )
    # A limited run goes on where it stopped: with what lies behind it, it might never get beyond that.
    return Increment(cursor, context.remarks, window, whole=context.row_limit is None)


def order_of_column(column: "sa.Column[Any]", dialect: str, *, text: bool) -> Order:
    """By what a column is compared, here as on the server.

    Raises:
        ConfigurationError: for types that have another order there, or none.
    """
    stored: Any = column.info.get("stored", column.type)
    landed: Any = column.type
    if isinstance(stored, sa.Enum | mysql.SET):
        order = None
    elif text:
        order = Order.TEXT if isinstance(landed, sa.String | sa.Uuid) else None
    elif isinstance(stored, sa.DateTime) and isinstance(landed, sa.DateTime):
        order = Order.MOMENT
    elif isinstance(landed, sa.Date):
        order = Order.DAY
    elif isinstance(stored, sa.Integer | sa.Numeric | sa.Float | postgresql.OID):
        order = Order.NUMBER
    elif isinstance(stored, sa.types._Binary) and dialect != "postgresql":
        order = Order.BYTES
    elif isinstance(stored, sa.String) and isinstance(landed, sa.String):
        order = Order.TEXT
    else:
        order = None
    if order is None:
        raise ConfigurationError(
            f"cursor_column {column.name} of {column.table.name} is of the type {_type_name(stored)}, whose order on "
            "the server is not the one of its values here: name a column of moments, days or numbers"
            + ("." if text else ", or one of text.")
        )
    return order


def _type_name(kind: Any) -> str:
    return str(getattr(kind, "__visit_name__", type(kind).__name__)).lower()


def narrowing(increment: Increment | None, nullable: bool, limit: int | None) -> Any:
    """What makes of a table's whole query the one of this run. `nullable`: the cursor's column may be empty."""
    if increment is None:
        return None if limit is None else lambda query, _: query.limit(limit)

    def narrowed(query: Any, table: sa.Table, engine: sa.Engine) -> Any:
        column = table.c[increment.cursor.path]
        dialect = engine.dialect.name
        order = order_of_column(column, dialect, text=increment.cursor.text)
        compared, bound = _compared(column, order, dialect, text=increment.cursor.text)
        conditions = []
        if increment.bounds is not None:
            start, end = _bounds(increment.bounds, column, order)
            conditions = [compared >= bound(start, False), compared < bound(end, True)]
        elif increment.start is not None:
            conditions = [compared >= bound(increment.start, False)]
        if conditions:
            # Where rows are appended, one without a cursor ends the run: it would never be read again.
            wanted = sa.and_(*conditions)
            query = query.where(sa.or_(wanted, compared.is_(None)) if nullable else wanted)
        if limit is not None:
            # The oldest rows first, so that the next run goes on after them.
            query = query.order_by(compared.asc()).limit(limit)
        return query

    # dlt calls it with the query, the table, its own cursor, which there is none of, and the engine.
    return lambda query, table, _, engine: narrowed(query, table, engine)


def parted(query: Any, increment: Increment, table: sa.Table, engine: sa.Engine) -> tuple[Any, Any]:
    """An increment's query in two: the rows behind its newest value, and those at its border, which may be known."""
    column = table.c[increment.cursor.path]
    order = order_of_column(column, engine.dialect.name, text=increment.cursor.text)
    compared, bound = _compared(column, order, engine.dialect.name, text=increment.cursor.text)
    last = bound(increment.last, False)
    return query.where(compared > last), query.where(sa.or_(compared <= last, compared.is_(None)))


Bound = Callable[[Any, bool], Any]


def _compared(column: "sa.Column[Any]", order: Order, dialect: str, *, text: bool) -> tuple[Any, Bound]:
    """The expression that is compared, and what makes a parameter of a value, for a lower or an upper bound."""
    compared, bound = _compared_as_it_is(column, order, dialect, text=text)
    return compared, lambda value, upper: bound(_of_its_kind(value, column, order), upper)


def _of_its_kind(value: Any, column: "sa.Column[Any]", order: Order) -> Any:
    """A value of loads before, when the cursor's column may have been of another type.

    Raises:
        ConfigurationError: when it can't be compared with those that are there now.
    """
    is_number, is_moment = isinstance(value, int | float | Decimal), isinstance(value, date)
    if order is Order.NUMBER:
        fits = is_number
    elif order in {Order.MOMENT, Order.DAY}:
        fits = is_moment
    else:
        fits = not is_number and not is_moment
    if fits:
        return value
    if isinstance(value, str):  # a column of texts that were moments or numbers
        with contextlib.suppress(ConfigurationError):
            return _as_value(value, column, order)
    raise ConfigurationError(
        f"The cursor '{column.name}' of {column.table.name} can't be compared with the values of the loads before: "
        f"they are of different kinds (moments, numbers, texts), and its type is {_type_name(column.type)} now. Run a "
        "full refresh, which loads everything by the new one."
    )


def _compared_as_it_is(column: "sa.Column[Any]", order: Order, dialect: str, *, text: bool) -> tuple[Any, Bound]:
    if order is Order.NUMBER:
        kind = column.info.get("stored", column.type)
        number: Any = sa.cast(column, sa.BigInteger) if isinstance(kind, postgresql.OID) else column
        # By its digits alone: with the column's own type SQLAlchemy would round or refuse some.
        return sa.type_coerce(number, sa.types.NULLTYPE), lambda value, _: sa.literal_column(_digits(value))
    if dialect == "sqlite" and order is Order.MOMENT:
        # Moments are texts there, with or without a `T` or a fraction. Compared by the second, and then here.
        seconds: Any = sa.func.strftime(SECOND, column)
        return seconds, lambda value, upper: (value + timedelta(seconds=int(upper))).strftime(SECOND)
    if order is Order.TEXT and text:
        return _by_characters(column, dialect), lambda value, _: sa.literal(value, sa.Text())
    return column, lambda value, _: value


def _by_characters(column: "sa.Column[Any]", dialect: str) -> Any:
    """A text that the server compares character by character, whatever the collation of its column."""
    match dialect:
        case "postgresql":
            return sa.collate(sa.cast(column, sa.Text), "C")
        case "mysql" | "mariadb":
            return sa.collate(sa.func.convert(sa.text(f"{_quoted(column)} USING utf8mb4")), "utf8mb4_bin")
        case "mssql":
            return sa.collate(column, "Latin1_General_BIN2")
        case "sqlite":
            return sa.collate(column, "BINARY")
    return column


def _quoted(column: "sa.Column[Any]") -> str:
    quote = mysql.dialect().identifier_preparer.quote
    return f"{quote(column.table.name)}.{quote(column.name)}"


def _digits(value: Any) -> str:
    number = Decimal(str(value))
    if not number.is_finite():
        raise ConfigurationError("A cursor of numbers can't go on from infinity: name another cursor.")
    return f"{number:f}"


def _bounds(bounds: Bounds, column: "sa.Column[Any]", order: Order) -> tuple[Any, Any]:
    """The time of a backfill as values of a column."""
    if order is Order.DAY:
        return first_of_day(bounds.start).date(), next_day(bounds.end).date()
    if order is Order.TEXT:
        if not isinstance(bounds.sample, str):
            raise ConfigurationError(
                f"backfill needs to know how {column.name} of {column.table.name} writes a moment: run the connector "
                "without it first, or set initial_value."
            )
        return written_like(bounds.start, bounds.sample), written_like(bounds.end, bounds.sample)
    moments = bounds.start, bounds.end
    if getattr(column.type, "timezone", False):
        return moments
    return moments[0].replace(tzinfo=None), moments[1].replace(tzinfo=None)


def _as_value(value: Any, column: "sa.Column[Any]", order: Order) -> Any:
    """A text of the connector's JSON as the type of the column that it is compared with."""
    if value is None:
        return None
    try:
        match order:
            case Order.MOMENT:
                moment = moment_of(value)
                return moment if getattr(column.type, "timezone", False) else moment.replace(tzinfo=None)
            case Order.DAY:
                return date.fromisoformat(value[:10]) if isinstance(value, str) else moment_of(value).date()
            case Order.NUMBER:
                number = Decimal(str(value))
                return int(number) if number == number.to_integral_value() else number
            case Order.TEXT:
                return str(value)
    except (ValueError, ArithmeticError):
        pass
    raise ConfigurationError(
        f"initial_value of table {column.table.name} does not fit its cursor {column.name}, which is {column.type}."
    )
