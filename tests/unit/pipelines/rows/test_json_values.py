"""JSON with its digits: what is read is the number, and what is written back is its text."""

import copy
import json
import math
import pickle
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.rows import json_values
from pipelines.rows.json_values import dump, loses_digits


def parse(data: bytes) -> Any:
    """The value of a text that gives no name twice."""
    return json_values.parse(data, pytest.fail)


def parse_leniently(text: str) -> Any:
    """The same of what nearly is JSON."""
    return json_values.parse_leniently(text, pytest.fail)


NUMBER = st.one_of(
    st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][-+]?[0-9]{1,3})?\Z"),
    st.from_regex(r"\A-?(0|[1-9][0-9]{0,2})\.[0-9]{0,2}0\Z"),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**65), 2**65).map(str),
)
TEXT = st.text(alphabet='1.0e-5,]} \\"ä:[', max_size=30).map(lambda text: orjson.dumps(text).decode())
DOCUMENT = st.recursive(
    NUMBER | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: "[" + ",".join(items) + "]")
        | st.lists(st.tuples(TEXT, inner), max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=8,
)


@given(DOCUMENT)
@example("1.50")
@example("-0")
@example('["a\\\\",1.50]')
@example('["\\"",1.50]')
@example("[0.000010]")
@example("1" * 5000)
@example("1e-400")
def test_json_is_written_back_as_it_was_read(text: str) -> None:
    assert dump(parse(text.encode())).decode() == text


@given(NUMBER)
@example("18446744073709551616")
@example("-9223372036854775809")
@example("9007199254740993.0")
@example("1E400")
def test_a_number_is_read_as_the_number_it_is(text: str) -> None:
    value = parse(text.encode())
    assert (Decimal(repr(value + 0)) if isinstance(value, float) else Decimal(value)) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"note": "Temp 37.50 , then 1.10 ] and 1E5 , 12345678901234567890123 ,", "a": 1.5}',
        '{"at": "2024-01-01T10:00:00.500Z", "on": "2024-10-20", "v": 1.0, "w": 0.30000000000000004}',
        '{"system": "urn:oid:2.16.840.1.113883.6.96", "id": 18446744073709551615}',
        '{"quoted": "he said \\"1.50 , 2.50\\" and 3.50 ,", "v": 12}',
    ],
)
def test_texts_and_ordinary_numbers_take_the_fast_way(text: str) -> None:
    assert not loses_digits(text.encode())


@pytest.mark.parametrize("text", ["1.50", "123456789012345678901", "0.1234567890123456789", "1E5"])
def test_a_number_keeps_its_text_when_it_is_copied(text: str) -> None:
    value = parse(text.encode())
    assert dump(copy.deepcopy(pickle.loads(pickle.dumps(value)))).decode() == text


@pytest.mark.parametrize(
    "text", ["", "{", "[1.50", "NaN", '"\n"', '["\\ud800", 1.50]', "[" * 100_000 + "1.50", "1e" + "9" * 30]
)
def test_what_is_no_json_is_refused_as_such(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of whichever of the two parsers
        parse(text.encode())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "line\nbreak\u0001"}', {"a": "line\nbreak\u0001"}),
        ('["\\ud800", "\\ud83d\\ude00", "\\\\ud800"]', ["\ufffd", "😀", "\\ud800"]),
        ("[1.50, 123456789012345678901]", [1.5, 123456789012345678901]),
    ],
)
def test_what_nearly_is_json_is_read_leniently(text: str, value: Any) -> None:
    assert parse_leniently(text) == value


def test_no_number_is_read_and_written_as_a_text_that_json_holds() -> None:
    values = parse_leniently("[NaN, Infinity, -Infinity]")
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]
    assert json.loads(dump(values)) == ["NaN", "Infinity", "-Infinity"]


def test_what_a_reader_of_ones_own_yields_is_written_too() -> None:
    value = {"d": Decimal("1.50"), "big": [2**70], "nan": Decimal("NaN"), "t": (1, 2)}
    assert dump(value) == b'{"d":1.50,"big":[1180591620717411303424],"nan":"NaN","t":[1,2]}'


@pytest.mark.parametrize(
    ("text", "value", "names"),
    [
        ('{"dose": 1, "dose": 2}', {"dose": 2}, ["dose"]),
        ('{"dose": 1, "DOSE": 2}', {"dose": 1, "DOSE": 2}, []),
        ('{"dose": 1, "unit": "mg", "dose": 1}', {"dose": 1, "unit": "mg"}, []),
        ('{"dose": 1.5, "dose": 1.50}', {"dose": 1.5}, ["dose"]),
        ('{"dose": 1.50, "dose": null}', {"dose": None}, ["dose"]),
        ('[{"a": {"b": [1], "b": [2], "c": "x:y"}}, {"d": 1}]', [{"a": {"b": [2], "c": "x:y"}}, {"d": 1}], ["b"]),
        ('{"d\\u006fse": 1, "dose": 2, "note": "\\u003a"}', {"dose": 2, "note": ":"}, ["dose"]),
        ('{"dose": 1E999, "dose": 2}', {"dose": 2}, ["dose"]),
        ('{"a": 1, "b": 1, "a": 2, "b": 2}', {"a": 2, "b": 2}, ["a", "b"]),
    ],
)
def test_a_name_with_several_values_is_told(text: str, value: Any, names: list[str]) -> None:
    told: list[str] = []
    assert json_values.parse(text.encode(), told.append) == value
    assert json_values.parse_leniently(text, told.append) == value
    assert told == [*names, *names]


@given(st.lists(st.tuples(TEXT, NUMBER | TEXT), min_size=1, max_size=5), st.sampled_from([":", " : ", ":\n"]))
def test_whichever_name_comes_twice_is_told(members: list[tuple[str, str]], colon: str) -> None:
    text = "{" + ", ".join(f"{name}{colon}{value}" for name, value in members) + "}"
    last = dict(members)
    told: list[str] = []
    assert (
        dump(json_values.parse(text.encode(), told.append))
        == b"{" + b",".join(f"{name}:{value}".encode() for name, value in last.items()) + b"}"
    )
    assert set(told) == {orjson.loads(name) for name, value in members if value != last[name]}
