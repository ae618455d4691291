"""MySQL, SQL Server, Oracle and SQLite: which driver reads them, and what becomes of their types.

Each driver hands out Python values of its own taste, and SQLAlchemy turns some of them into others at a loss (a double
into a rounded decimal, a timestamp with its zone into one without). So a column is asked for as the driver has it, or
as text or in UTC where only the server knows how, and becomes Arrow here. A value that its column can't hold, which
SQLite and MySQL let in, lands beside it in `column__v_text`, as values of files and APIs do.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from dlt.sources.sql_database.helpers import TableLoader
from sqlalchemy.dialects import mssql, mysql, oracle

from pipelines.errors import ConfigurationError
from pipelines.rows.marks import with_beside
from pipelines.sources.sql.beside import beside
from pipelines.sources.sql.values import fitted, without_broken_json

DECIMAL = (38, 9)
"""Precision and scale of a number that declares none: dlt's own choice."""

DRIVERS = {
    "postgresql": "psycopg2",
    "mysql": "pymysql",
    "mariadb": "pymysql",
    "mssql": "pymssql",
    "oracle": "oracledb",
    "sqlite": "pysqlite",
}
"""The driver of each dialect that the image has."""

_REPLACED = {
    ("postgresql", "asyncpg"),
    ("mysql", "aiomysql"),
    ("mysql", "asyncmy"),
    ("mysql", "mysqldb"),
    ("mariadb", "aiomysql"),
    ("mariadb", "asyncmy"),
    ("mariadb", "mysqldb"),
    ("oracle", "cx_oracle"),
    ("oracle", "oracledb_async"),
    ("sqlite", "aiosqlite"),
}
"""Drivers whose addresses mean the same to the one that is used instead."""

_SESSION = {
    # An instant comes in the session's zone.
    "mysql": "SET time_zone = '+00:00'",
    "mariadb": "SET time_zone = '+00:00'",
    "oracle": "ALTER SESSION SET TIME_ZONE = 'UTC'",
}
"""What a connection is told first."""


class Geometry(sa.types.UserDefinedType[Any]):
    """MySQL's points, lines and areas, which SQLAlchemy does not know."""

    def get_col_spec(self, **_: Any) -> str:
        """Its name where a table is made."""
        return "GEOMETRY"


_GEOMETRIES = (
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection", "geomcollection",
)  # fmt: skip


def sync_url(address: str | sa.URL) -> sa.URL:
    """The address with a driver that works without an event loop; one that is named and not known here stays."""
    url = sa.make_url(address)
    dialect, _, driver = url.drivername.partition("+")
    dialect = "postgresql" if dialect == "postgres" else dialect
    if dialect in DRIVERS and (not driver or (dialect, driver) in _REPLACED):
        return url.set(drivername=f"{dialect}+{DRIVERS[dialect]}")
    return url


def open_engine(address: str | sa.URL) -> sa.Engine:
    """An engine without a pool: one connection a table, closed with it. A SQLite file is only ever read.

    Raises:
        ConfigurationError: when a SQLite file isn't there, which the driver would make.
        ModuleNotFoundError: when the driver isn't installed.
    """
    url = sync_url(address)
    dialect = url.get_backend_name()
    if dialect == "sqlite" and url.database not in (None, "", ":memory:"):
        path = Path(str(url.database))
        if not path.is_file():
            raise ConfigurationError("source.credentials names a SQLite file that is not on this worker.")
        url = url.set(database=f"file:{path.resolve()}", query={"mode": "ro", "uri": "true"})
    # Rows of PostgreSQL come by another driver: what this one knows of hstore would be asked for and never used.
    unused = {"use_native_hstore": False} if url.drivername == "postgresql+psycopg2" else {}
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool, hide_parameters=True, **unused)
    if dialect in {"mysql", "mariadb"}:
        known: Any = engine.dialect
        known.ischema_names = {**known.ischema_names, **dict.fromkeys(_GEOMETRIES, Geometry)}
    if dialect in _SESSION:

        @sa.event.listens_for(engine, "connect")
        def tell(connection: Any, _: Any) -> None:
            cursor = connection.cursor()
            cursor.execute(_SESSION[dialect])
            cursor.close()

    return engine


def adapt(table: sa.Table) -> None:
    """Give a reflected table's columns the plain types in which they land; each remembers what it was."""
    for column in table.columns:
        column.info["stored"] = column.type
        column.type = plain(column.type)


def _number(stored: Any) -> Any:
    precision, scale = (stored.precision, stored.scale or 0) if stored.precision else DECIMAL
    if precision > DECIMAL[0]:
        return sa.Text()
    # Oracle has no other integers.
    if isinstance(stored, oracle.NUMBER) and stored.precision and scale == 0 and precision <= 18:
        return sa.Integer()
    return sa.Numeric(precision, scale) if 0 <= scale <= precision else sa.Numeric(*DECIMAL)


_PLAIN: tuple[tuple[type[Any], Callable[[Any], Any]], ...] = (
    (mysql.BIT, lambda stored: sa.Integer() if (stored.length or 1) < 64 else sa.Numeric(20, 0)),
    (mysql.BIGINT, lambda stored: sa.Numeric(20, 0) if stored.unsigned else sa.Integer()),
    (mysql.YEAR, lambda _: sa.Integer()),
    (mysql.TIME, lambda _: sa.Text()),  # a duration as often as not: from -838 to 838 hours
    (mysql.TIMESTAMP, lambda _: sa.DateTime(timezone=True)),
    (mssql.DATETIMEOFFSET, lambda _: sa.DateTime(timezone=True)),
    (mssql.MONEY, lambda _: sa.Numeric(19, 4)),
    (mssql.SMALLMONEY, lambda _: sa.Numeric(19, 4)),
    (oracle.TIMESTAMP, lambda stored: sa.DateTime(timezone=bool(stored.timezone or stored.local_timezone))),
    (sa.Float, lambda _: sa.Float()),
    (sa.Numeric, _number),
    *((kind, lambda _, kind=kind: kind()) for kind in (sa.Boolean, sa.Integer, sa.DateTime, sa.Date, sa.Time, sa.JSON)),
    (sa.types._Binary, lambda _: sa.LargeBinary()),
    (sa.types.TypeEngine, lambda _: sa.Text()),
)
"""What each type becomes, the first that fits."""


def plain(stored: Any) -> Any:
    """The plain SQLAlchemy type in which a column of a type lands: text for what no other holds as it is."""
    return next(make(stored) for kind, make in _PLAIN if isinstance(stored, kind))


def _asked(column: "sa.Column[Any]", dialect: str) -> Any:
    """A column as it is asked for: as the driver has it, without SQLAlchemy's own conversions."""
    stored, name = column.info["stored"], column.name
    expression: Any = column
    if isinstance(stored, mssql.DATETIMEOFFSET):
        expression = sa.cast(sa.func.switchoffset(column, "+00:00"), mssql.DATETIME2)
    elif isinstance(stored, oracle.TIMESTAMP) and column.type.timezone:  # type: ignore[attr-defined]
        # The driver would drop the zone and keep the hour.
        expression = sa.func.sys_extract_utc(column)
    elif isinstance(stored, Geometry):
        expression = sa.func.ST_AsText(column)
    elif isinstance(stored, mysql.BIT):
        # Else it comes as bytes.
        expression = column + sa.literal_column("0")
    elif isinstance(stored, mysql.FLOAT):
        # Its text has six digits, a double's all of them.
        expression = column * sa.literal_column("1e0")
    elif isinstance(stored, sa.Uuid) and dialect == "mssql":
        expression = sa.cast(column, sa.String(36))
    elif isinstance(column.type, sa.Text) and not isinstance(stored, sa.String) and dialect != "sqlite":
        expression = sa.func.to_char(column) if dialect == "oracle" else sa.cast(column, sa.Unicode(None))
    return sa.type_coerce(expression, sa.types.NULLTYPE).label(name)


class RowsLoader(TableLoader):
    """Reads a table through SQLAlchemy: rows of the driver, columns of Arrow."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)

    def make_query(self) -> Any:
        """The query of dlt, with columns as they are asked for."""
        query: Any = super().make_query()
        dialect = self.engine.dialect.name
        return query.with_only_columns(
            *(_asked(self.table.c[column.name], dialect) for column in query.selected_columns)
        )

    def _convert_result(self, result: Any, backend_kwargs: dict[str, Any]) -> Iterator[pa.Table]:
        del backend_kwargs
        kinds = [(str(name), _arrow(self.table.c[name].type)) for name in result.keys()]  # noqa: SIM118  # no mapping
        for partition in result.partitions(size=self.chunk_size):
            columns = zip(*(tuple(row) for row in partition), strict=True)
            landed: dict[str, pa.Array] = {}
            placed = []
            for (name, kind), values in zip(kinds, columns, strict=True):
                landed[name], others = fitted(kind, values)
                if isinstance(self.table.c[name].type, sa.JSON) and self.engine.dialect.name == "sqlite":
                    landed[name], others = without_broken_json(landed[name], others)
                if others is not None:
                    placed.append(beside(name, [known for known, _ in kinds]))
                    landed[placed[-1]] = others
            yield with_beside(pa.table(landed), placed)


_ARROW: tuple[tuple[type[Any], Callable[[Any], pa.DataType]], ...] = (
    (sa.Float, lambda _: pa.float64()),
    (sa.Numeric, lambda kind: pa.decimal128(kind.precision, kind.scale)),
    (sa.Integer, lambda _: pa.int64()),
    (sa.Boolean, lambda _: pa.bool_()),
    (sa.DateTime, lambda kind: pa.timestamp("us", "UTC" if kind.timezone else None)),
    (sa.Date, lambda _: pa.date32()),
    (sa.Time, lambda _: pa.time64("us")),
    (sa.LargeBinary, lambda _: pa.binary()),
    (sa.types.TypeEngine, lambda _: pa.string()),
)
"""The Arrow type of each plain type."""


def _arrow(kind: Any) -> pa.DataType:
    return next(make(kind) for plain_kind, make in _ARROW if isinstance(kind, plain_kind))
