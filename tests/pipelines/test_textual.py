"""Text with types: whatever a file holds, each value lands once, in its column or beside it, and nothing is lost."""

from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.textual import typed

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
    known: dict[str, str] = {}
    for page in pages:
        found = typed(pa.table({"v": pa.array(page, pa.string())}), known)
        assert set(found.column_names) <= {"v", "v__v_text"}
        columns = {name: found.column(name).is_valid().to_pylist() for name in found.column_names}
        for row, value in enumerate(page):
            assert sum(valid[row] for valid in columns.values()) == (value is not None)
        if "v__v_text" in columns:
            beside = found.column("v__v_text").to_pylist()
            assert all(text in {None, value} for text, value in zip(beside, page, strict=True))


@given(st.lists(st.from_regex(r"\A(-?[1-9][0-9]{0,24}|0)\Z"), min_size=1, max_size=5))
def test_a_number_of_many_digits_keeps_them_all(numbers: list[str]) -> None:
    found = typed(pa.table({"v": numbers}), {}).column("v").to_pylist()
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
    known = {"on": "date"}
    found = typed(pa.table({"on": values}), known)
    assert (found.column("on").to_pylist(), found.column("on__v_text").to_pylist()) == (days, beside)
