"""Numbers of connectors: one way to write them, at every door."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.limits.ids import LARGEST_ID, parse_id, parse_number

NO_NUMBERS = [
    "",
    "1_1",
    "+1",
    " 1",
    "1 ",
    "01",
    "1.0",
    "1e3",
    "0x1",
    "\u0661",
    "\u00b2",
    "abc",
    "-0",
    "--1",
    "9" * 5000,
]
NO_IDS = [*NO_NUMBERS, "0", "-1", str(-(2**63)), str(2**63), str(2**64 + 1)]


@given(st.integers(1, LARGEST_ID))
def test_every_id_is_read_as_it_is_written(number: int) -> None:
    assert parse_id(str(number)) == parse_number(str(number)) == number


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_number_that_postgresql_holds_is_read(number: int) -> None:
    assert parse_number(str(number)) == number


@pytest.mark.parametrize("text", NO_IDS)
def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_id(text) is None


@given(st.text())
def test_nothing_else_is_read_as_a_number(text: str) -> None:
    found = parse_number(text)
    assert found is None or str(found) == text
