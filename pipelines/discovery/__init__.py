"""Discovery: asking a source that is not saved yet what it has, with the readers' own clients, logins and guards.

One module a kind, found as the readers are. Nothing of a row leaves it: names, types, counts and flags alone. If the
process dies, nothing was written anywhere.
"""

import importlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol, cast

import psycopg2  # type: ignore[import-untyped]
from pydantic import TypeAdapter

from connectors.connector import ConnectorRow
from connectors.credentials import CredentialRules, Use, uses_of
from connectors.discovery import Discovery
from connectors.sources import Source
from pipelines.access import tunnels
from pipelines.access.credential_rules import rules_of_test
from pipelines.access.secrets import Secrets
from pipelines.error_causes.classification import as_fault
from pipelines.errors import ConfigurationError, Step
from pipelines.protection.protecting import Protection, foreseeing
from pipelines.protection.stored import profile_of_test
from pipelines.sources import Context
from settings import Settings


class DiscoveryModule(Protocol):
    """What each module of this package offers."""

    def discover(self, source: Source, context: Context, cursor: str | None) -> Discovery:
        """A page of what the source has, from a cursor on. Raises `RunError`, or what a driver raises."""


def discover_for(row: ConnectorRow, settings: Settings, cursor: str | None = None) -> Discovery:
    """`discover` of a row that need not be saved, with the credentials that its team may name. Raises what that does.

    Raises:
        ConfigurationError: the platform's database does not answer, so nobody knows which those are.
    """
    adapter: TypeAdapter[Source] = TypeAdapter(Source)
    try:
        rules = rules_of_test(row, settings)
    except psycopg2.Error:
        raise ConfigurationError(
            "The platform's database does not answer, so nobody knows which credentials it may use."
        ) from None
    source = adapter.validate_python(row.source)
    found = discover(source, settings, cursor, rules=rules, uses=uses_of(row.source, None))
    return marked(found, foreseeing(source, profile_of_test(row, source, settings)))


def marked(found: Discovery, protection: Protection) -> Discovery:
    """What was found, with what `protect` of the source does to each column."""
    items = []
    for item in found.items:
        words = protection.foreseen(item.name, {column.name: column.type for column in item.columns})
        columns = tuple(replace(column, protection=words.get(column.name)) for column in item.columns)
        items.append(replace(item, columns=columns))
    return replace(found, items=tuple(items))


def discover(
    source: Source,
    settings: Settings,
    cursor: str | None = None,
    *,
    rules: CredentialRules | None = None,
    uses: Iterable[Use] = (),
) -> Discovery:
    """A page of what a source has.

    Args:
        source: the source; which of its tables, types or forms it names is not looked at.
        settings: of this installation: denied hosts, roots of local files.
        cursor: of the page before; None for the first.
        rules: the credentials that it may name; None: any.
        uses: those that it names.

    Raises:
        RunError: the source can't be reached or asked, in a sentence without a secret.
    """
    secrets = Secrets()
    with secrets.guard(), tunnels.kept(), as_fault(secrets.redact, Step.EXTRACT):
        secrets.permit(rules or CredentialRules(), uses)
        context = Context.of(settings, secrets, rehearsal=True)
        module = cast(DiscoveryModule, importlib.import_module(f"{__name__}.{source.type}"))
        return module.discover(source, context, cursor)
