"""Addresses of databases, as people keep them in secrets and blocks, made into what drivers take.

A password may hold what an address should have encoded (a space, a percent sign); a parameter may be one that the
driver does not know. The first is encoded here, the second is refused by its name, before anything is connected to:
drivers quote pieces of the address, or only say that they can't be reached.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

from pipelines.errors import ConfigurationError
from pipelines.wording import quoted

EXAMPLE = "postgresql://user:password@host:5432/database"
POSTGRES = {"postgresql", "postgres"}
POSTGRES_PORT = 5432
_PLACE = {"host", "hostaddr", "port"}
SSLMODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}


def database_url(value: Any, field: str) -> str:
    """A resolved credential as a SQLAlchemy address: a text, or what a SqlAlchemyConnector block holds.

    Raises:
        ConfigurationError: when it is neither, or names something that no address has.
    """
    if isinstance(value, dict):
        value = value.get("connection_info", value.get("value", value))
    if isinstance(value, dict) and "driver" in value:
        import sqlalchemy  # noqa: PLC0415  # not needed for addresses

        value = sqlalchemy.URL.create(
            str(value["driver"]),
            username=value.get("username"),
            password=value.get("password"),
            host=value.get("host"),
            port=int(value["port"]) if value.get("port") else None,
            database=value.get("database"),
            query=value.get("query") or {},
        ).render_as_string(hide_password=False)
    if not isinstance(value, str):
        raise ConfigurationError(
            f"{field} must refer to a database address (a Secret block with postgresql://user:password@host/database) "
            "or to a SqlAlchemyConnector block."
        )
    return checked(value, field)


def checked(url: str, field: str) -> str:
    """An address with its user and password encoded, if it is one of PostgreSQL; any other as it is.

    Raises:
        ConfigurationError: it can't be read, or has a parameter that PostgreSQL does not know.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:  # whose own message may repeat the password
        raise ConfigurationError(
            f"{field} holds no address that is understood: it must look like {EXAMPLE}, with a number as its port and "
            "special characters of the password encoded, such as %40 for @."
        ) from None
    if parts.scheme.partition("+")[0] not in POSTGRES or port == 0:
        return url
    _check_parameters(parts, field)
    return urlunsplit(parts._replace(netloc=_encoded(parts.netloc)))


def _encoded(netloc: str) -> str:
    """User and password with everything encoded that libpq does not take as it is."""
    login, at, host = netloc.rpartition("@")
    user, colon, password = login.partition(":")
    return f"{quote(unquote(user), safe='')}{colon}{quote(unquote(password), safe='')}{at}{host}"


def _check_parameters(parts: SplitResult, field: str) -> None:
    import psycopg2.extensions  # type: ignore[import-untyped]  # noqa: PLC0415  # only in a run

    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        try:
            psycopg2.extensions.parse_dsn(f"postgresql://host/?{quote(name, safe='')}=1")
        except psycopg2.Error:
            raise ConfigurationError(
                f"The address in {field} has the parameter {quoted([name])}, which PostgreSQL does not know: remove it "
                "or correct its spelling."
            ) from None
        if (name == "sslmode" and value not in SSLMODES) or (name == "connect_timeout" and not value.isdigit()):
            allowed = "a number of seconds" if name == "connect_timeout" else f"one of {', '.join(sorted(SSLMODES))}"
            raise ConfigurationError(f"The address in {field} must have {allowed} as its parameter {quoted([name])}.")


def postgres_places(url: str) -> list[tuple[str | None, int, str | None]]:
    """Host, port and database of everything that libpq would connect to by an address of PostgreSQL.

    In its own reading: several hosts, and parameters that go before what stands in front of them (`host`, `hostaddr`,
    `port`, `dbname`). None as host is a socket of this machine; a database that is not named is the user's.
    """
    parts = urlsplit(url.strip())
    found = _dsn(url)
    if found is None:
        return [(parts.hostname, parts.port or POSTGRES_PORT, parts.path.lstrip("/") or None)]  # the driver says why
    named = [host or None for host in str(found.get("host") or "").split(",")]
    if addresses := [address for address in str(found.get("hostaddr") or "").split(",") if address]:
        named = [*filter(None, named), *addresses]
    ports = [int(port) if port else POSTGRES_PORT for port in str(found.get("port") or "").split(",")]
    database = found.get("dbname") or found.get("user")
    return [(host, port, database) for host in named for port in dict.fromkeys(ports)]


def one_place(url: str, side: str) -> tuple[str, int]:
    """The only host and port that libpq would connect to by an address of PostgreSQL, as an SSH server is told them.

    Raises:
        ConfigurationError: the address of this side's database names none, or several.
    """
    found = _dsn(url) or {}
    host, address, port = (str(found.get(name) or "") for name in ("host", "hostaddr", "port"))
    if not (host or address) or host.startswith(("/", "@")) or "," in host + address + port:
        raise not_one_place(side)
    return address or host, int(port or POSTGRES_PORT)


def not_one_place(side: str) -> ConfigurationError:
    """The refusal of an address by which an SSH server can't be told where a database is."""
    return ConfigurationError(
        f"{side}.credentials must name one host and its port, as the SSH server of {side}.ssh knows them, such as "
        f"postgresql://user:password@localhost:{POSTGRES_PORT}/database."
    )


def postgres_through(url: str, address: str, port: int) -> str:
    """An address of PostgreSQL that leads to another place, where certificates are still judged by its own host.

    libpq connects to `hostaddr`, and judges certificates by `host`.
    """
    found = _dsn(url) or {}
    parts = urlsplit(url.strip())
    host = str(found.get("host") or found.get("hostaddr") or "")
    login, at, _ = parts.netloc.rpartition("@")
    named = f"[{host}]" if ":" in host else host
    given = [each for each in parts.query.split("&") if each and unquote(each.partition("=")[0]) not in _PLACE]
    query = "&".join([*given, f"hostaddr={address}"])
    return urlunsplit(parts._replace(netloc=f"{login}{at}{named}:{port}", query=query))


def _dsn(url: str) -> dict[str, Any] | None:
    """What libpq reads in an address of PostgreSQL; None where it can't."""
    import psycopg2.extensions  # noqa: PLC0415  # only in a run

    try:
        return dict(psycopg2.extensions.parse_dsn(urlunsplit(urlsplit(url.strip())._replace(scheme="postgresql"))))
    except psycopg2.Error:
        return None


def postgres_url(value: Any) -> str:
    """A resolved credential as the PostgreSQL address that dlt takes: without a driver, and with a password.

    Raises:
        ConfigurationError: when it is none.
    """
    parts = urlsplit(database_url(value, "destination.credentials"))
    if parts.scheme.partition("+")[0] not in POSTGRES or not parts.hostname or parts.port == 0:
        raise ConfigurationError(f"destination.credentials must be a PostgreSQL address, such as {EXAMPLE}.")
    if parts.password is None:
        # dlt insists on one; an empty password lets libpq look into .pgpass or trust the host.
        user, _, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user}:@{host}")
    return urlunsplit(parts._replace(scheme="postgresql"))


def hold_sqlite(url: str, roots: tuple[Path, ...]) -> None:
    """Refuse a SQLite file that no local file may be read from, wherever links lead.

    Raises:
        ConfigurationError: it is below none of these directories.
    """
    found = re.match(r"sqlite(?:\+\w+)?:///(?:file:)?(?P<path>[^?]*)", url.strip())
    if found is None or found.group("path") in {"", ":memory:"}:
        return
    path = Path(unquote(found.group("path"))).resolve()
    if not any(path.is_relative_to(root.resolve()) for root in roots):
        raise ConfigurationError(
            "source.credentials names a SQLite file that is below none of CAI_LOCAL_FILE_ROOTS: move it there, or have "
            "operations add its directory."
        )
