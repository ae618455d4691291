"""Times by the clock on REDCap's wall: nothing from a moment on is missed, in any zone, by any change of the clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.redcap.clocks import FORMAT, not_after, not_after_by_log, not_before

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC", "Pacific/Apia"]
moments = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001


def shown(moment: datetime, place: ZoneInfo) -> str:
    return moment.astimezone(place).strftime(FORMAT)


@given(moments, st.timedeltas(timedelta(0), timedelta(days=3)), st.sampled_from(ZONES))
def test_no_change_after_a_moment_has_a_wall_time_before_it(since: datetime, later: timedelta, zone: str) -> None:
    assert not_after(since, zone) < shown(since + later, ZoneInfo(zone))
    assert not_after(since) < shown(since + later, ZoneInfo(zone))
    assert not_before(since + later, zone) > shown(since, ZoneInfo(zone))
    assert not_before(since + later) > shown(since, ZoneInfo(zone))


@pytest.mark.parametrize(
    ("zone", "set_at"),
    [
        ("Europe/Berlin", datetime(2024, 10, 27, 1, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2024, 3, 31, 1, tzinfo=UTC)),
        ("America/New_York", datetime(2024, 11, 3, 6, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2024, 4, 6, 15, tzinfo=UTC)),
    ],
)
def test_nothing_is_missed_around_the_moment_at_which_a_clock_is_set(zone: str, set_at: datetime) -> None:
    place = ZoneInfo(zone)
    for first in range(-200, 60, 7):
        since = set_at + timedelta(minutes=first)
        for later in range(0, 300, 4):
            then = since + timedelta(minutes=later)
            assert not_after(since, zone) < shown(then, place)
            assert not_before(then + timedelta(seconds=1), zone) > shown(since, place)


def test_the_hour_that_comes_twice_is_asked_for_in_both_its_turns() -> None:
    # 02:50 in summer, ten minutes before the clock is set back to 02:00.
    assert not_after(datetime(2024, 10, 27, 0, 50, tzinfo=UTC), "Europe/Berlin") == "2024-10-27 01:59:59"
    assert not_after(datetime(2024, 7, 1, 10, tzinfo=UTC), "Europe/Berlin") == "2024-07-01 11:44:59"


@pytest.mark.parametrize("hours", [-12, -5, 0, 5.5, 14])
@pytest.mark.parametrize("quiet", [0, 3, 30])
def test_the_last_entry_of_a_log_tells_how_far_its_clock_is_ahead_and_never_more(hours: float, quiet: float) -> None:
    now, since = datetime(2024, 6, 2, 12, tzinfo=UTC), datetime(2024, 6, 2, 11, tzinfo=UTC)
    ahead = timedelta(hours=hours)
    stamps = [f"{now + ahead - timedelta(hours=each):%Y-%m-%d %H:%M}" for each in (quiet, quiet + 1)]
    begin = not_after_by_log(since, stamps, now)
    assert begin is not None
    assert begin < (since + ahead).strftime(FORMAT)
    if not quiet:
        assert begin == f"{since + ahead - timedelta(hours=1):%Y-%m-%d %H:%M}"


def test_a_log_without_an_entry_tells_nothing() -> None:
    assert not_after_by_log(datetime(2024, 1, 1, tzinfo=UTC), [], datetime(2024, 1, 1, tzinfo=UTC)) is None
