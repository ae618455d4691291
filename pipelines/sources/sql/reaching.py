"""Reaching a database: the engine of a source's address, once its host is one that a connector may reach."""

import socket
from typing import Any

import sqlalchemy as sa

from connectors.sources.sql_database import SqlDatabaseSource, SshTunnel
from pipelines.access import tunnels
from pipelines.access.database_urls import POSTGRES_PORT, database_url, hold_sqlite, postgres_places
from pipelines.errors import ConfigurationError
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
    return open_engine(url) if source.ssh is None else _tunnelled(address, source.ssh, context)


def _tunnelled(url: sa.URL, ssh: SshTunnel, context: Context) -> sa.Engine:
    """The engine of a database behind an SSH server, whose certificate is still checked against its own name."""
    dialect = url.get_backend_name()
    host, port = _behind(url)
    way = tunnels.Way(ssh, context.secrets.resolve(ssh.private_key), (host, port), context.denied, context.data_dir)
    here = tunnels.through(way)
    if dialect == "postgresql":
        # libpq connects to `hostaddr`, and judges certificates by `host`.
        given = {name: value for name, value in url.query.items() if name not in {"host", "port", "hostaddr"}}
        return open_engine(url.set(host=host, port=here, query=given | {"hostaddr": tunnels.LOOPBACK}))
    if url.drivername.endswith("+pymysql"):
        engine = open_engine(url)
        _connect_pymysql_to(engine, here)
        return engine
    return open_engine(url.set(host=tunnels.LOOPBACK, port=here))


def _behind(url: sa.URL) -> tuple[str, int]:
    """Host and port of the database, as the SSH server sees it.

    Raises:
        ConfigurationError: the address names none, or several.
    """
    dialect = url.get_backend_name()
    found: list[tuple[str | None, int | None]] = [(url.host, url.port or _PORTS.get(dialect))]
    if dialect == "postgresql":
        found = [(host, port) for host, port, _ in postgres_places(url.render_as_string(hide_password=False))]
    (host, port), *others = found
    if others or not host or host.startswith(("/", "@")) or not port:
        raise ConfigurationError(
            "source.credentials must name one host and its port, as the SSH server of source.ssh knows them, such as "
            f"postgresql://user:password@localhost:{POSTGRES_PORT}/database."
        )
    return host, port


def _connect_pymysql_to(engine: sa.Engine, port: int) -> None:
    """Have the driver talk through a port of the loopback, and judge certificates by the database's own name."""

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _: Any, arguments: Any, given: dict[str, Any]) -> Any:
        connection = dialect.loaded_dbapi.connect(*arguments, **given, defer_connect=True)
        # The driver's own wait for an answer begins when it reads.
        connection.connect(socket.create_connection((tunnels.LOOPBACK, port), connection.connect_timeout))
        return connection
