"""Bodies of the timeline: loads, changes, phases and alerts of one connector, in one row."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field

from api.bodies import LONGEST_PAGE, Body, Input, plain_digits
from api.camel_case import Sentence
from api.history.bodies import HistoryEntry
from api.runs.bodies import LoadAnswer
from connectors.history import AuditEntry
from connectors.judging.standing import Event, EventKind
from connectors.loads import LoadRun
from connectors.sources.secret_references import refused
from use_cases.timeline import Moment, Place, Timeline


def _place(value: str | None) -> str | None:
    if value is not None and Place.read(value) is None:
        raise refused("{field} is what nextCursor of the page before says, unchanged.")
    return value


class TimelineQuery(Input):
    """Which part of a timeline is shown."""

    limit: Annotated[
        int, Field(ge=1, le=LONGEST_PAGE, description="Most moments on the page."), BeforeValidator(plain_digits)
    ] = 50
    cursor: Annotated[
        str | None,
        AfterValidator(_place),
        Field(description="`nextCursor` of the page before; left out: the newest.", max_length=100),
    ] = None

    @property
    def place(self) -> Place:
        """Where the page begins."""
        return (None if self.cursor is None else Place.read(self.cursor)) or Place()


class MomentKind(StrEnum):
    """What a moment is about."""

    LOAD = "load"
    CHANGE = "change"
    PHASE = "phase"
    ALERT = "alert"


class StandingAnswer(Body):
    """How the connector stood from a moment on."""

    state: Annotated[
        str, Field(description="Its phase; of an alert `late`, `overdue` or `over`, when it was not late any more.")
    ]
    reason: Annotated[str | None, Field(description="Why it came into that phase.")]
    since: Annotated[datetime | None, Field(description="Of an alert: since when it is late, or was.")]
    alerted: Annotated[bool, Field(description="Of an alert: whether somebody was notified.")]


class MomentAnswer(Body):
    """One thing that became of a connector. Of `load`, `change` and `standing` one is said, as `kind` tells."""

    at: Annotated[datetime, Field(description="When; of a load, when it began.")]
    kind: Annotated[MomentKind, Field(description="What it is about.")]
    actor: Annotated[str | None, Field(description="Who did it, or started it; null: nobody, or nobody said.")]
    message: Annotated[Sentence | None, Field(description="What is to be said of it, as a sentence.")]
    load: Annotated[LoadAnswer | None, Field(description="The load, of a `load`.")] = None
    change: Annotated[HistoryEntry | None, Field(description="The entry of the history, of a `change`.")] = None
    standing: Annotated[StandingAnswer | None, Field(description="How it stood, of a `phase` or an `alert`.")] = None

    @classmethod
    def of(cls, moment: Moment) -> Self:
        """A moment as it is answered."""
        match moment.what:
            case LoadRun() as load:
                known: dict[str, Any] = {"actor": load.actor, "message": load.message, "load": LoadAnswer.of(load)}
                return cls(at=moment.at, kind=MomentKind.LOAD, **known)
            case AuditEntry() as entry:
                known = {"actor": entry.actor, "message": entry.reason, "change": HistoryEntry.of(entry)}
                return cls(at=moment.at, kind=MomentKind.CHANGE, **known)
            case Event() as event:
                kind = MomentKind.PHASE if event.kind is EventKind.PHASE else MomentKind.ALERT
                stood = StandingAnswer(state=event.state, reason=event.reason, since=event.since, alerted=event.alerted)
                return cls(at=moment.at, kind=kind, actor=None, message=event.sentence, standing=stood)


class TimelineAnswer(Body):
    """Some of what became of a connector, the newest first."""

    items: Annotated[list[MomentAnswer], Field(description="The moments.")]
    next_cursor: Annotated[
        str | None, Field(description="What `cursor` gets the next page with; null when this is the last.")
    ]

    @classmethod
    def of(cls, found: Timeline) -> Self:
        """A page as it is answered."""
        items = [MomentAnswer.of(moment) for moment in found.moments]
        return cls(items=items, next_cursor=None if found.after is None else found.after.written())
