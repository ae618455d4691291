"""Rules of credentials, as a run reads them from the platform's database when it starts."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import psycopg2.extras  # type: ignore[import-untyped]

from connectors.connector import ConnectorRow
from connectors.credentials import CredentialRules, Use, uses_of
from connectors.people import NameableSecrets
from database.runs import Query, registered_credentials
from pipelines.access.secrets import Secrets
from settings import MissingDatabaseError, Settings


def rules_of(query: Query, team: str | None, settings: Settings) -> CredentialRules:
    """What a connector of this team may name now."""
    platforms = frozenset(use.key for use in uses_of(None, settings.destination))
    return CredentialRules(
        tuple(registered_credentials(query)), team, settings.credentials is NameableSecrets.OPEN, platforms
    )


def rules_of_test(row: ConnectorRow, settings: Settings) -> CredentialRules:
    """The same for a test, which has no session of its own yet.

    Where no database is configured nothing can be registered, so only what is the platform's own is refused.
    """
    with asking(settings) as query:
        return CredentialRules() if query is None else rules_of(query, row.team, settings)


def permitted(settings: Settings, team: str | None, uses: Iterable[Use]) -> Secrets:
    """Secrets that a connector of this team may name, for who has no session: what is sent after loads.

    Raises:
        RunError: one of those that are used it may not name.
        psycopg2.Error: the database does not answer.
    """
    secrets = Secrets()
    with asking(settings) as query:
        if query is not None:
            secrets.permit(rules_of(query, team, settings), uses)
    return secrets


@contextlib.contextmanager
def asking(settings: Settings) -> Iterator[Query | None]:
    """A short session with the platform's database; None where none is configured. Raises `psycopg2.Error`."""
    try:
        url = settings.resolved_database_url()
    except MissingDatabaseError:
        yield None
        return
    connection = psycopg2.connect(url, connect_timeout=10, cursor_factory=psycopg2.extras.RealDictCursor)
    try:
        with connection.cursor() as cursor:

            def query(statement: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
                cursor.execute(statement, values)
                found: dict[str, Any] | None = cursor.fetchone()
                return found

            yield query
    finally:
        connection.close()
