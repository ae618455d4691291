"""Bodies of the routes on profiles of what may land."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, field_validator

from api.access_bodies import PlainName
from api.bodies import Body, Input
from connectors.limits.jsonb import unstorable
from connectors.sources.protection.rules import Profile
from database.access.protections import StoredProtection

_RULES = (
    "What it does, as `protect` of a source says it: `rules`, `keep`, `patient`, `fhir` for sources of that kind, and "
    "`hl7` for tables of such messages."
)
_TEAM = "Whose connectors may name it; null: everybody's."


class ProtectionInput(Input):
    """A profile to be kept."""

    rules: Annotated[
        Profile,
        Field(description=_RULES, examples=[{"rules": [{"names": ["birth_date"], "method": "year"}]}]),
    ]
    team: Annotated[PlainName | None, Field(description=_TEAM)] = None

    @field_validator("rules")
    @classmethod
    def _can_be_stored(cls, rules: Profile) -> Profile:
        for refusal in unstorable(rules.model_dump(mode="json"), "rules"):
            raise ValueError(refusal.message)
        return rules


class ProtectionAnswer(Body):
    """A profile of what may land."""

    name: Annotated[str, Field(description="By which connectors name it, as `profile` of `protect`.")]
    team: Annotated[str | None, Field(description=_TEAM)]
    rules: Annotated[dict[str, Any], Field(description=_RULES)]
    changed_at: Annotated[datetime | None, Field(description="When it was changed last; null: it is shipped.")]
    changed_by: Annotated[str, Field(description="Who changed it last.")]

    @classmethod
    def of(cls, stored: StoredProtection) -> "ProtectionAnswer":
        """A profile as it is answered."""
        return cls(
            name=stored.name,
            team=stored.team,
            rules=stored.rules,
            changed_at=stored.changed_at,
            changed_by=stored.changed_by,
        )


class ProtectionsAnswer(Body):
    """The profiles that are shipped, those of your teams, and everybody's."""

    items: Annotated[list[ProtectionAnswer], Field(description="The profiles, by name.")]
