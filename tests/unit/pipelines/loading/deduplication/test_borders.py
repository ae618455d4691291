"""The border of a table: what comes again is known, as often as it stands there, and nothing else is."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipelines.loading.deduplication.borders import Landing, Layout, Standing
from pipelines.loading.deduplication.standing_rows import Batch
from pipelines.protection.methods.hashing import hashed

ROWS = some.lists(
    some.tuples(some.none() | some.integers(0, 2), some.none() | some.sampled_from(["", "a", "2"])), max_size=12
)


def standing(columns: tuple[str, ...], rows: list[tuple[Any, ...]], **landing: Any) -> Standing:
    layouts = landing.pop("layouts", [])
    compared = landing.pop("compared", None)
    return Standing([Batch(columns, rows)], Landing(**landing), layouts, compared)


@given(ROWS, ROWS)
def test_appended_rows_are_compared_as_a_multiset(stand: list[Any], come: list[Any]) -> None:
    known = standing(("a", "b"), stand)
    table = pa.table({"a": pa.array([row[0] for row in come], pa.int64()), "b": [row[1] for row in come] or []})
    table = table.set_column(1, "b", pa.array([row[1] for row in come], pa.string()))
    gone = known.known(table)
    lands = Counter(row for index, row in enumerate(come) if index not in gone)
    assert lands == Counter(come) - Counter(stand)


@pytest.mark.parametrize(
    ("stands", "comes"),
    [
        (1.5, Decimal("1.50")),
        (2, 2.0),
        (datetime(2024, 1, 1, 10, tzinfo=UTC), datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))),
        (datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)),  # noqa: DTZ001
        (b"\x00\xff", b"\x00\xff"),
        (None, None),
    ],
)
def test_a_value_is_known_however_the_destination_hands_it_out(stands: Any, comes: Any) -> None:
    assert standing(("a",), [(stands,)]).known(pa.table({"a": [comes]})) == [0]


def test_json_is_compared_as_json() -> None:
    known = standing(("a",), [({"x": [1, 2.50], "y": None},)], nested=frozenset({"a"}))
    assert known.known(pa.table({"a": ['{"y":null,"x":[1,2.5]}']})) == [0]


def test_a_column_that_was_added_later_counts_for_nothing_in_older_rows() -> None:
    layouts = [Layout(0.0, frozenset("a"), frozenset()), Layout(50.0, frozenset("ab"), frozenset())]
    rows = [(1, None, "10"), (2, None, "60")]
    known = standing(("a", "b", "_dlt_load_id"), rows, layouts=layouts)
    assert known.known(pa.table({"a": [1, 2], "b": [7, 7]})) == [0]


def test_a_column_that_is_no_longer_asked_for_counts_for_nothing() -> None:
    known = standing(("a", "b"), [(1, 2)], compared=frozenset("a"))
    assert known.known(pa.table({"a": [1]})) == [0]


@pytest.mark.parametrize("masked_now", [True, False])
def test_a_row_is_known_though_its_mask_changed(masked_now: bool) -> None:
    def digest(value: Any) -> str | None:
        return hashed(value, b"k")

    now = frozenset("a") if masked_now else frozenset[str]()
    layouts = [Layout(0.0, frozenset("a"), frozenset("a") - now)]
    stands, comes = ("clear", digest("clear")) if masked_now else (digest("clear"), "clear")
    known = standing(("a", "_dlt_load_id"), [(stands, "1"), ("other", "1")], layouts=layouts, masked=now, hashed=digest)
    assert known.known(pa.table({"a": [comes]})) == [0]


def test_where_rows_merge_a_new_column_makes_a_row_new() -> None:
    known = standing(("a",), [(1,)], merges=True)
    assert known.known(pa.table({"a": [1], "b": [5]})) == []
    assert known.known(pa.table({"a": [1]})) == [0]


def test_a_value_that_moved_beside_its_column_makes_no_new_row() -> None:
    columns = ("day", "x", "seen", "open", "_dlt_load_id")
    day = date(2024, 1, 1)
    since = [Layout(0, frozenset({"day", "x", "seen", "open"}), frozenset())]
    stands = standing(
        columns,
        [(day, Decimal("2.00"), day, True, "5"), (day, Decimal("2.00"), day, True, "5"), (day, None, None, None, "5")],
        layouts=since,
        compared=frozenset({"day", "x", "x__v_text", "seen", "seen__v_text", "open", "open__v_bigint"}),
    )
    nothing = pa.nulls(4, pa.string())
    come = pa.table(
        {
            "day": [day] * 4,
            "x": pa.nulls(4, pa.decimal128(12, 2)),
            "x__v_text": pa.array(["2", "2.00", "2", None]),
            "seen": pa.nulls(4, pa.date32()),
            "seen__v_text": pa.array(["2024-01-01"] * 3 + [None]),
            "open": nothing,
            "open__v_bigint": pa.array([1, 1, 1, None]),
        }
    )
    # Two stand there, and three come; and so it is with the empty one, once.
    assert stands.known(come) == [0, 1, 3]


def test_a_value_beside_a_column_is_not_the_row_that_has_none() -> None:
    layouts = [Layout(0, frozenset({"day", "x"}), frozenset())]
    stands = standing(
        ("day", "x", "_dlt_load_id"),
        [("1", None, "5")],
        layouts=layouts,
        compared=frozenset({"day", "x", "x__v_text"}),
    )
    come = pa.table({"day": ["1", "1"], "x": pa.nulls(2, pa.int64()), "x__v_text": pa.array(["NaN", None])})
    assert stands.known(come) == [1]
