"""Values of cursors: their order, what lies before them, and how they are written."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipelines.sources.cursors.values import Kind, Unit, comparable, earlier, instant_of, moment_of, order_of, unit_of

ZONES = some.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = some.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=ZONES)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.500Z"),
        ("2024-10-27T02:59:00+02:00", "2024-10-27T02:10:00+01:00"),
        ("2016-12-31T23:59:59.999Z", "2016-12-31T23:59:60Z"),
        ("2016-12-31T23:59:60.5Z", "2017-01-01T00:00:00Z"),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00.123456789Z", "2024-01-01T00:00:00.12345679Z"),
        ("2024-01-01", "2024-01-01 00:00:01"),
        ("2024-01-01T23:00:00-0500", "2024-01-02 04:00:01 UTC"),
        ("20240101T235959Z", "2024-01-02"),
        ("2024-01-31T24:00:00Z", "2024-02-01T00:00:00.1Z"),
        ("9", "10"),
        ("-1.5", "-1.49"),
        (2**63, 2**63 + 1),
        ("9007199254740993", 9007199254740994),
        (Decimal("0.1"), 0.1000001),
        (date(2024, 1, 1), datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (b"\x00\x09", b"\x00\x10"),
        (None, 0),
        (float("nan"), -1),
        ("2024-05", "2024-06-01"),
    ],
)
def test_the_newer_of_two_values_is_greater(older: Any, newer: Any) -> None:
    assert order_of(older) < order_of(newer)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T01:00:00.000+01:00"),
        ("2024-01-01 00:00", datetime(2024, 1, 1, tzinfo=UTC)),
        ("1.50", 1.5),
        ("0042", 42),
        (date(2024, 1, 1), "2024-01-01"),
    ],
)
def test_equal_values_that_are_written_differently_are_equal(one: Any, other: Any) -> None:
    assert order_of(one) == order_of(other)


@pytest.mark.parametrize("value", ["12/31/2023", "2024-02-30", "2024-01-01T25:00:00Z", "v9", "", "١٢", "2024-1-1"])
def test_a_text_that_is_neither_moment_nor_number_is_a_text(value: str) -> None:
    assert order_of(value).kind is Kind.TEXT


def test_values_of_two_kinds_are_not_comparable() -> None:
    assert not comparable(order_of("2024-01-01"), order_of(5))
    assert not comparable(order_of(True), order_of(False))
    assert not comparable(order_of(None), order_of(None))
    assert comparable(order_of("5"), order_of(6))
    assert comparable(order_of("9", text=True), order_of("10", text=True))


@given(MOMENTS, MOMENTS, some.sampled_from(["seconds", "milliseconds", "microseconds"]), some.booleans())
def test_moments_have_the_order_of_their_instants(one: datetime, other: datetime, timespec: str, blank: bool) -> None:
    texts = [moment.isoformat(" " if blank else "T", timespec) for moment in (one, other)]
    instants = [datetime.fromisoformat(text) for text in texts]
    first, second = map(order_of, texts)
    assert (first < second) == (instants[0] < instants[1])
    assert (first == second) == (instants[0] == instants[1])
    assert [order_of(instant) for instant in instants] == [first, second]


@given(
    some.lists(
        some.none()
        | some.integers()
        | some.floats()
        | some.decimals()
        | some.text()
        | MOMENTS
        | some.dates()
        | some.binary()
        | some.booleans()
        | MOMENTS.map(datetime.isoformat)
        | some.integers().map(str)
    )
)
def test_every_value_has_its_place_in_one_order(values: list[Any]) -> None:
    orders = sorted(map(order_of, values))
    assert all(one <= other for index, one in enumerate(orders) for other in orders[index:])


@given(some.integers() | some.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_a_number_in_a_text_is_the_number(number: Any) -> None:
    assert order_of(f"{number:f}" if isinstance(number, Decimal) else str(number)) == order_of(number)


@given(MOMENTS, some.integers(0, 10_000), some.sampled_from(["seconds", "milliseconds", "microseconds"]))
def test_what_lies_before_a_moment_is_written_like_it(moment: datetime, lag: int, timespec: str) -> None:
    text = moment.isoformat(timespec=timespec)
    before = earlier(text, lag)
    assert len(before) == len(text)
    assert moment_of(before) == moment_of(text) - timedelta(seconds=lag)


@pytest.mark.parametrize(
    ("value", "lag", "before"),
    [
        ("2024-01-01T00:00:10Z", None, "2023-12-31T23:55:10Z"),
        ("2024-01-01", None, "2023-12-31"),
        ("2024-01-01 00:10:00", 600, "2024-01-01 00:00:00"),
        ("2024-10-27T02:10:00.0001+01:00", 3600, "2024-10-27T01:10:00.0001+01:00"),
        ("20240101T000010Z", 20, "20231231T235950Z"),
        (5000, None, 4000),
        ("05000", 1, "04999"),
        ("7", 10, "-3"),
        (1.5, 1, 0.5),
        (Decimal("1.5"), 1, Decimal("0.5")),
        (date(2024, 1, 1), 2, date(2023, 12, 30)),
        (datetime(1, 1, 1), 5, datetime(1, 1, 1)),  # noqa: DTZ001
        ("v9", 5, "v9"),
        ("2016-12-31T23:59:60Z", 0, "2016-12-31T23:59:60Z"),
    ],
)
def test_a_lag_is_counted_in_the_unit_of_the_value(value: Any, lag: float | None, before: Any) -> None:
    assert earlier(value, lag) == before


def test_fhir_writes_a_year_alone() -> None:
    assert instant_of("2024") == order_of("2024-01-01T00:00:00Z")
    assert unit_of("2024-01-01") is Unit.DAYS
