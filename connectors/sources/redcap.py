"""The source `redcap`: exports of a REDCap project, a table each. Pure."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from connectors.limits.closed_sets import ClosedSet
from connectors.sources.checks import SourceWithChecks
from connectors.sources.secret_references import Credential, HttpUrl, Name
from connectors.sources.write_rules import ColumnTypes, Landing, Some, distinct


class Content(ClosedSet):
    """What REDCap exports, by its own names."""

    RECORD = "record"
    METADATA = "metadata"
    EVENT = "event"
    ARM = "arm"
    INSTRUMENT = "instrument"
    FORM_EVENT_MAPPING = "formEventMapping"


class RedcapSource(SourceWithChecks):
    """A REDCap project by its API."""

    type: Literal["redcap"]
    api_url: Annotated[HttpUrl, Field(description="The address of its API, such as `https://redcap.example.org/api/`.")]
    token: Annotated[Credential, Field(description="The project's API token.")]
    content: Annotated[
        Some[Content],
        Field(description="What is exported, a table each."),
    ] = (
        Content.RECORD,
        Content.METADATA,
    )
    forms: Annotated[tuple[Name, ...], Field(description="Only records of these forms. Empty: of all.")] = ()
    date_range: Annotated[bool, Field(description="Only records that changed since the last load.")] = True
    history: Annotated[
        bool,
        Field(
            description="Whether each version of a record is kept, in the table `record__history` beside the table: "
            "with `valid_from` and `valid_to`, the moments at which it came and went."
        ),
    ] = False
    batch_size: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="The most records that are asked for at once. Fewer are where records are large, or where the "
            "server can't answer for so many.",
        ),
    ] = 500
    types: ColumnTypes

    @model_validator(mode="after")
    def _contents_are_distinct(self) -> Self:
        distinct(self.content, "content", "")
        return self

    def describes(self, table: str) -> bool:
        return table != "record"

    def landings(self) -> dict[str, Landing | None]:
        return dict.fromkeys(self.content)

    def histories(self) -> tuple[str, ...]:
        # The other contents have no key.
        return tuple(name for name in self.content if name == "record" and self.history)
