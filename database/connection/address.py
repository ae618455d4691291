"""Addresses of databases, as drivers take them. Imports no driver: a run needs this, and none of SQLAlchemy."""

from urllib.parse import urlsplit, urlunsplit


def dsn(url: str) -> str:
    """`url` without a SQLAlchemy driver's suffix (`postgresql+asyncpg://`).

    Raises:
        ValueError: when it is no PostgreSQL URL.
    """
    refused = "CAI_DATABASE_URL must be a PostgreSQL URL, such as postgresql://user:password@host/database."
    try:
        parts = urlsplit(url)
    except ValueError:  # whose own message may repeat the password
        raise ValueError(refused) from None
    if parts.scheme.split("+")[0] not in {"postgresql", "postgres"}:
        raise ValueError(refused)
    return urlunsplit(parts._replace(scheme="postgresql"))
