"""Rules of credentials, as a run reads them from the platform's database when it starts."""

from collections.abc import Callable, Mapping
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import psycopg2.extras  # type: ignore[import-untyped]

from connectors.connector import ConnectorRow
from connectors.credentials import CredentialKind, CredentialRules, Registered, uses_of
from settings import MissingDatabaseError, Settings

_ALL = """
    SELECT json_agg(json_build_object(
        'name', name, 'team', team, 'kind', kind, 'reference', reference, 'hosts', hosts)) AS found
    FROM cai_credentials
"""

Query = Callable[[str], Mapping[str, Any] | None]
"""The first row that the platform's database answers with."""


def rules_of(query: Query, team: str | None, settings: Settings) -> CredentialRules:
    """What a connector of this team may name now."""
    found = (query(_ALL) or {}).get("found") or ()
    return CredentialRules(
        tuple(
            Registered(
                each["name"], each["team"], CredentialKind(each["kind"]), each["reference"], tuple(each["hosts"])
            )
            for each in found
        ),
        team,
        settings.credentials == "open",
        frozenset(use.key for use in uses_of(None, settings.destination)),
    )


def rules_of_test(row: ConnectorRow, settings: Settings) -> CredentialRules:
    """The same for a test, which has no session of its own yet.

    Where no database is configured nothing can be registered, so only what is the platform's own is refused.
    """
    try:
        url = settings.resolved_database_url()
    except MissingDatabaseError:
        return CredentialRules()
    connection = psycopg2.connect(url, connect_timeout=10, cursor_factory=psycopg2.extras.RealDictCursor)
    try:
        with connection.cursor() as cursor:

            def query(statement: str) -> Mapping[str, Any] | None:
                cursor.execute(statement)
                found: Mapping[str, Any] | None = cursor.fetchone()
                return found

            return rules_of(query, row.team, settings)
    finally:
        connection.close()
