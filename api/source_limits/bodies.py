"""Bodies of the routes on limits of sources."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictInt, model_validator

from api.bodies import Body, Input
from connectors.credentials import NO_HOST, host_named
from connectors.judging.source_limits import limits_nothing
from connectors.sources.asking.quiet_hours import AllQuietHours, QuietHours
from connectors.sources.secret_references import Credential, Name, refused
from database.access.source_limits import StoredLimit

_HOSTS = "The hosts that it holds for, as `emr.example.org`, whatever kind of source names them: also within a secret."
_CREDENTIALS = 'The references that it holds for, such as `{"secret": "emr"}`.'
_LOADS = "So many loads at once, of all connectors together. null: any number."
_QUIET = "When none of them is asked."


def _host(value: str) -> str:
    if (host := host_named(value)) is None:
        raise refused(f"{{field}} {NO_HOST}")
    return host


class SourceLimitInput(Input):
    """A limit to be kept."""

    hosts: Annotated[
        list[Annotated[Name, AfterValidator(_host)]],
        Field(description=_HOSTS, max_length=100, examples=[["emr.example.org"]]),
    ] = Field(default_factory=list)
    credentials: Annotated[list[Credential], Field(description=_CREDENTIALS, max_length=100)] = Field(
        default_factory=list
    )
    loads: Annotated[StrictInt | None, Field(ge=1, le=1000, description=_LOADS, examples=[2])] = None
    quiet_hours: Annotated[AllQuietHours, Field(description=_QUIET)] = ()

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        values = {name: getattr(self, name) for name in ("hosts", "credentials", "loads", "quiet_hours")}
        if (nothing := limits_nothing(**values)) is not None:
            raise refused(nothing.why, nothing.field)
        return self


class SourceLimitAnswer(Body):
    """A limit of a source."""

    name: Annotated[str, Field(description="What runs that wait call it.")]
    hosts: Annotated[list[str], Field(description=_HOSTS)]
    credentials: Annotated[list[Credential], Field(description=_CREDENTIALS)]
    loads: Annotated[int | None, Field(description=_LOADS)]
    quiet_hours: Annotated[list[QuietHours], Field(description=_QUIET)]
    waiting: Annotated[int, Field(description="Runs that wait for it now.")]
    changed_at: Annotated[datetime, Field(description="When it was changed last.")]
    changed_by: Annotated[str, Field(description="Who changed it last.")]

    @classmethod
    def of(cls, stored: StoredLimit) -> Self:
        """A limit as it is answered."""
        return cls.model_validate({name: getattr(stored, name) for name in cls.model_fields})


class SourceLimitsAnswer(Body):
    """All limits of sources."""

    items: Annotated[list[SourceLimitAnswer], Field(description="The limits, by name.")]
