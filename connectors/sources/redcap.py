"""The source `redcap`: exports of a REDCap project, a table each. Pure."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from connectors.limits.closed_sets import ClosedSet
from connectors.schedules.cron import ScheduleError, parse
from connectors.sources.checks import SourceWithChecks
from connectors.sources.deletes import EVERY_LOAD, Deletes, Every, refuse_time_without_deletes
from connectors.sources.secret_references import Credential, HttpUrl, Name, refused
from connectors.sources.write_rules import ColumnTypes, Landing, Some, distinct


class Content(ClosedSet):
    """What REDCap exports, by its own names."""

    RECORD = "record"
    METADATA = "metadata"
    EVENT = "event"
    ARM = "arm"
    INSTRUMENT = "instrument"
    FORM_EVENT_MAPPING = "formEventMapping"


def _zone(value: str) -> str:
    try:
        parse("0 0 * * *", value, 1)
    except ScheduleError:
        raise refused("{field} must be a time zone by its IANA name, such as 'Europe/Berlin'.") from None
    return value


class Layout(ClosedSet):
    """How the records of a project become tables."""

    WIDE = "wide"
    BY_INSTRUMENT = "by_instrument"


class Checkboxes(ClosedSet):
    """What becomes of a field of which several choices can be ticked."""

    COLUMNS = "columns"
    CODES = "codes"


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
    fields: Annotated[
        tuple[Name, ...],
        Field(description="Only these fields, beside those of the forms; the record's id always comes along."),
    ] = ()
    events: Annotated[tuple[Name, ...], Field(description="Only these events. Empty: all.")] = ()
    filter_logic: Annotated[
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5000)] | None,
        Field(description="Only records for which this logic of REDCap's is true, such as `[age] > 17`."),
    ] = None
    layout: Annotated[
        Layout,
        Field(
            description="`wide`: one table `record`, as REDCap exports it, of texts. `by_instrument`: a table an "
            "instrument, with the types of the data dictionary."
        ),
    ] = Layout.WIDE
    labels: Annotated[
        bool, Field(description="Whether what a code means stands beside it, in a column such as `sex_label`.")
    ] = False
    checkboxes: Annotated[
        Checkboxes,
        Field(
            description="`columns`: a column for each choice of a checkbox, such as `symptoms___1`. `codes`: one "
            "column with the list of the codes that are ticked."
        ),
    ] = Checkboxes.COLUMNS
    survey_fields: Annotated[
        bool, Field(description="Whether the survey identifier and the time stamps of surveys come along.")
    ] = False
    access_groups: Annotated[bool, Field(description="Whether the data access group of each record comes along.")] = (
        False
    )
    report: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="A report of the project by its number, which lands as `report_` and that number."),
    ] = None
    date_range: Annotated[bool, Field(description="Only records that changed since the last load.")] = True
    time_zone: Annotated[
        Annotated[Name, AfterValidator(_zone)] | None,
        Field(
            description="The zone of the clock on the server's wall, such as `Europe/Berlin`: by it only what changed "
            "comes again. null: some hours more are asked for, which is right in every zone."
        ),
    ] = None
    deletes: Annotated[
        Deletes,
        Field(
            description="What happens to rows that are gone in REDCap: `remove` deletes them, `mark` puts the moment "
            "into their column `_deleted_at`, `ignore` leaves them."
        ),
    ] = Deletes.IGNORE
    deletes_every: Every = EVERY_LOAD
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

    @model_validator(mode="after")
    def _history_is_of_one_table(self) -> Self:
        if self.history and self.layout is Layout.BY_INSTRUMENT:
            raise refused(
                "{field} is kept of the table record alone, which has no values by_instrument: set layout to wide, or "
                "leave it out.",
                "history",
            )
        return self

    @model_validator(mode="after")
    def _deletes_go_by_record(self) -> Self:
        refuse_time_without_deletes(self.deletes, self.deletes_every)
        if self.deletes is not Deletes.IGNORE and Content.RECORD not in self.content:
            raise refused("{field} are of records: add record to content.", "deletes")
        if self.deletes is not Deletes.IGNORE and self.protect is not None and self.protect.where:
            raise refused(
                "{field} can't be used with protect.where: the ids of records alone don't say which rows may leave.",
                "deletes",
            )
        return self

    def describes(self, table: str) -> bool:
        # An instrument may have such a name as well, where its table is no export of that content.
        return table in {self._table(content) for content in self.content if content is not Content.RECORD}

    @staticmethod
    def _table(content: Content) -> str:
        return "form_event_mapping" if content is Content.FORM_EVENT_MAPPING else content.value

    def landings(self) -> dict[str, Landing | None]:
        reports = () if self.report is None else (f"report_{self.report}",)
        return dict.fromkeys((*self.content, *reports))

    def knows_its_tables(self) -> bool:
        return self.layout is Layout.WIDE

    def histories(self) -> tuple[str, ...]:
        # The other contents have no key.
        return tuple(name for name in self.content if name == "record" and self.history)
