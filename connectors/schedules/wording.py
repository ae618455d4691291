"""Wording of a schedule: what a person calls it, such as `every 4 hours, at minute 0 (UTC)`. Pure."""

import re
from functools import lru_cache

from cron_descriptor import Options, get_description  # type: ignore[import-untyped]
from croniter import croniter

from connectors.schedules.cron import Schedule
from connectors.schedules.fields import FIELDS, HOUR, MINUTE, Field, Values, is_even


@lru_cache(maxsize=10_000)
def words(schedule: Schedule) -> str:
    """The schedule as a person says it, with its time zone: `every 4 hours, at minute 0 (UTC)`."""
    values = croniter.expand(schedule.cron)[0]
    fields = zip(FIELDS, schedule.cron.lower().split(), values, strict=True)
    minute, hour, *days = [_spoken(*each) for each in fields]
    times = _times(minute, hour, values)
    if times.startswith("at ") and days[0] == days[2] == "*":  # "at 02:00" alone might be once
        times = f"every day {times}"
    return f"{times}{_days(*days)} ({schedule.timezone})"


def _spoken(each: Field, content: str, values: Values) -> str:
    """A field for the describing library, uneven steps as lists: it would call `*/45` "every 45 minutes"."""
    if values == ["*"]:
        return "*"
    whole = re.fullmatch(r"\*/(\d+)", content)
    if whole and is_even(each, int(whole[1])):
        return content
    return ",".join(str(value) for value in values) if "/" in content or "l" in values else content


def _times(minute: str, hour: str, values: list[Values]) -> str:
    few = len(values[MINUTE]) * len(values[HOUR]) <= (12 if "-" not in hour else 6)
    if few and "*" not in minute + hour:
        times = [f"{int(hour):02}:{int(minute):02}" for hour in values[HOUR] for minute in values[MINUTE]]
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
