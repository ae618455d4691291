"""Reaching a database: the engine of a source's address, once its host is one that a connector may reach."""

import sqlalchemy as sa

from connectors.sources.sql_database import SqlDatabaseSource
from pipelines.access.database_urls import database_url, hold_sqlite, postgres_places
from pipelines.sources import Context
from pipelines.sources.sql.dialects import open_engine

_PORTS = {"mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521}


def reached(source: SqlDatabaseSource, context: Context) -> sa.Engine:
    """The engine of a source's database. Nothing is connected to yet.

    Raises:
        ConfigurationError: its address is none, a file outside of what may be read, or on a host that is denied or that
            its credential is not for.
    """
    url = database_url(context.secrets.resolve(source.credentials), "source.credentials")
    hold_sqlite(url, context.local_file_roots)
    engine = open_engine(url)
    context.secrets.hold_to(source.credentials, engine.url.host)
    if engine.dialect.name == "postgresql":
        for host, port, database in postgres_places(url):
            context.secrets.hold_to(source.credentials, host)
            context.denied.check(host, port, database)
    elif engine.dialect.name in _PORTS:
        context.denied.check(engine.url.host, engine.url.port or _PORTS[engine.dialect.name], engine.url.database)
    return engine
