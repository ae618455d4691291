"""Words of the page: whatever may be told of a connector has some, and each moment is a line."""

from datetime import UTC, datetime, timedelta

from connectors.history import Action, AuditEntry
from connectors.judging.standing import Event, EventKind
from connectors.loads import LoadRun, Outcome
from connectors.people import Via
from connectors.status import Phase
from use_cases.timeline import Moment
from web.presenting import DONE, DOORS, PHASES
from web.telling import ALERTS, OUTCOMES, lines

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def test_everything_that_may_be_told_has_words() -> None:
    assert OUTCOMES.keys() == set(Outcome)
    assert PHASES.keys() == set(Phase)
    assert DOORS.keys() == {via.value for via in Via}
    assert DONE.keys() == {action.value for action in Action}


def load(outcome: Outcome, rows: int) -> LoadRun:
    """A load that took four seconds."""
    end = AT + timedelta(seconds=4)
    message = "The source can't be reached."
    return LoadRun(
        1, 7, 1, None, "schedule", AT, end, outcome, None, message, None, {}, "duckdb", "d", rows, 0, {}
    )  # fmt: skip


def test_each_moment_is_a_line() -> None:
    changed = AuditEntry(
        2, AT, 7, "Labs", 3, "update", "ann", "page", "so be it", None, {"schedule": "a"}, {"schedule": "b"}, ""
    )  # fmt: skip
    phase = Event(3, AT, EventKind.PHASE, "invalid", "InvalidSource", "source: it names no table.", None, False)
    late = Event(4, AT, EventKind.ALERT, "overdue", None, None, AT, True)
    told = lines(
        Moment(AT, what)
        for what in (
            load(Outcome.COMPLETED, 1),
            load(Outcome.FAILED, 0),
            load(Outcome.WAITING, 0),
            changed,
            phase,
            late,
        )
    )
    assert [(line.kind, line.tone, line.head) for line in told] == [
        ("load", "good", "Loaded 1 row in 4.0 s"),
        ("load", "bad", "A load failed"),
        ("load", "calm", "A load waits for the source"),
        ("change", "calm", "ann changed it"),
        ("phase", "bad", "It can't run as it is"),
        ("alert", "bad", "It is overdue"),
    ]
    assert told[1].tail == "The source can't be reached."
    assert (told[3].tail, told[3].who, told[3].restores) == ("so be it", "at this page", 2)
    assert [(change.old, change.new) for change in told[3].changes] == [("a", "b")]
    assert told[5].tail.endswith("People were notified.")
    assert set(ALERTS) == {"late", "overdue", "over"}
