"""Reaching a database: the engine of a source's address, once its host is one that a connector may reach."""

import socket
from typing import Any

import sqlalchemy as sa

from connectors.sources.asking.ssh import SshTunnel
from connectors.sources.sql_database import SqlDatabaseSource
from pipelines.access import tunnels
from pipelines.access.database_urls import (
    database_url,
    hold_sqlite,
    not_one_place,
    one_place,
    postgres_places,
    postgres_through,
)
from pipelines.sources import Context
from pipelines.sources.sql.dialects import open_engine, sync_url

_PORTS = {"mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521}


def reached(source: SqlDatabaseSource, context: Context) -> sa.Engine:
    """The engine of a source's database. Nothing is connected to yet, but the SSH server where there is one.

    Raises:
        ConfigurationError: its address is none, a file outside of what may be read, or on a host that is denied or that
            its credential is not for; or the SSH server lets nobody through.
        TransientError: the SSH server, or the database behind it, does not answer.
    """
    url = database_url(context.secrets.resolve(source.credentials), "source.credentials")
    hold_sqlite(url, context.local_file_roots)
    address = sync_url(url)
    dialect = address.get_backend_name()
    context.secrets.hold_to(source.credentials, address.host)
    if dialect == "postgresql":
        for host, port, database in postgres_places(url):
            context.secrets.hold_to(source.credentials, host)
            context.denied.check(host, port, database)
    elif dialect in _PORTS:
        context.denied.check(address.host, address.port or _PORTS[dialect], address.database)
    return open_engine(url) if source.ssh is None else _tunnelled(url, source.ssh, context)


def _tunnelled(url: str, ssh: SshTunnel, context: Context) -> sa.Engine:
    """The engine of a database behind an SSH server, whose certificate is still checked against its own name."""
    address = sync_url(url)
    is_postgres = address.get_backend_name() == "postgresql"
    to = one_place(url, "source") if is_postgres else _behind(address)
    key = context.secrets.resolve(ssh.private_key)
    here = tunnels.through(tunnels.Way("source", ssh, key, to, context.denied, context.data_dir))
    if is_postgres:
        return open_engine(postgres_through(url, tunnels.LOOPBACK, here))
    if address.drivername.endswith("+pymysql"):
        engine = open_engine(address)
        _connect_pymysql_to(engine, here)
        return engine
    return open_engine(address.set(host=tunnels.LOOPBACK, port=here))


def _behind(url: sa.URL) -> tuple[str, int]:
    """Host and port of the database, as the SSH server sees it.

    Raises:
        ConfigurationError: the address names none.
    """
    port = url.port or _PORTS.get(url.get_backend_name())
    if not url.host or not port:
        raise not_one_place("source")
    return url.host, port


def _connect_pymysql_to(engine: sa.Engine, port: int) -> None:
    """Have the driver talk through a port of the loopback, and judge certificates by the database's own name."""

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _: Any, arguments: Any, given: dict[str, Any]) -> Any:
        connection = dialect.loaded_dbapi.connect(*arguments, **given, defer_connect=True)
        # The driver's own wait for an answer begins when it reads.
        connection.connect(socket.create_connection((tunnels.LOOPBACK, port), connection.connect_timeout))
        return connection
