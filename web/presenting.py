"""Words and pictures of the page: how connectors stand, as business users read it. Pure.

Times are shown in the connector's own zone, with its name: a person who plans by the clinic's clock must not compute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from connectors.connector import ConnectorRow
from connectors.credentials import CredentialKind
from connectors.freshness import Facts, Freshness, as_it_runs
from connectors.loads import ChangeKind, Load, Outcome, SchemaChange
from connectors.schedules.cron import Schedule
from connectors.schedules.dates import local, next_runs
from connectors.schedules.wording import words
from connectors.status import Phase

TONES = {
    Freshness.ON_TIME: "good",
    Freshness.MANUAL: "calm",
    Freshness.PAUSED: "calm",
    Freshness.LATE: "warn",
    Freshness.OVERDUE: "bad",
    Freshness.FAILING: "bad",
    Freshness.INVALID: "bad",
}
"""The colour of each judgement. Its word always stands beside it: colour alone tells some people nothing."""

CREDENTIALS = {
    CredentialKind.SECRET: "secret",
    CredentialKind.BLOCK: "block",
    CredentialKind.ENV: "variable of the worker",
}
"""Where the secret of a credential is, in words."""

PROFILES = {
    "safe_harbor": "Safe Harbor: nothing of the 18 kinds of values that tell who a person is",
    "limited_data_set": "Limited data set: dates and towns stay, names and numbers do not",
}
"""What a shipped profile of what may land means. One that people here keep is shown by its own name."""

PHASES = {
    Phase.PENDING: ("waits for the controller", "calm"),
    Phase.SYNCED: ("is planned in Prefect", "good"),
    Phase.PAUSED: ("is paused", "calm"),
    Phase.INVALID: ("can't run as it is", "bad"),
    Phase.RETRYING: ("could not be planned, and is tried again", "warn"),
    Phase.CONFLICT: ("is in conflict with somebody else's deployment", "bad"),
    Phase.DELETING: ("is being removed from Prefect", "calm"),
}
"""What each phase means to a person, and its colour."""

KINDS = {
    "sql_database": ("Database", "Tables of PostgreSQL, MySQL, SQL Server, Oracle or SQLite"),
    "fhir": ("FHIR server", "Patients, encounters and observations of an R4 or R5 server"),
    "redcap": ("REDCap project", "Records, forms and logs of a study"),
    "files": ("Files", "CSV, Excel, JSON, parquet, SAS, SPSS, Stata, HL7 or ODM in a folder, bucket or SFTP server"),
    "rest_api": ("Web API", "Any address that answers with JSON"),
    "duckdb": ("DuckDB file", "A file on the platform's own disk"),
    "postgres": ("PostgreSQL", "Tables of a PostgreSQL database"),
    "filesystem": ("Files or lake", "Parquet, CSV or Delta in a folder or bucket"),
}
"""The name of each kind, and what it is for. A kind that is not here is shown by its own name."""


def kind_name(kind: object) -> str:
    """The name of a kind of source or destination, for people."""
    return KINDS.get(str(kind), (str(kind).replace("_", " ").capitalize(), ""))[0]


def moment(at: datetime | None, timezone: str, *, now: datetime | None = None) -> str:
    """A time on the clock of a zone, with the zone's name; empty for None. Today's and tomorrow's by those words."""
    if at is None:
        return ""
    there = local(at, timezone)
    day = f"{there:%a %-d %b %Y}"
    if now is not None:
        days = (there.date() - local(now, timezone).date()).days
        day = {0: "today", 1: "tomorrow", -1: "yesterday"}.get(days, day)
    return f"{day} {there:%H:%M} {timezone}"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago a time is, in one unit; empty for None."""
    if at is None:
        return ""
    seconds = max(0.0, (now - at).total_seconds())
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' * (count != 1)} ago"
    return "just now"


def took(began: datetime | None, ended: datetime | None) -> str:
    """How long something took."""
    if began is None or ended is None:
        return ""
    seconds = (ended - began).total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def number(count: int | None) -> str:
    """A count as people read it."""
    return "" if count is None else f"{count:,}"


def load_words(load: Load | None, now: datetime) -> str:
    """The last load in a few words."""
    if load is None or load.outcome is None:
        return "never loaded"
    when = ago(load.ended_at or load.started_at, now)
    match load.outcome:
        case Outcome.RUNNING:
            return "loading now"
        case Outcome.COMPLETED:
            return f"{load.rows:,} row{'s' * (load.rows != 1)}, {when}"
        case Outcome.FAILED:
            return f"failed {when}"
        case Outcome.WAITING:
            return f"waiting for the source's export, seen {when}"
        case _:
            return f"cancelled {when}"


def schedule_words(row: ConnectorRow) -> str:
    """When a connector runs, in words; whatever cannot be read as it stands."""
    if row.schedule is None:
        return "Only when somebody starts it"
    schedule = schedule_of(row)
    return str(row.schedule) if schedule is None else words(schedule)


def schedule_of(row: ConnectorRow) -> Schedule | None:
    """The schedule of a row as it runs; None when it has none, or none that can be read."""
    return as_it_runs(Facts(row.id, row.schedule, row.timezone, row.is_active))


def next_date(facts: Facts, now: datetime) -> datetime | None:
    """When a connector runs next; None when it is paused, manual or invalid."""
    schedule = as_it_runs(facts) if facts.is_active else None
    if schedule is None:
        return None
    return next((at for at in _dates(schedule, now.replace(second=0, microsecond=0)) if at > now), None)


@lru_cache(maxsize=20_000)
def _dates(schedule: Schedule, minute: datetime) -> list[datetime]:
    """The next two dates from the beginning of a minute on: half a millisecond to compute, and asked for each row."""
    return next_runs(schedule, minute, 2)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a picture: its place and height in percent, its colour, and what it says when pointed at."""

    left: float
    width: float
    height: float
    tone: str
    title: str


STATES = {
    "SCHEDULED": "waits for its turn",
    "PENDING": "is about to begin",
    "RUNNING": "is loading",
    "COMPLETED": "done",
    "FAILED": "failed",
    "CRASHED": "broke off",
    "CANCELLING": "is being ended",
    "CANCELLED": "was ended",
    "PAUSED": "waits",
}
"""The states of a run, for people. One that is not here is shown by Prefect's own name."""


def bars(values: Sequence[tuple[float, str, str]], places: int) -> list[Bar]:
    """Bars of these (value, tone, title), the last at the right of as many places; the highest fills the picture."""
    most = max((value for value, _, _ in values), default=0) or 1
    width = 100 / max(places, 1)
    empty = max(places - len(values), 0)
    return [
        Bar((empty + place) * width, width * 0.8, max(2.0, 100 * value / most), tone, title)
        for place, (value, tone, title) in enumerate(values)
    ]


def week(schedules: Sequence[Schedule], now: datetime) -> list[list[int]]:
    """How many connectors start in each hour of the seven days from now on: 7 rows of 24 counts, in UTC."""
    counts = [[0] * 24 for _ in range(7)]
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0)
    end = begin + timedelta(days=7)
    for schedule in schedules:
        for at in next_runs(schedule, begin - timedelta(seconds=1), 7 * 24):
            if at >= end:
                break
            day, seconds = divmod((at - begin).total_seconds(), 86_400)
            counts[int(day)][int(seconds // 3600)] += 1
    return counts


DONE = {
    "baseline": "was here before the history began",
    "create": "made it",
    "update": "changed it",
    "delete": "deleted it",
    "truncate": "emptied the table",
    "found": "was found to have changed without a word",
    "run": "started a load",
    "cancel": "ended a load",
    "test": "looked at its first rows",
    "discover": "asked the source what it has",
    "retry": "had it compared with Prefect",
    "approve": "let through what waited",
    "refuse": "refused what waited",
    "restore": "brought back an earlier state",
    "allow_mass_prune": "let many deployments go at once",
    "archive": "moved days of the history out",
    "log_in": "logged in",
    "log_in_refused": "was not let in",
    "log_out": "logged out",
    "token_created": "made a token",
    "token_revoked": "revoked a token",
    "credential_created": "stored a credential",
    "credential_deleted": "deleted a credential",
    "protection_kept": "kept a profile of what may land",
    "protection_deleted": "deleted a profile of what may land",
    "follow_up_refused": "did not start what follows, in a circle",
    "source_limit_kept": "set a limit of a source",
    "source_limit_deleted": "deleted a limit of a source",
}
"""What each action of the history is called. One that is not here is shown by its own name."""


def change_words(changes: Sequence[SchemaChange]) -> str:
    """What happened at the source, as the end of a sentence about its table."""
    change, more = changes[0], len(changes) > 1
    names = f"columns {', '.join(each.column_name for each in changes)}" if more else f"column {change.column_name}"
    match change.kind:
        case ChangeKind.NEW:
            return f"the column {change.column_name} ({change.type_after}) is new at the source"
        case ChangeKind.RENAMED:
            return f"the column {change.was} seems to be called {change.column_name} at the source now"
        case ChangeKind.RETYPED:
            return f"{change.column_name}, which is {change.type_before}, has values that are {change.type_after}"
        case ChangeKind.GONE:
            return f"the {names} {'are' if more else 'is'} gone at the source"
        case ChangeKind.EMPTIED:
            return f"the {names} {'have' if more else 'has'} no values any more"


def done(action: str) -> str:
    """An action of the history in words."""
    return DONE.get(action, action.replace("_", " "))


DOORS = {
    "rest": "over the REST API",
    "form": "in a form",
    "page": "at this page",
    "sql": "in the database itself",
    "controller": "by itself",
}
"""The doors through which something is done, for people."""


def through(via: str) -> str:
    """Through which door something was done, in words."""
    return DOORS.get(via, via)


def about(before: Any, after: Any) -> str:
    """What an entry of the history is about that is about no connector: a source's host, a token, a credential."""
    state = after if isinstance(after, Mapping) else before
    if not isinstance(state, Mapping):
        return ""
    source = state.get("source")
    if isinstance(source, Mapping):
        return ", ".join(str(each) for each in (kind_name(source.get("type")), source.get("host")) if each)
    return str(state.get("name") or "")


def day(number: int) -> timedelta:
    """So many days."""
    return timedelta(days=number)


def shown(value: Any) -> str:
    """A value of the history, short enough to be read in a line."""
    text = "nothing" if value in (None, "", [], {}) else str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
