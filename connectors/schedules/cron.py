"""Cron texts: read into a schedule that Prefect runs as it reads, or refused in a sentence.

Prefect takes texts that it then runs wrongly or never (`5-1`, `*/61`, 30 February, `1,30` in February). A business
user would learn of that from data that isn't there, so everything that doesn't run as it reads is refused here. What
is accepted runs identically in croniter and in the older copy of it inside Prefect. Pure: no I/O but the time zone
files, and no clock.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from zoneinfo import available_timezones

from croniter import croniter

from connectors.schedules.fields import DAY, FIELDS, LONGEST_MONTH, MONTH, SHORTEST_MONTH, WEEKDAY, Field


class ScheduleField(StrEnum):
    """The column that a refusal is about."""

    SCHEDULE = "schedule"
    TIMEZONE = "timezone"


class ScheduleError(ValueError):
    """A schedule or time zone that can't be accepted: `str()` is the user's sentence, `field` what it is about.

    The sentence doesn't repeat what was refused: it may be a secret put into the wrong field.
    """

    def __init__(self, field: ScheduleField, reason: str, example: str) -> None:
        super().__init__(f"{field}: {reason} For example: {example}")
        self.field = field


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a connector runs: five cron fields as Prefect gets them, and the IANA time zone that they are read in."""

    cron: str
    timezone: str


_EVERY_DAY = "0 6 * * *"
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


def parse(cron: str, timezone: str, connector_id: int) -> Schedule:
    """The schedule of a connector, with `@names` expanded and `H` resolved for this connector's id.

    Anything else in the text stays as the user wrote it, trimmed. Raises `ScheduleError`.
    """
    text = cron.strip(" \t\r\n")
    fields = _split(text)
    text = _ALIASES.get(text.lower(), text)
    resolved = [_resolve(*pair, connector_id) for pair in zip(FIELDS, fields, strict=True)]
    for each, content in zip(FIELDS, resolved, strict=True):
        _check(each, content)
    _check_days(*resolved[DAY:])
    if timezone not in _zones():
        _refuse_timezone(timezone)
    changes = iter(zip(fields, resolved, strict=True))

    def replaced(written: re.Match[str]) -> str:
        before, after = next(changes)
        return written[0] if before == after else after

    return Schedule(re.sub(r"[^ \t]+", replaced, text), timezone)


def _refused(each: Field, reason: str) -> ScheduleError:
    return ScheduleError(ScheduleField.SCHEDULE, f"the {each.name} field {reason}", each.example)


def _split(text: str) -> list[str]:
    """The five fields in lower case, `@names` expanded."""

    def refused(reason: str) -> ScheduleError:
        return ScheduleError(ScheduleField.SCHEDULE, reason, _EVERY_DAY)

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
    if len(fields) == len(FIELDS) + 1:
        raise refused(f"has six fields, and schedules here have no seconds: write five, which are {shape}.")
    if len(fields) == len(FIELDS) + 2:
        raise refused(f"has seven fields, and schedules here have neither seconds nor years: write five ({shape}).")
    if len(fields) != len(FIELDS):
        raise refused(f"must have five fields with spaces between: {shape}.")
    return fields


def _resolve(each: Field, content: str, connector_id: int) -> str:
    """The content with `H` resolved by the connector's id: to a value, or with a step to where the steps begin."""
    if not re.search(r"(?<![a-z])h(?![a-z])", content):
        return content
    match = _SPREAD.fullmatch(content)
    if not match:
        raise _refused(each, "takes H only alone, as H, H/2, H(1-5) or H(1-5)/2.")
    last = each.high if each.spread_high is None else each.spread_high
    low, high = (each.low, last) if match[1] is None else (int(match[1]), int(match[2]))
    if not each.low <= low < high <= last:
        raise _refused(each, f"takes H in a range that goes up, from {each.low} to {last}.")
    if match[3] is None:
        return str(low + _slot(each, connector_id, high - low + 1))
    step, most = int(match[3]), (high - low + 1) // 2
    if not 1 <= step <= most:
        raise _refused(each, f"takes H here in steps of 1 to {most}, so that it comes at least twice.")
    start = low + _slot(each, connector_id, step)
    return (
        f"*/{step}" if start == each.low and match[1] is None and each.spread_high is None else f"{start}-{high}/{step}"
    )


def _slot(each: Field, connector_id: int, slots: int) -> int:
    # In fixed point, so that ids of any size stay exact: the fraction has 64 bits.
    fraction = connector_id * int(each.step * 2**64) % 2**64
    return fraction * slots >> 64


def _check(each: Field, content: str) -> None:
    """Refuse what this field can't hold, or what doesn't mean in Prefect what it says."""
    if content == "?" and each.name.startswith("day"):
        return
    for item in content.split(","):
        if each is FIELDS[DAY] and item == "l":
            continue
        if each is FIELDS[WEEKDAY] and (nth := _NTH_WEEKDAY.fullmatch(item)):
            if nth["day"]:
                _value(each, nth["day"])
            continue
        _check_item(each, item, alone=item == content)


def _check_item(each: Field, item: str, *, alone: bool) -> None:
    match = _ITEM.fullmatch(item)
    if not match:
        raise _refused(each, _not_understood(each, item))
    low, high, step = match["low"], match["high"], match["step"]
    if low == "*":
        if high is not None:
            raise _refused(each, "has a * in a range: write numbers.")
        if step is None and not alone:
            raise _refused(each, "has a * in a list, which is every value already: write the * alone, or leave it out.")
        first, last = each.low, each.high
    else:
        first = last = _value(each, low)
        if high is not None:
            # The week may end on Sunday: FRI-SUN is 5-7.
            last = each.again if each.again and high == "sun" else _value(each, high)
            if first > last:
                raise _refused(each, "has a range that goes backwards: write it as two, with a comma between.")
            if first == last:
                raise _refused(
                    each, "has a range from a value to itself, which would run at all of them: write it once."
                )
        elif step is not None:
            last = each.high
    if step is not None and not 1 <= int(step) <= max(last - first, 0):
        raise _refused(each, "has a step that is zero or leads beyond the end, so that it would never be taken.")


def _value(each: Field, text: str) -> int:
    if text in each.names:
        return each.names[text]
    high = each.again or each.high
    if text.isdigit() and each.low <= int(text) <= high:
        return int(text)
    named = f", or {' '.join(each.names).upper()}" if each.names else ""
    raise _refused(each, f"takes {each.low} to {high}{named}.")


def _not_understood(each: Field, item: str) -> str:
    if re.match(r"r(\W|$)", item):
        return "has an R, which would be another time at each look: write H for a fixed time that spreads the load."
    if "w" in item and each is FIELDS[DAY]:
        return "has a W (nearest working day), which Prefect doesn't know: write a day."
    if "l" in item and each is FIELDS[DAY]:
        return "takes L, the last day of the month, only alone or in a list."
    if each is FIELDS[WEEKDAY] and ("l" in item or "#" in item):
        return "takes the last Friday as L5, the third as 5#3 (first to fifth), and no other forms with L or #."
    if "?" in item:
        return "takes no question mark here: write *."
    return "is not understood: it takes a value, a list (1,2), a range (1-5), a step (*/2), * or H."


def _check_days(day: str, month: str, weekday: str) -> None:
    """Refuse the days that never come, or that Prefect would leave out."""
    numbered = any(sign in weekday for sign in "#l")
    if numbered and not all(_NTH_WEEKDAY.fullmatch(item) for item in weekday.split(",")):
        raise _refused(FIELDS[WEEKDAY], "mixes plain days with numbered ones (5#3, L5): write one kind.")
    if day in {"*", "?"}:
        return
    if numbered:
        raise _refused(FIELDS[WEEKDAY], "takes 5#3 and L5 only while the day-of-month field is *.")
    every = croniter.expand(f"0 0 {day} {month} {weekday}")[0]
    days: set[int | str] = set(every[DAY])
    numbers = sorted(each for each in days if isinstance(each, int))
    if ["*"] not in (every[DAY], every[WEEKDAY]) and any(len(every[at]) == FIELDS[at].size for at in (DAY, WEEKDAY)):
        # Cron's rule is *or*: every day of the one field makes the other meaningless.
        raise _refused(FIELDS[DAY], "or the day-of-week field names every day, so the other has no effect: write *.")
    months = set(range(1, 13)) if every[MONTH] == ["*"] else {int(each) for each in every[MONTH]}
    if numbers and "l" not in days and all(LONGEST_MONTH[each] < numbers[0] for each in months):
        raise _refused(FIELDS[DAY], "names a day that never comes in the months named.")
    # Prefect's search for the next day steps from February to a day that it doesn't have, and so into March, past the
    # first days there; likewise past the last day of any month.
    if "l" in days and numbers and numbers[-1] > SHORTEST_MONTH:
        raise _refused(
            FIELDS[DAY], "has L with a day after the 28th, and Prefect would leave some out: write only one."
        )
    if {2, 3} <= months and numbers and any(_overshoot(numbers, last) > numbers[0] for last in (SHORTEST_MONTH, 29)):
        raise _refused(
            FIELDS[DAY],
            "would make Prefect leave out days at the start of March, because of days that February doesn't have: "
            "write L for the last day of each month, or no day after the 28th.",
        )


def _overshoot(days: list[int], last: int) -> int:
    """How many days past a February of `last` days Prefect's search lands, from the last listed day in it."""
    return next((day - last for day in days if day >= last), 0)


@cache
def _zones() -> frozenset[str]:
    # Both of these stand in the zone files and mean no place; Prefect takes them and its scheduler then fails.
    return frozenset(available_timezones() - {"Factory", "localtime"})


def is_timezone(name: str) -> bool:
    """Whether this names a time zone, in its exact spelling."""
    return name in _zones()


def _refuse_timezone(timezone: str) -> None:
    meant = next((zone for zone in sorted(_zones()) if zone.lower() == timezone.strip().lower()), "Europe/Berlin")
    if not timezone:
        raise ScheduleError(ScheduleField.TIMEZONE, "must not be empty.", "UTC")
    raise ScheduleError(
        ScheduleField.TIMEZONE, "must be a name of the IANA time zone list, in its exact spelling.", meant
    )
