"""Rows of JSON as columns: whatever an API sends, each value lands once, in its column or beside it."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.tabular import _columns

VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([2**53 + 1, 2**63, -(2**63)]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e19, -1e19, 9.3e18, 2.0**63]),
    st.text(max_size=5),
    st.sampled_from(["2024-01-31T10:00:00Z", "2023-02-30T10:00:00Z", "2024-01-01T00:00", "0000-00-00T00:00:00Z"]),
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 9), max_size=2),
)


@given(st.lists(st.lists(VALUE, min_size=1, max_size=6), min_size=1, max_size=3))
@example([[1], [1e19]])
@example([[1.5], [2**53 + 1]])
@example([["2024-01-31T10:00:00Z"], ["2023-02-30T10:00:00Z"]])
def test_no_value_stops_a_load_or_is_lost(pages: list[list[Any]]) -> None:
    known: dict[str, str] = {}
    for page in pages:
        columns = list(_columns([{"v": value} for value in page], known))
        known |= {name: kind for name, _, kind in columns}
        for row, value in enumerate(page):
            landed = [(array[row].as_py(), kind) for _, array, kind in columns if array[row].is_valid]
            assert len(landed) == (value is not None), (value, columns)
            if isinstance(value, int | float) and not isinstance(value, bool):
                ((found, kind),) = landed
                assert kind in {"text", "json"} or found == value
