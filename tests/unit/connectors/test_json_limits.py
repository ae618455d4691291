"""Limits of JSON in PostgreSQL are found before it is asked to hold a value."""

from typing import Any

import pytest

from connectors.limits.jsonb import DEEPEST, Unreadable, readable, unstorable


def nested(levels: int) -> Any:
    """Lists in lists."""
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ("a\0b", "/source"),
        ({"a": ["fine", {"b": "\ud800"}]}, "/source/a/1/b"),
        ({"a": {"\0": 1}}, "/source/a"),
        ({"a/b": float("nan")}, "/source/a~1b"),
        ([1.0, float("-inf")], "/source/1"),
        (nested(DEEPEST), "/source" + "/0" * DEEPEST),
    ],
)
def test_it_is_refused_by_its_place(value: Any, pointer: str) -> None:
    assert [refusal.pointer for refusal in unstorable(value, "source")] == [pointer]


def test_what_is_too_deep_is_refused_without_going_down() -> None:
    assert len(unstorable(nested(100_000), "source")) == 1


@pytest.mark.parametrize(
    "text", ["[" * 2000 + "]" * 2000, "[" * 50 + "]" * 50, "1" + "0" * 5000, "1" + "0" * 400 + ".5"]
)
def test_what_postgresql_holds_and_nobody_here_can_read_stands_as_such(text: str) -> None:
    assert isinstance(readable(f'{{"a": {text}}}'), Unreadable)


def test_what_can_be_read_is_read() -> None:
    assert readable('{"a": [1, 2.5, null, "x"]}') == {"a": [1, 2.5, None, "x"]}
