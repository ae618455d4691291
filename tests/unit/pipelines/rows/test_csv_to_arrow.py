"""Text with types: whatever a file holds, each value lands once, in its column or beside it, and nothing is lost."""

from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.rows import csv_to_arrow
from pipelines.rows.csv_to_arrow import typed
from pipelines.rows.table import Table

ODD = st.one_of(
    st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z"),
    st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[-+][0-9]{4})?\Z"),
    st.from_regex(r"\A-?[0-9]{1,25}(\.[0-9]{1,3})?(e[-+]?[0-9]{1,3})?\Z"),
    st.sampled_from(["true", "FALSE", "", "NA", "<5"]),
    st.none(),
)
GOOD = st.one_of(
    st.dates().map(str),
    st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds") + "Z"),
    st.integers(-(10**17), 10**17).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
)
PAGE = st.lists(ODD | GOOD, min_size=1, max_size=8)


@given(st.lists(PAGE, min_size=1, max_size=3))
@example([["2024-01-01"], ["0000-00-00", "2023-02-30"]])
@example([["2023-02-30"]])
@example([["2024-01-01T10:00:00Z", "2023-02-30T10:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T10:00:00+9900"]])
@example([["1.5", "1e999"], ["12345678901234567890"]])
def test_no_value_stops_a_load_or_is_lost(pages: list[list[str | None]]) -> None:
    table = Table()
    for page in pages:
        found = typed(pa.table({"v": pa.array(page, pa.string())}), table)
        assert set(found.column_names) <= {"v", "v__v_text"}
        columns = {name: found.column(name).is_valid().to_pylist() for name in found.column_names}
        for row, value in enumerate(page):
            places = sum(valid[row] for valid in columns.values())
            # A number may stand in its column, and its digits beside it.
            doubled = (
                table.known.get("v") == "double" and places == 2 and found.column("v")[row].as_py() == float(value or 0)
            )
            assert doubled or places == (value is not None)
        if "v__v_text" in columns:
            beside = found.column("v__v_text").to_pylist()
            assert all(text in {None, value} for text, value in zip(beside, page, strict=True))


@given(st.lists(st.from_regex(r"\A(-?[1-9][0-9]{0,24}|0)\Z"), min_size=1, max_size=5))
def test_a_number_of_many_digits_keeps_them_all(numbers: list[str]) -> None:
    found = typed(pa.table({"v": numbers}), Table()).column("v").to_pylist()
    assert [str(int(value)) for value in found] == numbers


@pytest.mark.parametrize(
    ("values", "days", "beside"),
    [
        (["2024-02-29", "2023-02-29"], [date(2024, 2, 29), None], [None, "2023-02-29"]),
        (["2024-01-31", "0000-00-00"], [date(2024, 1, 31), None], [None, "0000-00-00"]),
        (["2024-01-31", "2024-13-01"], [date(2024, 1, 31), None], [None, "2024-13-01"]),
    ],
)
def test_a_day_that_never_was_lands_beside_its_column(values: list[str], days: list[Any], beside: list[Any]) -> None:
    found = typed(pa.table({"on": values}), Table(known={"on": "date"}))
    assert (found.column("on").to_pylist(), found.column("on__v_text").to_pylist()) == (days, beside)


@pytest.mark.parametrize(
    ("values", "landed"),
    [
        (["1.1", "1.10", "1E5", "100000"], ["1.1", "1.10", "1E5", "100000"]),
        (["5", "5.0"], ["5", "5.0"]),
        (["7.40", "6.95"], ["7.40", "6.95"]),
        (["5.0", "7.5", "1e-05", "0.30000000000000004"], [5.0, 7.5, 1e-05, 0.30000000000000004]),
        (["5", "7.5", None], [5.0, 7.5, None]),
        ([None, "1", "2"], [None, 1, 2]),
        (["+5", "42"], ["+5", "42"]),
        (["0042", "42"], ["0042", "42"]),
        (["-0", "1"], ["-0", "1"]),
        (["12345678901234567.5"], ["12345678901234567.5"]),
    ],
)
def test_text_stays_text_where_a_number_does_not_give_it_back(values: list[str | None], landed: list[Any]) -> None:
    assert typed(pa.table({"v": values}), Table()).to_pydict() == {"v": landed}


def test_a_number_in_a_column_of_doubles_keeps_its_digits_beside_it() -> None:
    values = ["7.40", "6.9", "<5", "12345678901234567890"]
    assert typed(pa.table({"v": values}), Table(known={"v": "double"})).to_pydict() == {
        "v": [7.4, 6.9, None, None],
        "v__v_text": ["7.40", None, "<5", "12345678901234567890"],
    }


@pytest.mark.parametrize(
    ("values", "landed"),
    [
        (["1.1", "2.5"], ["1.1", "2.5"]),
        (["1", "20"], [1, 20]),
        (["1", "02"], ["1", "02"]),
        (["1.0", "2"], ["1.0", "2"]),
    ],
)
def test_a_key_is_a_number_only_when_it_is_a_whole_one(values: list[str], landed: list[Any]) -> None:
    assert typed(pa.table({"v": values}), Table(keys=frozenset(["v"]))).to_pydict() == {"v": landed}


@pytest.mark.parametrize(
    ("kind", "landed"),
    [
        ("text", {"v": ["1", "1.10", None]}),
        ("double", {"v": [1.0, 1.1, None]}),
        ("bigint", {"v": [1, None, None], "v__v_text": [None, "1.10", None]}),
    ],
)
def test_a_declared_type_holds_from_the_first_row_on(kind: str, landed: dict[str, Any]) -> None:
    texts = pa.table({"V": pa.array(["1", "1.10", None], pa.string())})
    assert typed(texts, Table(types={"v": kind})).to_pydict() == landed


def test_two_columns_that_would_be_one_both_land() -> None:
    found = typed(pa.table({"CD4+": ["1"], "CD4-": ["2"], "имя": ["a"], "пол": ["b"]}), Table()).to_pydict()
    assert list(found.values()) == [[1], [2], ["a"], ["b"]]
    assert [name.rpartition("_")[0] or name for name in found] == ["cd4x", "cd4x", "imya", "pol"]


_WRITTEN = (
    *(
        "5",
        "5.0",
        "-0",
        "0",
        "7.25",
        "1e5",
        "1e+15",
        "999999999999999",
        "1e-100",
        "0.00001",
        "1e-05",
        "inf",
        "+5",
        "05",
    ),
    *("2024-02-29", "0001-01-01", "2023-02-29", "2024-02-29 10:00:00", "2024-02-29T10:00:00", "2024-02-29 10:00:00.5"),
    *("9999-12-31 23:59:59", "2024-02-29 10:00:00Z", "0000-00-00 00:00:00", "2024-02-29 10:00", "x"),
)
VALUES = st.one_of(
    st.sampled_from(_WRITTEN),
    st.floats().map(repr),
    st.integers().map(str),
    st.datetimes().map(lambda moment: moment.isoformat(" ", "seconds")),
)


@given(st.lists(st.one_of(*(st.lists(st.none() | st.just(one) | VALUES, max_size=4) for one in _WRITTEN)), max_size=3))
def test_the_faster_ways_give_what_the_patterns_give(pages: list[list[str | None]]) -> None:
    def landed() -> list[Any]:
        table = Table()
        return [typed(pa.table({"x": pa.array(page, pa.string())}), table) for page in pages]

    fast = landed()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(csv_to_arrow, "_as_written", lambda *_: None)
        patched.setattr(csv_to_arrow.Doubles, "_plain", lambda *_: None)
        assert fast == landed()


@pytest.mark.parametrize(
    ("pages", "landed"),
    [
        ([["2024", "1961"], ["2024-05", "2024-05-01"]], {"v": ["2024-05", "2024-05-01"]}),
        ([["2024-05-01"], ["2024", "--05-03", "2024-06-01"]], {
            "v": [None, None, date(2024, 6, 1)], "v__v_text": ["2024", "--05-03", None],
        }),
    ],
)  # fmt: skip
def test_a_year_is_no_number_where_a_file_says_that_days_are(pages: list[list[str]], landed: dict[str, Any]) -> None:
    table = Table(days={"v"})
    found = [typed(pa.table({"v": page}), table) for page in pages]
    assert found[-1].to_pydict() == landed
