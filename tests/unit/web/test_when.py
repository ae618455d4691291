"""Schedules as people say them are cron texts and back."""

import pytest

from web.when import cron_of, form_of


@pytest.mark.parametrize(
    ("sent", "cron"),
    [
        ({"when.how": "never"}, None),
        ({"when.how": "hourly"}, "H * * * *"),
        ({"when.how": "hours", "when.hours": "6"}, "H */6 * * *"),
        ({"when.how": "daily", "when.time": "06:05"}, "5 6 * * *"),
        ({"when.how": "days", "when.time": "23:30", "when.day.Monday": "on", "when.day.Sunday": "on"}, "30 23 * * 1,0"),
        ({"when.how": "cron", "when.cron": " 30 6 * * 1-5 "}, "30 6 * * 1-5"),
        ({}, "H * * * *"),
        ({"when.how": "hours", "when.hours": "many"}, "H */many * * *"),
    ],
)
def test_what_is_said_is_a_cron_text(sent: dict[str, str], cron: str | None) -> None:
    assert cron_of(sent) == cron


@pytest.mark.parametrize("cron", [None, "H * * * *", "H */6 * * *", "5 6 * * *", "30 23 * * 1,0", "*/5 1 * * 1-5"])
def test_a_cron_text_comes_back_as_it_is(cron: str | None) -> None:
    assert cron_of(form_of(cron)) == cron
