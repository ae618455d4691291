"""Schedules: refused in sentences, spread evenly, and equal to what the installed Prefect runs."""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.schedules.cron import Schedule, ScheduleError, parse
from connectors.schedules.dates import next_runs, previous_run
from connectors.schedules.warnings import warnings
from connectors.schedules.wording import words

NEW_YORK = "America/New_York"
NOVEMBER = datetime(2026, 11, 24, 12, tzinfo=UTC)


# --- refusals --------------------------------------------------------------------------------------------------------

REFUSED = [
    ("", "must not be empty"),
    (" \t\n", "must not be empty"),
    ("61 * * * *", "minute field takes 0 to 59"),
    ("0 24 * * *", "hour field takes 0 to 23"),
    ("0 0 0 * *", "day-of-month field takes 1 to 31"),
    ("0 0 32 * *", "day-of-month field takes 1 to 31"),
    ("0 0 1 13 *", "month field takes 1 to 12"),
    ("0 0 1 FOO *", "month field takes 1 to 12, or JAN FEB"),
    ("0 0 * * 8", "day-of-week field takes 0 to 7, or SUN MON"),
    ("* * * *", "five fields"),
    ("hello", "five fields"),
    ("0 0 12 * * ?", "six fields"),
    ("0 0 12 * * 1 2026", "seven fields"),
    ("1 2 3 4 5 6 7 8", "five fields"),
    ("0 0 30 2 *", "never comes"),
    ("0 0 31 FEB,APR,JUN *", "never comes"),
    ("0 0 30 2 1", "never comes"),
    ("*/61 * * * *", "step"),
    ("*/60 * * * *", "step"),
    ("0 */24 * * *", "step"),
    ("0 0 * * */7", "step"),
    ("*/0 * * * *", "step"),
    ("59/15 * * * *", "step"),
    ("1-5/5 * * * *", "step"),
    ("5-1 * * * *", "backwards"),
    ("5-4 * * * *", "backwards"),
    ("0 0 1 NOV-FEB *", "backwards"),
    ("0 0 * * SAT-MON", "backwards"),
    ("0 0 * * 5-0", "backwards"),
    ("5-5 * * * *", "range from a value to itself"),
    ("0 0 * * MON-MON", "range from a value to itself"),
    ("*,5 * * * *", "in a list"),
    ("*-5 * * * *", "in a range"),
    ("-1 * * * *", "not understood"),
    ("1,,2 * * * *", "not understood"),
    ("1.5 * * * *", "not understood"),
    ("? * * * *", "question mark"),
    ("R * * * *", "write H"),
    ("R(0-10) * * * *", "write H"),
    ("0 R/4 * * *", "write H"),
    ("H,30 * * * *", "H only alone"),
    ("H-5 * * * *", "H only alone"),
    ("H(30-0) * * * *", "range that goes up"),
    ("H(0-60) * * * *", "from 0 to 59"),
    ("0 0 H(1-31) * *", "from 1 to 28"),
    ("H/31 * * * *", "steps of 1 to 30"),
    ("H(0-29)/0 * * * *", "steps of 1 to 15"),
    ("0 0 15W * *", "nearest working day"),
    ("0 0 1-L * *", "only alone or in a list"),
    ("0 0 * * L", "L5"),
    ("0 0 * * 5L", "L5"),
    ("0 0 * * MON-FRI#2", "5#3"),
    ("0 0 * * 5#6", "5#3"),
    ("0 0 * * FOO#1", "day-of-week field takes"),
    ("0 0 * * 1,2#3", "mixes"),
    ("0 0 1 * 5#3", "only while the day-of-month field is"),
    ("0 0 1-31 * 1", "every day"),
    ("0 0 13 * 0-6", "every day"),
    ("@reboot", "@reboot"),
    ("@REBOOT", "@reboot"),
    ("CRON_TZ=Europe/Berlin 0 2 * * *", "holds the time zone Europe/Berlin: write that as timezone"),
    ("TZ=UTC 0 2 * * *", "holds the time zone UTC: write that as timezone"),
    ("@every_minute", "@hourly, @daily"),
    ("\uff10 0 * * *", "plain letters"),
    ("0 6 * * *\u00a0", "plain letters"),
    ("0 6\n* * *", "one line"),
    ("0 6\x1c* * *", "one line"),
    (",".join(["1"] * 200) + " * * * *", "at most 200 characters"),
    ("9" * 190 + " * * * *", "not understood"),
]


@pytest.mark.parametrize(("cron", "says"), REFUSED)
def test_what_would_not_run_as_it_reads_is_refused_with_the_field_and_a_valid_example(cron: str, says: str) -> None:
    with pytest.raises(ScheduleError) as refusal:
        parse(cron, "UTC", 1)
    sentence = str(refusal.value)
    assert refusal.value.field == "schedule"
    assert sentence.startswith("schedule: ")
    assert says in sentence
    parse(sentence.rpartition("For example: ")[2], "UTC", 1)


@pytest.mark.parametrize(
    "timezone", ["", "europe/berlin", "Europe/Berlin ", "UTC+2", "Mars/Olympus", "Factory", "localtime"]
)
def test_a_time_zone_that_prefect_cannot_run_is_refused_with_a_valid_example(timezone: str) -> None:
    with pytest.raises(ScheduleError) as refusal:
        parse("0 6 * * *", timezone, 1)
    assert refusal.value.field == "timezone"
    assert str(refusal.value).startswith("timezone: ")
    parse("0 6 * * *", str(refusal.value).rpartition("For example: ")[2], 1)


def test_a_refusal_does_not_repeat_what_may_be_a_secret() -> None:
    for cron, timezone in (
        ("hunter2 * * * *", "UTC"),
        ("hunter2", "UTC"),
        ("0 6 * * *", "hunter2"),
        ("@hunter2", "UTC"),
    ):
        with pytest.raises(ScheduleError) as refusal:
            parse(cron, timezone, 1)
        assert "hunter2" not in str(refusal.value)


# --- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "given_to_prefect"),
    [
        ("  0 6 * * *\n", "0 6 * * *"),
        ("0  6\t* * mon-FRI", "0  6\t* * mon-FRI"),
        ("@hourly", "0 * * * *"),
        ("@Daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 L * *", "0 0 L * *"),
        ("0 0 1,15,L * *", "0 0 1,15,L * *"),
        ("0 0 */2 * *", "0 0 */2 * *"),
        ("0 0 * * 7", "0 0 * * 7"),
        ("0 0 * * FRI-SUN", "0 0 * * FRI-SUN"),
        ("0 12 ? * MON#1,MON#3", "0 12 ? * MON#1,MON#3"),
        ("0 12 * * L5", "0 12 * * L5"),
        ("5/15 * * * *", "5/15 * * * *"),
        ("H  6 * * THU", "37  6 * * THU"),
        ("H H(0-5) * * *", "37 4 * * *"),
        ("0 0 h * *", "0 0 12 * *"),
        ("H/15 * * * *", "9-59/15 * * * *"),
        ("H/1 * * * *", "*/1 * * * *"),
    ],
)
def test_only_names_with_an_at_and_h_are_rewritten(written: str, given_to_prefect: str) -> None:
    assert parse(written, NEW_YORK, 1) == Schedule(given_to_prefect, NEW_YORK)


def test_ten_thousand_rows_are_parsed_in_three_seconds() -> None:
    started = process_time()
    for connector in range(1_000):
        parse("H */4 1,15 * *", "Europe/Berlin", connector)
    assert process_time() - started < 0.3


# --- spreading -------------------------------------------------------------------------------------------------------


def slots(cron: str, connectors: Iterable[int]) -> list[tuple[int, ...]]:
    return [tuple(int(part) for part in re.findall(r"\d+", parse(cron, "UTC", each).cron)) for each in connectors]


def worst(found: list[tuple[int, ...]], window: int = 1_000) -> int:
    """The most connectors in one slot, over every run of `window` consecutive entries."""
    counts = Counter(found[:window])
    most = max(counts.values())
    for leaving, entering in zip(found, found[window:], strict=False):
        counts[leaving] -= 1
        counts[entering] += 1
        most = max(most, counts[entering])
    return most


@pytest.mark.parametrize(
    ("first", "stride", "most"), [(1, 1, 18), (10**12, 1, 18), (2**62, 1, 18), (1, 2, 18), (1, 3, 19)]
)
def test_a_thousand_hourly_connectors_start_evenly_whatever_their_first_id(first: int, stride: int, most: int) -> None:
    assert worst(slots("H * * * *", range(first, first + 3_000 * stride, stride))) <= most  # 18 is 1.08 of the mean


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_several_h_fields_spread_jointly_and_each(stride: int) -> None:
    found = slots("H H * * *", range(1, 3_000 * stride, stride))
    assert worst(found) <= 2  # of 1,440 minutes of a day
    assert worst([(minute,) for minute, _ in found]) <= 19
    assert worst([(hour,) for _, hour in found]) <= 46  # the mean is 41.7
    weekly = slots("H H * * H", range(1, 3_000 * stride, stride))
    assert worst(weekly) <= 2
    assert worst([(weekday,) for *_, weekday in weekly]) <= 148  # the mean is 142.9


@given(st.integers(1, 2**63 - 1), st.sampled_from(["H(7-31) * * * *", "H(0-29)/10 H/6 H H(3-9) H", "H H H/7 * *"]))
def test_h_stays_in_its_range_and_is_the_same_at_each_look(connector: int, cron: str) -> None:
    schedule = parse(cron, "UTC", connector)
    assert schedule == parse(cron, "UTC", connector) == parse(schedule.cron, "UTC", 0)
    if cron.startswith("H(7"):
        assert 7 <= int(schedule.cron.split()[0]) <= 31


# --- Prefect runs the same -------------------------------------------------------------------------------------------


# --- the runs around a time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "at"), [("*/20 2 * * *", "2026-10-03T16:10:00Z"), ("*/20 2 * * 0", "2026-10-07T16:10:00Z")]
)
def test_the_last_run_before_a_time_may_be_one_that_a_gap_has_moved_behind_a_later_one(cron: str, at: str) -> None:
    schedule = parse(cron, "Australia/Lord_Howe", 1)
    moment = datetime.fromisoformat(at)
    expected = max(run for run in next_runs(schedule, moment - timedelta(days=5), 50) if run <= moment)
    assert previous_run(schedule, moment) == expected


def test_a_run_that_is_due_at_the_moment_itself_is_the_previous_one() -> None:
    daily = parse("0 6 * * *", NEW_YORK, 1)
    eve = datetime(2027, 3, 13, 6, tzinfo=ZoneInfo(NEW_YORK))
    assert previous_run(daily, eve) == eve
    assert previous_run(daily, eve - timedelta(seconds=1)) == eve - timedelta(days=1)


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 */4 * * *", "every 4 hours, at minute 0"),
        ("37 */4 * * *", "every 4 hours, at minute 37"),
        ("0 2 * * *", "every day at 02:00"),
        ("0  2\t* * *", "every day at 02:00"),
        ("0 2 ? * *", "every day at 02:00"),
        ("0 2 */1 * *", "every day at 02:00"),
        ("0 2 1-31 * *", "every day at 02:00"),
        ("0 2 * JAN *", "every day at 02:00, only in January"),
        ("30 2 * * 1-5", "at 02:30, Monday through Friday"),
        ("0 * * * *", "every hour, at minute 0"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("H/15 * * * *", "every hour, at minutes 9, 24, 39 and 54"),
        ("*/45 * * * *", "every hour, at minutes 0 and 45"),
        ("0 */5 * * *", "every day at 00:00, 05:00, 10:00, 15:00 and 20:00"),
        ("0 9-17 * * *", "every hour between 09:00 and 17:59, at minute 0"),
        ("*/10 9-17 * * *", "every 10 minutes, between 09:00 and 17:59"),
        ("30 2,3 * * *", "every day at 02:30 and 03:30"),
        ("0 0 */7 * *", "at 00:00, on day 1, 8, 15, 22 and 29 of the month"),
        ("0 0 L,1 * *", "at 00:00, on day 1 and the last day of the month"),
        ("0 9 * * 5#3", "at 09:00, on the third Friday of the month"),
        ("0 9 * * MON#1,1#3", "at 09:00, on the first Monday of the month and on the third Monday of the month"),
        ("0 9 * jan L5", "at 09:00, on the last Friday of the month, only in January"),
        ("0 0 13 * 5", "at 00:00, on day 13 of the month, or on Friday"),
        ("0 0 * * FRI-SUN", "at 00:00, Friday through Sunday"),
        ("0 0 * * */2", "at 00:00, only on Sunday, Tuesday, Thursday and Saturday"),
        ("0 0 29 2 *", "at 00:00, on day 29 of the month, only in February"),
    ],
)
def test_words_say_what_runs(cron: str, said: str) -> None:
    assert words(parse(cron, NEW_YORK, 1)) == f"{said} ({NEW_YORK})"


# --- warnings --------------------------------------------------------------------------------------------------------


def test_a_run_that_falls_together_with_another_is_announced() -> None:
    left_out = [each for each in warnings(parse("30 1-4 * * *", NEW_YORK, 1), NOVEMBER) if "14 March 2027" in each]
    assert len(left_out) == 1
    assert "what is due at 02:30 is left out" in left_out[0]


def test_the_pause_in_the_hour_that_comes_twice_is_announced() -> None:
    (warning,) = warnings(parse("*/15 * * * *", NEW_YORK, 1), NOVEMBER)
    assert warning == (
        "On 7 November 2027 clocks in America/New_York go back from 02:00 to 01:00: what is due from 01:00 to 01:45 "
        "starts once, the first time, and after 01:45 the next is at 02:00, 75 minutes later."
    )


@pytest.mark.parametrize("timezone", ["UTC", "Asia/Kathmandu"])
def test_a_zone_without_changes_of_clocks_has_no_warning(timezone: str) -> None:
    assert warnings(parse("30 2 * * *", timezone, 1), NOVEMBER) == []


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("0 6 13 * FRI", "either of them"),
        ("*/2 * * * *", "only 2 minutes apart"),
        ("0,58 * * * *", "only 2 minutes apart"),
        ("*/45 * * * *", "steps of 45"),
        ("0 6 */2 * *", "steps of 2"),
        ("0 6 31 * *", "no day 31"),
        ("0 6 29 2 *", "no day 29"),
        ("0 6 * * 5#5", "fifth"),
    ],
)
def test_what_may_surprise_is_said_in_one_warning(cron: str, says: str) -> None:
    (warning,) = warnings(parse(cron, "UTC", 1), NOVEMBER)
    assert says in warning


@pytest.mark.parametrize(
    "cron", ["0 6 * * *", "*/5 * * * *", "0 6 L * *", "0 6 1,15 * *", "0 6 31 JAN,MAR *", "0 */4 * * 1-5"]
)
def test_an_ordinary_schedule_has_no_warning(cron: str) -> None:
    assert warnings(parse(cron, "UTC", 1), NOVEMBER) == []


def test_the_dates_go_on_past_the_end_of_the_zone_files() -> None:
    runs = next_runs(parse("0 0 29 2 *", NEW_YORK, 1), NOVEMBER, 20)
    assert runs[-1].year == 2108  # 2100 has no 29 February
    assert all(later > earlier for earlier, later in pairwise(runs))
