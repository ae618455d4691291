"""Bodies of the history's routes."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StrictInt
from pydantic.alias_generators import to_camel

from api.bodies import LONGEST_PAGE, Body, Input, cursor_text, plain_digits, plain_text
from connectors.history import Action, AuditEntry, Fault, Finding, Verification, changes_between
from connectors.limits.ids import LARGEST_ID
from use_cases.history import EntryPage

_Limit = Annotated[
    int, Field(ge=1, le=LONGEST_PAGE, description="Most entries on the page."), BeforeValidator(plain_digits)
]
_Cursor = Annotated[
    str | None, AfterValidator(cursor_text), Field(description="`nextCursor` of the page before; left out: the first.")
]


class Format(StrEnum):
    """How entries are answered."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


class HistoryQuery(Input):
    """Which entries of a connector are listed."""

    limit: _Limit = 50
    cursor: _Cursor = None


class AuditQuery(Input):
    """Which entries are listed. An unknown parameter is refused: it would look like a filter and be none."""

    from_: Annotated[
        AwareDatetime | None, Field(alias="from", description="Only those of this moment and later, with its zone.")
    ] = None
    to: Annotated[AwareDatetime | None, Field(description="Only those before this moment, with its zone.")] = None
    actor: Annotated[
        str | None, AfterValidator(plain_text), Field(max_length=200, description="Only those of this actor.")
    ] = None
    action: Annotated[Action | None, Field(description="Only those of this action.")] = None
    limit: _Limit = 50
    cursor: _Cursor = None
    format: Annotated[
        Format,
        Field(description="`json`: a page; `csv` or `ndjson` (a JSON object a line): all that fit, without paging."),
    ] = Format.JSON


class RestoreInput(Input):
    """What a connector is to be again."""

    generation: Annotated[StrictInt, Field(ge=1, le=LARGEST_ID, description="The generation, as its history names it.")]


class ChangeAnswer(Body):
    """One value that differs."""

    path: Annotated[str, Field(description="JSON pointer of the value: a field, and the way within it.")]
    from_: Annotated[Any, Field(alias="from", description="What it was; null: it was not there.")]
    to: Annotated[Any, Field(description="What it became; null: it is there no more.")]


class HistoryEntry(Body):
    """One entry of a connector's history."""

    id: Annotated[int, Field(description="Its number: later entries have higher ones, and gaps mean nothing.")]
    at: Annotated[datetime, Field(description="When it was written.")]
    generation: Annotated[int | None, Field(description="The connector's generation from then on.")]
    action: Annotated[str, Field(description="What was done.")]
    actor: Annotated[str, Field(description="Who did it.")]
    via: Annotated[str, Field(description="Through which door: rest, form, page, sql or controller.")]
    reason: Annotated[str | None, Field(description="Why, in the actor's words.")]
    request_id: Annotated[str | None, Field(description="By which the entries of one request are found together.")]
    changes: Annotated[list[ChangeAnswer], Field(description="What became different; secrets are shown by none.")]

    @classmethod
    def of(cls, entry: AuditEntry) -> "HistoryEntry":
        """An entry as it is answered."""
        known = {name: getattr(entry, name) for name in cls.model_fields if name != "changes"}
        return cls(**known, changes=_changes(entry))


class HistoryPage(Body):
    """Some entries of a connector, the newest first."""

    items: Annotated[list[HistoryEntry], Field(description="The entries.")]
    next_cursor: Annotated[
        str | None, Field(description="What `cursor` gets the next page with; null when this is the last.")
    ]

    @classmethod
    def of(cls, page: EntryPage) -> "HistoryPage":
        """A page as it is answered."""
        return cls(items=[HistoryEntry.of(entry) for entry in page.entries], next_cursor=_next(page))


class AuditEntryAnswer(HistoryEntry):
    """One entry of the history of all connectors."""

    connector_id: Annotated[int | None, Field(description="The connector; null: it is about none.")]
    connector_name: Annotated[str | None, Field(description="What it was called then.")]
    before: Annotated[Any, Field(description="The connector's fields before, named as the table names them.")]
    after: Annotated[Any, Field(description="The connector's fields after; or what else there is to say.")]
    digest: Annotated[str, Field(description="SHA-256 of the entry and of the digest before it.")]


class AuditPage(Body):
    """Some entries of all connectors, the newest first."""

    items: Annotated[list[AuditEntryAnswer], Field(description="The entries.")]
    next_cursor: Annotated[
        str | None, Field(description="What `cursor` gets the next page with; null when this is the last.")
    ]

    @classmethod
    def of(cls, page: EntryPage) -> "AuditPage":
        """A page as it is answered."""
        return cls(items=[AuditEntryAnswer.of(entry) for entry in page.entries], next_cursor=_next(page))


class FindingAnswer(Body):
    """The first thing that is wrong with the history."""

    fault: Annotated[
        Fault,
        Field(
            description="`changed`, `removed` or `inserted`: an entry; `unrecorded`: a connector is not as its newest "
            "entry says."
        ),
    ]
    id: Annotated[int | None, Field(description="The entry; null where only a day's seal tells.")]
    connector_id: Annotated[int | None, Field(description="Its connector.")]
    message: Annotated[str, Field(description="The same as a sentence.")]

    @classmethod
    def of(cls, found: Finding) -> "FindingAnswer":
        """A finding as it is answered."""
        return cls(fault=found.fault, id=found.entry_id, connector_id=found.connector_id, message=found.message)


class VerificationAnswer(Body):
    """Whether the history is what was written."""

    ok: Annotated[bool, Field(description="Whether all of it is.")]
    entries: Annotated[int, Field(description="Entries that were verified.")]
    seals: Annotated[int, Field(description="Sealed days, those moved out among them.")]
    first: Annotated[FindingAnswer | None, Field(description="The first thing that is wrong; null when nothing is.")]

    @classmethod
    def of(cls, found: Verification) -> "VerificationAnswer":
        """A verification as it is answered."""
        first = None if found.first is None else FindingAnswer.of(found.first)
        return cls(ok=first is None, entries=found.entries, seals=found.seals, first=first)


def _changes(entry: AuditEntry) -> list[ChangeAnswer]:
    found = []
    for change in changes_between(entry.before, entry.after):
        _, column, *below = change.path.split("/")
        found.append(ChangeAnswer(path="/".join(["", to_camel(column), *below]), from_=change.old, to=change.new))
    return found


def _next(page: EntryPage) -> str | None:
    return None if page.before is None else str(page.before)
