"""Quiet hours: on the clock of a zone, over midnight, by weekday, one within another, and through summer time."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from connectors.refusals import from_pydantic
from connectors.sources.asking.quiet_hours import AllQuietHours, end_of_quiet

WINDOWS: TypeAdapter[Any] = TypeAdapter(AllQuietHours)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NIGHT = {"start": "22:00", "end": "06:00"}


@pytest.mark.parametrize(
    ("windows", "timezone", "now", "end"),
    [
        ([NIGHT], "UTC", "2024-01-10T21:59", None),
        ([NIGHT], "UTC", "2024-01-10T22:00", "2024-01-11T06:00"),
        ([NIGHT], "UTC", "2024-01-10T05:59", "2024-01-10T06:00"),
        ([NIGHT], "UTC", "2024-01-10T06:00", None),
        ([NIGHT], "Europe/Berlin", "2024-01-10T21:00", "2024-01-11T05:00"),
        ([NIGHT | {"timezone": "Europe/Berlin"}], "UTC", "2024-01-10T21:00", "2024-01-11T05:00"),
        # Friday's night ends on Saturday; Saturday's is none.
        ([NIGHT | {"days": ["fri"]}], "UTC", "2024-01-13T01:00", "2024-01-13T06:00"),
        ([NIGHT | {"days": ["fri"]}], "UTC", "2024-01-13T23:00", None),
        # One ends within another.
        ([NIGHT, {"start": "05:00", "end": "08:00"}], "UTC", "2024-01-10T23:00", "2024-01-11T08:00"),
        # The night in which summer time begins has an hour less.
        ([NIGHT], "Europe/Berlin", "2024-03-30T22:00", "2024-03-31T04:00"),
        # An end that no clock shows is the hour after.
        ([{"start": "01:00", "end": "02:30"}], "Europe/Berlin", "2024-03-31T00:30", "2024-03-31T01:30"),
        ([], "UTC", "2024-01-10T23:00", None),
    ],
)
def test_a_source_may_be_asked_again_at_their_end(windows: list[Any], timezone: str, now: str, end: str | None) -> None:
    found = end_of_quiet(WINDOWS.validate_python(windows), at(now), timezone)
    assert found == (None if end is None else at(end))


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ([{"start": "22", "end": "06:00"}], "0.start must be a time of day"),
        ([{"start": "06:00", "end": "24:00"}], "0.end must be a time of day"),
        ([{"start": "06:00", "end": "06:00"}], "0.end must differ from start"),
        ([NIGHT | {"timezone": "berlin"}], "0.timezone must be the name of a time zone"),
        ([NIGHT | {"days": ["Monday"]}], "0.days.0"),
        ([NIGHT, {"start": "06:00", "end": "22:00"}], "must leave an hour in the week"),
    ],
)
def test_what_is_no_window_is_refused(windows: list[Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WINDOWS.validate_python(windows)
    assert words in from_pydantic(caught.value, "quiet_hours")[0].message
