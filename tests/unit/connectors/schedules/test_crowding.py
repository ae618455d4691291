"""Herds of connectors in one minute."""

import time
from datetime import UTC, datetime

from connectors.schedules.cron import Schedule, parse
from connectors.schedules.crowding import herd_warnings

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def warned(cron: str, others: list[str], timezone: str = "UTC") -> list[str]:
    """The warnings about a schedule among others, which are all in UTC."""
    return herd_warnings(Schedule(cron, timezone), [Schedule(other, "UTC") for other in others], NOW)


def test_a_herd_is_counted_and_a_free_minute_named() -> None:
    others = ["0 2 * * *"] * 26 + ["*/30 * * * *"]
    assert warned("0 2 * * *", others) == ["27 connectors start at 02:00; minute 15 is free."]


def test_a_few_are_no_herd() -> None:
    assert warned("0 2 * * *", ["0 2 * * *"] * 4) == []


def test_other_days_and_hours_do_not_count() -> None:
    assert warned("0 2 * * *", ["0 3 * * *"] * 9 + ["0 2 1 1 *"] * 9) == []
    assert warned("0 2 * * 3", ["0 2 * * WED"] * 9) == ["9 connectors start at 02:00; minute 30 is free."]


def test_time_zones_are_compared_by_the_instant() -> None:
    assert warned("30 7 * * *", ["0 2 * * *"] * 9, "Asia/Kolkata") == ["9 connectors start at 07:30; minute 0 is free."]


def test_the_most_crowded_of_the_next_runs_is_told() -> None:
    others = ["0 13 * * *"] * 6 + ["0 14 * * *"] * 8
    assert warned("0 * * * *", others) == ["8 connectors start at 14:00; minute 30 is free."]


def test_a_full_hour_still_has_its_quietest_minute() -> None:
    others = ["* * * * *"] * 5 + [f"{minute} 2 * * *" for minute in range(60) if minute != 41]
    assert warned("0 2 * * *", others) == ["6 connectors start at 02:00; minute 41 has the fewest, 5."]


def test_ten_thousand_connectors_are_looked_through_while_a_user_waits() -> None:
    others = [parse("H H * * *", "Europe/Berlin", number) for number in range(10_000)]
    began = time.perf_counter()
    herd_warnings(Schedule("0 2 * * *", "UTC"), others, NOW)
    assert time.perf_counter() - began < 5, "measured: 0.2 s"
