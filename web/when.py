"""Schedules as people say them: by hours, days or weekdays, and as a cron text for whoever wants one. Pure."""

import re
from collections.abc import Mapping
from enum import StrEnum

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class How(StrEnum):
    """Ways to say when."""

    NEVER = "never"
    HOURLY = "hourly"
    HOURS = "hours"
    DAILY = "daily"
    DAYS = "days"
    CRON = "cron"


SAID = {
    How.HOURLY: "Every hour",
    How.HOURS: "Every few hours",
    How.DAILY: "Every day",
    How.DAYS: "On some days of the week",
    How.CRON: "By a cron text",
    How.NEVER: "Only when somebody starts it",
}


def cron_of(sent: Mapping[str, str]) -> str | None:
    """The cron text that a filled-in form means; None for never.

    Minutes that nobody chose are `H`: the controller spreads connectors over the hour. What cannot be read stays in the
    text as it was typed, for the schedule's own sentence says what is wrong with it.
    """
    hour, minute = _time(sent.get("when.time", ""))
    match sent.get("when.how"):
        case How.NEVER:
            return None
        case How.HOURS:
            return f"H */{sent.get('when.hours', '').strip() or '4'} * * *"
        case How.DAILY:
            return f"{minute} {hour} * * *"
        case How.DAYS:
            days = [str((place + 1) % 7) for place, day in enumerate(DAYS) if sent.get(f"when.day.{day}")]
            return f"{minute} {hour} * * {','.join(days) or '1'}"
        case How.CRON:
            return sent.get("when.cron", "").strip()
        case _:
            return "H * * * *"


def _time(text: str) -> tuple[str, str]:
    found = re.fullmatch(r"(\d{1,2}):(\d{2})", text.strip())
    return (str(int(found[1])), str(int(found[2]))) if found else ("5", "H")


def form_of(cron: str | None) -> dict[str, str]:
    """The form that says this cron text, as `cron_of` reads it; a text that has no simpler form stays a cron text."""
    if cron is None:
        return {"when.how": How.NEVER}
    if cron == "H * * * *":
        return {"when.how": How.HOURLY}
    if found := re.fullmatch(r"H \*/(\d{1,2}) \* \* \*", cron):
        return {"when.how": How.HOURS, "when.hours": found[1]}
    if found := re.fullmatch(r"(\d{1,2}) (\d{1,2}) \* \* (\*|[0-6](,[0-6])*)", cron):
        time = {"when.time": f"{int(found[2]):02}:{int(found[1]):02}"}
        if found[3] == "*":
            return {"when.how": How.DAILY, **time}
        days = {f"when.day.{DAYS[(int(day) - 1) % 7]}": "on" for day in found[3].split(",")}
        return {"when.how": How.DAYS, **time, **days}
    return {"when.how": How.CRON, "when.cron": cron}
