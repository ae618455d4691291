"""Rows of JSON as columns: whatever an API sends, each value lands once, in its column or beside it."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.rows import json_values
from pipelines.rows.json_to_arrow import json_columns
from pipelines.rows.names import ColumnNames, Rule
from pipelines.rows.table import Table
from pipelines.rows.types.declared_types import ARROW


def parse(data: bytes) -> Any:
    """The value of a text that gives no name twice."""
    return json_values.parse(data, pytest.fail)


NUMBERS = st.sampled_from(["1.50", "1E5", "0.1234567890123456789", "123456789012345678901", "1E400", "-0", "7"]).map(
    lambda text: parse(text.encode())
)
VALUE = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([2**53 + 1, 2**63, -(2**63)]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e19, -1e19, 9.3e18, 2.0**63]),
    st.text(max_size=5),
    st.sampled_from(["2024-01-31T10:00:00Z", "2023-02-30T10:00:00Z", "2024-01-01T00:00", "0000-00-00T00:00:00Z"]),
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.sampled_from("ab"), NUMBERS | st.integers(0, 9), max_size=2),
    st.sampled_from([date(2024, 1, 31), datetime(2024, 1, 31, tzinfo=UTC), Decimal("1.50"), b"x"]),
)
"""Values as JSON has them, and some as only a reader of one's own yields."""


def landed(rows: list[Any], table: Table | None = None, **rules: Any) -> dict[str, list[Any]]:
    return {name: array.to_pylist() for name, array, _ in json_columns(rows, table or Table(), **rules)}


@pytest.mark.parametrize("rows", [1, 199, 200, 201, 451])
@pytest.mark.parametrize("other", [{}, {"b": None}, {"c": 1}], ids=["alike", "another order", "one more"])
def test_each_value_of_a_page_of_any_length_stands_in_its_row(rows: int, other: dict[str, Any]) -> None:
    page: list[Any] = [{"a": number, "b": None if number % 3 else f"x{number}"} for number in range(rows)]
    page[-1] = other | page[-1]
    expected = {name: [row.get(name) for row in page] for name in ("a", "b", *other)}
    expected = {name: values for name, values in expected.items() if any(value is not None for value in values)}
    assert landed(page) == expected


@given(
    st.lists(st.lists(VALUE, min_size=1, max_size=6), min_size=1, max_size=3),
    st.none() | st.sampled_from(sorted(ARROW)),
    st.booleans(),
)
@example([[1], [1e19]], None, False)
@example([[1.5], [2**53 + 1]], None, False)
@example([[date(2024, 1, 31), 1.5]], None, False)
@example([[datetime(2024, 1, 31, tzinfo=UTC), 1.5]], None, False)
@example([["2024-01-31T10:00:00Z"], ["2023-02-30T10:00:00Z"]], None, False)
def test_no_value_stops_a_load_or_is_lost(pages: list[list[Any]], declared: str | None, is_key: bool) -> None:
    table = Table(types={"v": declared} if declared else {}, keys=frozenset(["v"] if is_key else []))
    for page in pages:
        columns = json_columns([{"v": value} for value in page], table)
        for row, value in enumerate(page):
            found = [(array[row].as_py(), kind) for _, array, kind in columns if array[row].is_valid]
            nothing = value is None or (declared not in {None, "text"} and isinstance(value, str) and not value)
            assert len(found) == (not nothing), (value, columns)
            if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
                ((number, kind),) = found
                # A double is what it is written as.
                as_written = Decimal(repr(float(value))) if isinstance(value, float) else Decimal(value)
                if kind not in {"json", "bool"}:
                    assert (number if isinstance(number, float) else Decimal(number)) in {value, as_written}
                if kind in {"bigint", "decimal", "text"}:
                    assert Decimal(number) == as_written


@pytest.mark.parametrize(
    ("texts", "columns"),
    [
        (["1.5", "1.50"], {"v": [1.5, 1.5]}),
        (["123456789012345678901", "123456789012345678902"], {"v": ["123456789012345678901", "123456789012345678902"]}),
        (["7", "123456789012345678901"], {"v": ["7", "123456789012345678901"]}),
        (["0.5", "0.1234567890123456789"], {"v": ["0.5", "0.1234567890123456789"]}),
        (["1E400"], {"v": ["1E400"]}),
        (['{"a": 1.00}', "[1.10]"], {"v": ['{"a":1.00}', "[1.10]"]}),
        (["18446744073709551615"], {"v": ["18446744073709551615"]}),
        (["1.5", '"x"', "1.50"], {"v": [1.5, None, 1.5], "v__v_text": [None, "x", None]}),
    ],
)
def test_numbers_of_json_are_right_to_the_last_digit(texts: list[str], columns: dict[str, Any]) -> None:
    assert landed([{"v": parse(text.encode())} for text in texts]) == columns


def test_a_number_that_its_column_does_not_hold_lands_beside_it_with_all_its_digits() -> None:
    table = Table(known={"w": "bigint", "d": "double", "t": "text"})
    row = parse(b'{"w": 123456789012345678901, "d": 0.1234567890123456789, "t": 1.50}')
    assert landed([row], table) == {
        "w__v_text": ["123456789012345678901"],
        "d__v_text": ["0.1234567890123456789"],
        "t": ["1.50"],
    }


def test_digits_of_a_decimal_stand_beside_it_where_they_mean_something() -> None:
    rows = parse(b'[{"dose": 1.50, "n": 2}, {"dose": 7.4, "n": 3}, {"dose": "x", "n": 4}]')
    assert landed(rows, keeps_digits=True) == {
        "n": [2, 3, 4],
        "dose": [1.5, 7.4, None],
        "dose__v_text": ["1.50", None, "x"],
    }


def test_a_key_of_several_types_is_text_from_the_first_page_on() -> None:
    assert landed([{"id": 1}, {"id": "a-3"}], Table(keys=frozenset(["id"]))) == {"id": ["1", "a-3"]}
    assert landed([{"id": 1}, {"id": "a-3"}]) == {"id": [1, None], "id__v_text": [None, "a-3"]}


@pytest.mark.parametrize(
    ("kind", "text", "columns"),
    [
        ("text", '[1, "a-3", 1.10, true, {"a": 1.0}]', {"v": ["1", "a-3", "1.10", "true", '{"a":1.0}']}),
        ("bigint", '["0042", 7, 1.5]', {"v": [42, 7, None], "v__v_text": [None, None, "1.5"]}),
        ("double", '["1.10", 2, "x"]', {"v": [1.1, 2.0, None], "v__v_text": [None, None, "x"]}),
        ("double", "[0.1234567890123456789]", {"v__v_text": ["0.1234567890123456789"]}),
        ("decimal", '[1.10, "2.123456789"]', {"v": [Decimal("1.100000000"), Decimal("2.123456789")]}),
        ("decimal", "[0.1234567891]", {"v__v_text": ["0.1234567891"]}),
        ("bool", '[true, "FALSE", 1, "yes"]', {"v": [True, False, True, None], "v__v_text": [None] * 3 + ["yes"]}),
        ("date", '["2024-02-29", "2023-02-29"]', {"v": [date(2024, 2, 29), None], "v__v_text": [None, "2023-02-29"]}),
        ("bigint", '["", 7]', {"v": [None, 7]}),
        ("timestamp", '["2024-01-31"]', {"v": [datetime(2024, 1, 31, tzinfo=UTC)]}),
        ("json", '[{"a": 1.50}, "[1]", "x"]', {"v": ['{"a":1.50}', "[1]", None], "v__v_text": [None, None, "x"]}),
    ],
)
def test_a_declared_type_holds_from_the_first_row_on(kind: str, text: str, columns: dict[str, Any]) -> None:
    rows = [{"V": value} for value in parse(text.encode())]
    assert landed(rows, Table(types={"v": kind})) == columns


def test_a_declared_type_that_comes_too_late_is_told() -> None:
    table = Table("visits", known={"id": "bigint"}, types={"id": "text"})
    assert landed([{"id": 1}], table) == {"id": [1]}
    assert list(table.remarks) == [
        "types says text for 'id' of table visits, which is bigint since an earlier load: "
        "run a full refresh to change that."
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"x___99": "0", "x____99": "1"},
        {"pain_1": "", "pain___1": "1"},
        {"имя": "a", "возраст": "b"},
        {"ID": 1, "id": 2},
        {"CD4+": 1, "CD4-": 2},
        {"患者": 1, "患者 ": 2},
    ],
)
def test_both_of_two_names_land_that_would_be_one(row: dict[str, Any]) -> None:
    table = Table("visits")
    first = landed([row], table)
    assert sorted(map(json.dumps, (value for (value,) in first.values()))) == sorted(map(json.dumps, row.values()))
    # In rows of differing keys, too, and in whatever order.
    assert landed([{name: row[name]} for name in reversed(row)], table) == {
        column: [value, None] if index == 0 else [None, value]
        for index, (column, (value,)) in enumerate(reversed(first.items()))
    }


def test_a_column_that_is_told_apart_is_told() -> None:
    table = Table("visits", ColumnNames(Rule(), keys=["id"]))
    (_, other) = landed([{"id": 1, "ID": 2}], table)
    assert list(table.remarks) == [f"Column 'ID' of table visits lands as '{other}': another column has the name 'id'."]
