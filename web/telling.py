"""The timeline of a connector in words: each load, change, phase and alert as one line that a person reads. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from connectors.history import Action, AuditEntry, Change, changes_between
from connectors.judging.standing import Event, EventKind
from connectors.loads import LoadRun, Outcome
from connectors.status import Phase
from use_cases.timeline import Moment
from web.presenting import PHASES, done, number, through, took

ALERTS = {"late": ("is late", "warn"), "overdue": ("is overdue", "bad"), "over": ("is not late any more", "good")}
OUTCOMES = {
    Outcome.RUNNING: ("A load began", "calm"),
    Outcome.COMPLETED: ("Loaded", "good"),
    Outcome.FAILED: ("A load failed", "bad"),
    Outcome.CANCELLED: ("A load was ended", "warn"),
    Outcome.WAITING: ("A load waits for the source", "calm"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One moment, as it is shown."""

    at: datetime
    kind: str
    """`load`, `change`, `phase` or `alert`."""
    tone: str
    head: str
    tail: str = ""
    who: str = ""
    changes: tuple[Change, ...] = ()
    restores: int | None = None
    """The generation that stood before this change."""


def lines(moments: Iterable[Moment]) -> list[Line]:
    """The moments of a timeline, each as a line."""
    return [_line(moment) for moment in moments]


def _line(moment: Moment) -> Line:
    match moment.what:
        case LoadRun() as load:
            return _of_load(load)
        case AuditEntry() as entry:
            return _of_change(entry)
        case Event() as event:
            return _of_event(event)


def _of_load(load: LoadRun) -> Line:
    head, tone = OUTCOMES[load.outcome]
    if load.outcome is Outcome.COMPLETED:
        head = f"Loaded {number(load.rows)} row{'s' * (load.rows != 1)} in {took(load.started_at, load.ended_at)}"
    tail = "" if load.outcome is Outcome.COMPLETED else load.message or ""
    who = "by its schedule" if load.actor == "schedule" else f"started by {load.actor}" if load.actor else ""
    return Line(load.started_at, "load", tone, head, tail, who)


def _of_change(entry: AuditEntry) -> Line:
    is_update = entry.action == Action.UPDATE
    changes = tuple(changes_between(entry.before, entry.after)) if is_update else ()
    before = entry.generation - 1 if is_update and entry.generation and entry.generation > 1 else None
    head = f"{entry.actor} {done(entry.action)}"
    return Line(entry.at, "change", "calm", head, entry.reason or "", through(entry.via), changes, before)


def _of_event(event: Event) -> Line:
    if event.kind is EventKind.ALERT:
        words, tone = ALERTS.get(event.state, (event.state, "warn"))
        return Line(event.at, "alert", tone, f"It {words}", event.sentence or "")
    words, tone = PHASES.get(Phase(event.state), (event.state, "calm"))
    return Line(event.at, "phase", tone, f"It {words}", event.sentence or "")
