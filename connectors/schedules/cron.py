"""Schedules: what a cron text means, in words and in dates, exactly as Prefect will run it, or why it is refused.

Prefect takes texts that it then runs wrongly or never (`5-1`, `*/61`, 30 February, `1,30` in February). A business
user would learn of that from data that isn't there, so everything that doesn't run as it reads is refused here, in a
sentence. What is accepted runs identically in croniter and in the older copy of it inside Prefect. Pure: no I/O but the
time zone files, and no clock.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, requires
from itertools import pairwise
from types import MappingProxyType
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from cron_descriptor import Options, get_description  # type: ignore[import-untyped]
from croniter import croniter


class ScheduleError(ValueError):
    """A schedule or time zone that can't be accepted: `str()` is the user's sentence, `field` what it is about.

    The sentence doesn't repeat what was refused: it may be a secret put into the wrong field.
    """

    def __init__(self, field: Literal["schedule", "timezone"], reason: str, example: str) -> None:
        super().__init__(f"{field}: {reason} For example: {example}")
        self.field = field


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a connector runs: five cron fields as Prefect gets them, and the IANA time zone that they are read in."""

    cron: str
    timezone: str


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    step: float  # of the sequence that spreads `H`
    example: str
    names: Mapping[str, int] = field(default_factory=dict)
    spread_high: int | None = None  # the last value that `H` may take, where it isn't `high`
    again: int | None = None  # one more value, which stands for `low`: Sunday as 7

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    def refused(self, reason: str) -> ScheduleError:
        return ScheduleError("schedule", f"the {self.name} field {reason}", self.example)


def _numbered(names: str, first: int) -> Mapping[str, int]:
    return MappingProxyType({name: number for number, name in enumerate(names.split(), first)})


# `H` is spread by a Kronecker sequence: connector id times an irrational number, modulo 1, is the point in the field.
# The golden ratio has the lowest discrepancy of all such sequences in one dimension (Knuth, TAOCP 3, 6.4, theorem S;
# Kuipers and Niederreiter, Uniform Distribution of Sequences, 2.3), so it serves the minute. The other fields take
# numbers that are linearly independent of it over the rationals, so that several `H` spread well jointly too (Weyl);
# for the hour that is the reciprocal of the plastic number.
_FIELDS = (
    _Field("minute", 0, 59, 0.6180339887498949, "*/15 * * * *"),
    _Field("hour", 0, 23, 0.7548776662466927, "0 */4 * * *"),
    # 28, as in Jenkins: so that no month is left out.
    _Field("day-of-month", 1, 31, 0.41421356237309515, "0 6 1,15 * *", spread_high=28),
    _Field(
        "month",
        1,
        12,
        0.7320508075688772,
        "0 6 1 JAN,JUL *",
        _numbered("jan feb mar apr may jun jul aug sep oct nov dec", 1),
    ),
    _Field(
        "day-of-week",
        0,
        6,
        0.6457513110645906,
        "0 6 * * MON-FRI",
        _numbered("sun mon tue wed thu fri sat", 0),
        again=7,
    ),
)
_Values = list[int | Literal["*", "l"]]  # of one field, as croniter expands it
_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY = range(5)
_EVERY_DAY = "0 6 * * *"
_SHORTEST_MONTH = 28
_LONGEST = 200  # characters: far more than a schedule needs, and little enough to be parsed in no time

_ALIASES = MappingProxyType(
    {
        "@hourly": "0 * * * *",
        "@daily": "0 0 * * *",
        "@midnight": "0 0 * * *",
        "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *",
        "@yearly": "0 0 1 1 *",
        "@annually": "0 0 1 1 *",
    }
)

_SPREAD = re.compile(r"h(?:\((\d{1,4})-(\d{1,4})\))?(?:/(\d{1,4}))?")
_ITEM = re.compile(r"(?P<low>\*|\d{1,4}|[a-z]{3})(?:-(?P<high>\d{1,4}|[a-z]{3}))?(?:/(?P<step>\d{1,4}))?")
_NTH_WEEKDAY = re.compile(r"(?P<day>\d|[a-z]{3})#[1-5]|l(?P<last>[0-7])")

# The longest that each month can be.
_LONGEST_MONTH = MappingProxyType({month: 30 if month in {4, 6, 9, 11} else 31 for month in range(1, 13)} | {2: 29})


@cache
def _gap_fold() -> Literal[0, 1]:
    """How the installed Prefect resolves a wall time that clocks going forward leave out: `fold` in PEP 495's sense.

    By whenever 02:30 becomes 03:30, by pendulum 01:30. Prefect up to 3.8 brings whenever on Python 3.13 and later, 3.9
    on every Python, so neither the version of Python nor that of Prefect says it: what Prefect requires does.
    """
    try:
        required = requires("prefect") or []
    except PackageNotFoundError:
        return 0
    brought = [each for each in required if each.startswith("whenever")]
    everywhere = any("python_version" not in each for each in brought)
    return 0 if everywhere or (brought and sys.version_info >= (3, 13)) else 1


def parse(cron: str, timezone: str, connector_id: int) -> Schedule:
    """The schedule of a connector, with `@names` expanded and `H` resolved for this connector's id.

    Anything else in the text stays as the user wrote it, trimmed. Raises `ScheduleError`.
    """
    text = cron.strip(" \t\r\n")
    fields = _split(text)
    text = _ALIASES.get(text.lower(), text)
    resolved = [_resolve(*pair, connector_id) for pair in zip(_FIELDS, fields, strict=True)]
    for each, content in zip(_FIELDS, resolved, strict=True):
        _check(each, content)
    _check_days(*resolved[_DAY:])
    if timezone not in _zones():
        _refuse_timezone(timezone)
    changes = iter(zip(fields, resolved, strict=True))

    def replaced(written: re.Match[str]) -> str:
        before, after = next(changes)
        return written[0] if before == after else after

    return Schedule(re.sub(r"[^ \t]+", replaced, text), timezone)


@lru_cache(maxsize=10_000)
def words(schedule: Schedule) -> str:
    """The schedule as a person says it, with its time zone: `every 4 hours, at minute 0 (UTC)`."""
    values = croniter.expand(schedule.cron)[0]
    fields = zip(_FIELDS, schedule.cron.lower().split(), values, strict=True)
    minute, hour, *days = [_spoken(*each) for each in fields]
    times = _times(minute, hour, values)
    if times.startswith("at ") and days[0] == days[2] == "*":  # "at 02:00" alone might be once
        times = f"every day {times}"
    return f"{times}{_days(*days)} ({schedule.timezone})"


def next_runs(schedule: Schedule, after: datetime, count: int) -> list[datetime]:
    """The `count` runs that Prefect starts at or after an aware time, as instants: aware, in UTC.

    Wall times never leave this module: in the hour that comes twice, two of one zone that differ are equal to Python,
    and one of a zone and the same instant in UTC are not (PEP 495). `local` shows an instant to people.
    """
    zone, after = ZoneInfo(schedule.timezone), after.astimezone(UTC)
    runs: set[datetime] = set()
    # What falls into a gap starts behind it, so around a change of clocks earlier wall times may still be due.
    start = _wall(after, zone).replace(microsecond=0) - _change(after, zone) - timedelta(seconds=1)
    beyond: datetime | None = None
    for wall in _walls(schedule.cron, start):
        if beyond is not None and wall > beyond:
            break
        if (due := _due(wall, zone)) >= after:
            runs.add(due)
        if len(runs) == count and beyond is None:
            last = max(runs)
            beyond = _wall(last, zone) + _change(last, zone)
    return sorted(runs)[:count]


def previous_run(schedule: Schedule, at: datetime) -> datetime:
    """The last instant (aware, in UTC) at or before an aware time at which a run was due."""
    zone, at = ZoneInfo(schedule.timezone), at.astimezone(UTC)
    wall, change = _wall(at, zone), _change(at, zone)
    # Near a change of clocks the order of wall times isn't that of the runs: what falls into a gap may start behind
    # what comes after it, so look further by as much as clocks change there.
    latest: datetime | None = None
    for earlier in _walls(schedule.cron, wall + change + timedelta(microseconds=1), back=True):
        due = _due(earlier, zone)
        if due <= at and (latest is None or due > latest):
            latest = due
        if latest is not None and earlier <= _wall(latest, zone) - _change(latest, zone):
            return latest
    raise AssertionError("a cron's past has no end")


def may_be_due(schedule: Schedule, instant: datetime) -> bool:
    """Whether a Prefect of any version starts a run at this instant (aware).

    More is taken than `next_runs` names: a server of another version than ours resolves gaps otherwise, and whoever
    deletes what he takes for wrong must be sure.
    """
    zone = ZoneInfo(schedule.timezone)
    wall, change = _wall(instant.astimezone(UTC), zone), _change(instant.astimezone(UTC), zone)
    left_out = (each for each in (wall - change, wall + change) if change and not _exists(each, zone))
    return any(croniter.match(schedule.cron, each) for each in (wall, *left_out))


def local(instant: datetime, timezone: str) -> datetime:
    """An instant as people in a time zone read it. For showing alone: it is compared with nothing."""
    return instant.astimezone(ZoneInfo(timezone))


def warnings(schedule: Schedule, after: datetime) -> list[str]:
    """What may surprise about an accepted schedule: a sentence each, changes of clocks in the year from `after` on."""
    return [*_warnings_of_fields(schedule.cron), *_warnings_of_clocks(schedule, after)]


# --- reading ---------------------------------------------------------------------------------------------------------


def _split(text: str) -> list[str]:
    """The five fields in lower case, `@names` expanded."""

    def refused(reason: str) -> ScheduleError:
        return ScheduleError("schedule", reason, _EVERY_DAY)

    if not text:
        raise refused("must not be empty; without any schedule (null) the connector runs only when started by hand.")
    if len(text) > _LONGEST:
        raise refused(f"must have at most {_LONGEST} characters.")
    if not text.isascii() or not text.replace("\t", " ").isprintable():
        raise refused("must be on one line, of plain letters, digits, spaces and the signs * , - / only.")
    if (named := re.match(r"(?:CRON_)?TZ=(\S*)", text, re.IGNORECASE)) is not None:
        raise refused(
            f"holds the time zone {named[1] or '...'}: write that as timezone, and here only the five fields."
        )
    if text.lower() == "@reboot":
        raise refused("@reboot means nothing here, where no machine starts: say a time.")
    if text.startswith("@"):
        if text.lower() not in _ALIASES:
            raise refused(f"of the names with an @ only {', '.join(_ALIASES)} are known.")
        text = _ALIASES[text.lower()]
    fields = text.lower().split()
    shape = "minute, hour, day of month, month, day of week"
    if len(fields) == len(_FIELDS) + 1:
        raise refused(f"has six fields, and schedules here have no seconds: write five, which are {shape}.")
    if len(fields) == len(_FIELDS) + 2:
        raise refused(f"has seven fields, and schedules here have neither seconds nor years: write five ({shape}).")
    if len(fields) != len(_FIELDS):
        raise refused(f"must have five fields with spaces between: {shape}.")
    return fields


def _resolve(each: _Field, content: str, connector_id: int) -> str:
    """The content with `H` resolved by the connector's id: to a value, or with a step to where the steps begin."""
    if not re.search(r"(?<![a-z])h(?![a-z])", content):
        return content
    match = _SPREAD.fullmatch(content)
    if not match:
        raise each.refused("takes H only alone, as H, H/2, H(1-5) or H(1-5)/2.")
    last = each.high if each.spread_high is None else each.spread_high
    low, high = (each.low, last) if match[1] is None else (int(match[1]), int(match[2]))
    if not each.low <= low < high <= last:
        raise each.refused(f"takes H in a range that goes up, from {each.low} to {last}.")
    if match[3] is None:
        return str(low + _slot(each, connector_id, high - low + 1))
    step, most = int(match[3]), (high - low + 1) // 2
    if not 1 <= step <= most:
        raise each.refused(f"takes H here in steps of 1 to {most}, so that it comes at least twice.")
    start = low + _slot(each, connector_id, step)
    return (
        f"*/{step}" if start == each.low and match[1] is None and each.spread_high is None else f"{start}-{high}/{step}"
    )


def _slot(each: _Field, connector_id: int, slots: int) -> int:
    # In fixed point, so that ids of any size stay exact: the fraction has 64 bits.
    fraction = connector_id * int(each.step * 2**64) % 2**64
    return fraction * slots >> 64


def _check(each: _Field, content: str) -> None:
    """Refuse what this field can't hold, or what doesn't mean in Prefect what it says."""
    if content == "?" and each.name.startswith("day"):
        return
    for item in content.split(","):
        if each is _FIELDS[_DAY] and item == "l":
            continue
        if each is _FIELDS[_WEEKDAY] and (nth := _NTH_WEEKDAY.fullmatch(item)):
            if nth["day"]:
                _value(each, nth["day"])
            continue
        _check_item(each, item, alone=item == content)


def _check_item(each: _Field, item: str, *, alone: bool) -> None:
    match = _ITEM.fullmatch(item)
    if not match:
        raise each.refused(_not_understood(each, item))
    low, high, step = match["low"], match["high"], match["step"]
    if low == "*":
        if high is not None:
            raise each.refused("has a * in a range: write numbers.")
        if step is None and not alone:
            raise each.refused("has a * in a list, which is every value already: write the * alone, or leave it out.")
        first, last = each.low, each.high
    else:
        first = last = _value(each, low)
        if high is not None:
            # The week may end on Sunday: FRI-SUN is 5-7.
            last = each.again if each.again and high == "sun" else _value(each, high)
            if first > last:
                raise each.refused("has a range that goes backwards: write it as two, with a comma between.")
            if first == last:
                raise each.refused("has a range from a value to itself, which would run at all of them: write it once.")
        elif step is not None:
            last = each.high
    if step is not None and not 1 <= int(step) <= max(last - first, 0):
        raise each.refused("has a step that is zero or leads beyond the end, so that it would never be taken.")


def _value(each: _Field, text: str) -> int:
    if text in each.names:
        return each.names[text]
    high = each.again or each.high
    if text.isdigit() and each.low <= int(text) <= high:
        return int(text)
    named = f", or {' '.join(each.names).upper()}" if each.names else ""
    raise each.refused(f"takes {each.low} to {high}{named}.")


def _not_understood(each: _Field, item: str) -> str:
    if re.match(r"r(\W|$)", item):
        return "has an R, which would be another time at each look: write H for a fixed time that spreads the load."
    if "w" in item and each is _FIELDS[_DAY]:
        return "has a W (nearest working day), which Prefect doesn't know: write a day."
    if "l" in item and each is _FIELDS[_DAY]:
        return "takes L, the last day of the month, only alone or in a list."
    if each is _FIELDS[_WEEKDAY] and ("l" in item or "#" in item):
        return "takes the last Friday as L5, the third as 5#3 (first to fifth), and no other forms with L or #."
    if "?" in item:
        return "takes no question mark here: write *."
    return "is not understood: it takes a value, a list (1,2), a range (1-5), a step (*/2), * or H."


def _check_days(day: str, month: str, weekday: str) -> None:
    """Refuse the days that never come, or that Prefect would leave out."""
    numbered = any(sign in weekday for sign in "#l")
    if numbered and not all(_NTH_WEEKDAY.fullmatch(item) for item in weekday.split(",")):
        raise _FIELDS[_WEEKDAY].refused("mixes plain days with numbered ones (5#3, L5): write one kind.")
    if day in {"*", "?"}:
        return
    if numbered:
        raise _FIELDS[_WEEKDAY].refused("takes 5#3 and L5 only while the day-of-month field is *.")
    every = croniter.expand(f"0 0 {day} {month} {weekday}")[0]
    days: set[int | str] = set(every[_DAY])
    numbers = sorted(each for each in days if isinstance(each, int))
    if ["*"] not in (every[_DAY], every[_WEEKDAY]) and any(
        len(every[at]) == _FIELDS[at].size for at in (_DAY, _WEEKDAY)
    ):
        # Cron's rule is *or*: every day of the one field makes the other meaningless.
        raise _FIELDS[_DAY].refused("or the day-of-week field names every day, so the other has no effect: write *.")
    months = set(range(1, 13)) if every[_MONTH] == ["*"] else {int(each) for each in every[_MONTH]}
    if numbers and "l" not in days and all(_LONGEST_MONTH[each] < numbers[0] for each in months):
        raise _FIELDS[_DAY].refused("names a day that never comes in the months named.")
    # Prefect's search for the next day steps from February to a day that it doesn't have, and so into March, past the
    # first days there; likewise past the last day of any month.
    if "l" in days and numbers and numbers[-1] > _SHORTEST_MONTH:
        raise _FIELDS[_DAY].refused(
            "has L with a day after the 28th, and Prefect would leave some out: write only one."
        )
    if {2, 3} <= months and numbers and any(_overshoot(numbers, last) > numbers[0] for last in (_SHORTEST_MONTH, 29)):
        raise _FIELDS[_DAY].refused(
            "would make Prefect leave out days at the start of March, because of days that February doesn't have: "
            "write L for the last day of each month, or no day after the 28th."
        )


def _overshoot(days: list[int], last: int) -> int:
    """How many days past a February of `last` days Prefect's search lands, from the last listed day in it."""
    return next((day - last for day in days if day >= last), 0)


@cache
def _zones() -> frozenset[str]:
    # Both of these stand in the zone files and mean no place; Prefect takes them and its scheduler then fails.
    return frozenset(available_timezones() - {"Factory", "localtime"})


def _refuse_timezone(timezone: str) -> None:
    meant = next((zone for zone in sorted(_zones()) if zone.lower() == timezone.strip().lower()), "Europe/Berlin")
    if not timezone:
        raise ScheduleError("timezone", "must not be empty.", "UTC")
    raise ScheduleError("timezone", "must be a name of the IANA time zone list, in its exact spelling.", meant)


# --- dates -----------------------------------------------------------------------------------------------------------


def _walls(cron: str, start: datetime, *, back: bool = False) -> Iterator[datetime]:
    """The wall times (naive) that a cron names after `start`, or before it."""
    search = croniter(cron, start)
    while True:
        yield search.get_prev(datetime) if back else search.get_next(datetime)


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def _due(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which Prefect starts what is due at a wall time: once, the first time, if it comes twice."""
    due = wall.replace(tzinfo=zone).astimezone(UTC)
    if _wall(due, zone) == wall:
        return due
    return wall.replace(tzinfo=zone, fold=_gap_fold()).astimezone(UTC)


def _exists(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether clocks show a wall time at all."""
    return _wall(wall.replace(tzinfo=zone).astimezone(UTC), zone) == wall


def _change(instant: datetime, zone: ZoneInfo) -> timedelta:
    """By how much clocks change within a day of an instant."""
    day = timedelta(days=1)
    return abs(_offset(instant + day, zone) - _offset(instant - day, zone))


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None  # noqa: S101 - an aware time has one
    return offset


# --- words -----------------------------------------------------------------------------------------------------------


def _spoken(each: _Field, content: str, values: _Values) -> str:
    """A field for the describing library, uneven steps as lists: it would call `*/45` "every 45 minutes"."""
    if values == ["*"]:
        return "*"
    whole = re.fullmatch(r"\*/(\d+)", content)
    if whole and _is_even(each, int(whole[1])):
        return content
    return ",".join(str(value) for value in values) if "/" in content or "l" in values else content


def _is_even(each: _Field, step: int) -> bool:
    """Whether steps through the whole field stay the same where it begins anew; months have no one length."""
    return each.size % step == 0 and (each is not _FIELDS[_DAY] or step == 1)


def _times(minute: str, hour: str, values: list[_Values]) -> str:
    few = len(values[_MINUTE]) * len(values[_HOUR]) <= (12 if "-" not in hour else 6)
    if few and "*" not in minute + hour:
        times = [f"{int(hour):02}:{int(minute):02}" for hour in values[_HOUR] for minute in values[_MINUTE]]
        return "at " + " and ".join(filter(None, [", ".join(times[:-1]), times[-1]]))
    text = _describe(minute, hour, "*", "*", "*")
    if match := re.fullmatch(r"at (.+) minutes? past the hour(?:, (.+))?", text):
        minutes, hours = match[1], match[2] or "every hour"
        hours = re.sub("^between", "every hour between", re.sub("^at ", "in the hours from ", hours))
        return f"{hours}, at minute{'s' if ' ' in minutes else ''} {minutes}"
    return f"{text}, at minute 0" if "hour" in text and "minute" not in text else text


def _days(day: str, month: str, weekday: str) -> str:
    # The library describes only one numbered weekday, and writes the last Friday as 5L.
    choices = weekday.split(",") if any(sign in weekday for sign in "#l") else [weekday]
    choices = [re.sub("^l(.)", r"\1L", choice) for choice in choices]
    texts = [_describe("0", "0", day.upper(), "*", choice).removeprefix("at 00:00") for choice in choices]
    months = _describe("0", "0", "*", month, "*").removeprefix("at 00:00")
    return " and".join([texts[0], *(text.removeprefix(",") for text in texts[1:])]) + months


@lru_cache(maxsize=10_000)  # the library takes 0.2 ms, and a controller's start describes every connector
def _describe(*fields: str) -> str:
    options = Options()
    options.use_24hour_time_format = True
    text = (
        str(get_description(" ".join(fields), options)).replace(", and ", " and ").replace(" L of", " the last day of")
    )
    return text[0].lower() + text[1:]


# --- warnings --------------------------------------------------------------------------------------------------------

_FIFTH = 5
_CLOSE = 5  # minutes between runs below which a user is asked whether that is meant


def _warnings_of_fields(cron: str) -> Iterator[str]:
    fields = cron.lower().split()
    values, numbered = croniter.expand(cron)
    if values[_DAY] != ["*"] and values[_WEEKDAY] != ["*"]:
        yield "Day of month and day of week are both given: it runs on each day that fits either of them, not both."
    minutes = list(range(60)) if values[_MINUTE] == ["*"] else [int(minute) for minute in values[_MINUTE]]
    following = minutes[1:] + ([minutes[0] + 60] if values[_HOUR] == ["*"] else [])
    closest = min((later - earlier for earlier, later in zip(minutes, following, strict=False)), default=60)
    if closest < _CLOSE:
        yield f"Runs are due only {closest} minute{'s' * (closest > 1)} apart: a longer load delays the next."
    for each, content in zip(_FIELDS, fields, strict=True):
        step = re.fullmatch(r"\*/(\d+)", content)
        if step and not _is_even(each, int(step[1])):
            yield f"The steps of {step[1]} in the {each.name} field begin anew at its end: the last gap is another one."
    days = [day for day in values[_DAY] if isinstance(day, int)]
    months = range(1, 13) if values[_MONTH] == ["*"] else values[_MONTH]
    shortest = min(_LONGEST_MONTH[int(month)] for month in months)
    if days and "l" not in values[_DAY] and days[0] > min(shortest, _SHORTEST_MONTH if 2 in months else 31):
        yield f"Where a month has no day {days[0]}, nothing runs by it; L stands for the last day of each month."
    if any(_FIFTH in numbers for numbers in numbered.values()):
        yield "Months without a fifth such weekday have no run; L5, for example, stands for the last Friday."


def _warnings_of_clocks(schedule: Schedule, after: datetime) -> Iterator[str]:
    zone = ZoneInfo(schedule.timezone)
    hourly = croniter.expand(schedule.cron)[0][_HOUR] == ["*"]
    for change in _changes(zone, after.astimezone(UTC)):
        old = _wall(change - timedelta(microseconds=1), zone) + timedelta(microseconds=1)
        new = _wall(change, zone)
        begin, end = min(old, new), max(old, new)
        walls = []
        for wall in _walls(schedule.cron, begin - timedelta(seconds=1)):
            if wall >= end:
                break
            walls.append(wall)
        if not walls:
            continue
        way = "forward" if new > old else "back"
        head = f"On {old.day} {old:%B %Y} clocks in {schedule.timezone} go {way} from {old:%H:%M} to {new:%H:%M}: "
        if new < old:
            pause = (_due(wall, zone) - _due(walls[-1], zone)) // timedelta(minutes=1)
            gap = f", and after {walls[-1]:%H:%M} the next is at {wall:%H:%M}, {pause} minutes later" if hourly else ""
            yield f"{head}what is due {_said(walls)} starts once, the first time{gap}."
            continue
        starts = {wall: _wall(_due(wall, zone), zone) for wall in walls}
        named = [wall for wall in walls if croniter.match(schedule.cron, starts[wall])]
        moved = [wall for wall in walls if wall not in named]
        if moved:
            yield f"{head}what is due {_said(moved)} starts {_said(starts[wall] for wall in moved)}."
        if named and not hourly:
            there = _said(starts[wall] for wall in named)
            yield f"{head}what is due {_said(named)} is left out, for it would start {there}, as a run does anyway."


def _said(times: Iterable[datetime]) -> str:
    first, *_, last = [f"{time:%H:%M}" for time in times for _ in range(2)]
    return f"at {first}" if first == last else f"from {first} to {last}"


def _changes(zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """The instants in the year from `after` on at which the zone's offset from UTC changes."""
    days = [after + timedelta(days=day) for day in range(367)]
    for morning, evening in pairwise(days):
        low, high, offset = morning, evening, _offset(morning, zone)
        if _offset(high, zone) == offset:
            continue
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) / 2
            low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
        yield high.replace(microsecond=0)
