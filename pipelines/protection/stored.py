"""Profiles that the platform's database has, read when a run or a test begins: what counts is what they say then."""

import psycopg2  # type: ignore[import-untyped]
from pydantic import ValidationError

from connectors.connector import ConnectorRow
from connectors.refusals import from_pydantic
from connectors.sources import Source
from connectors.sources.protection.profiles import SHIPPED
from connectors.sources.protection.rules import Profile
from database import runs
from database.runs import Query
from pipelines.access.credential_rules import asking
from pipelines.errors import ConfigurationError, TransientError
from pipelines.wording import quoted
from settings import Settings


def profile_of(query: Query | None, source: Source, team: str | None) -> Profile | None:
    """The profile that a source names; None when it names none. `query`: None where there is no database to ask.

    Raises:
        ConfigurationError: there is no such profile for the team, or somebody has written it otherwise than the API.
    """
    name = None if source.protect is None else source.protect.profile
    if name is None:
        return None
    if name in SHIPPED:
        return SHIPPED[name]
    rules = None if query is None else runs.protection(query, name, team)
    if rules is None:
        raise ConfigurationError(
            f"source.protect.profile names {quoted([name])}, and there is no such profile for this connector's team: "
            "name one of /api/v1/protections, or make it."
        )
    try:
        return Profile.model_validate(rules)
    except ValidationError as error:
        sentence = from_pydantic(error, "rules")[0].message
        raise ConfigurationError(f"The profile {quoted([name])} is not as it must be: {sentence}") from None


def profile_of_test(row: ConnectorRow, source: Source, settings: Settings) -> Profile | None:
    """The same for a test, which has no session of its own yet.

    Raises:
        ConfigurationError: as `profile_of` does.
        TransientError: the platform's database does not answer.
    """
    if source.protect is None or source.protect.profile is None:
        return None
    try:
        with asking(settings) as query:
            return profile_of(query, source, row.team)
    except psycopg2.Error:
        raise TransientError(
            "The platform's database does not answer, so nobody knows what the profile of source.protect says."
        ) from None
