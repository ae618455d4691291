"""Lines of JSON as values, whose numbers keep the digits that they were written with."""

from collections.abc import Callable
from typing import Any

import orjson

from pipelines.rows.json_values import (
    has_half_a_pair,
    is_written_back,
    loses_digits,
    may_repeat,
    parse,
    parse_leniently,
)


class NoJsonError(ValueError):
    """A line is no JSON. Nothing of it is kept, but its number."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line} is no JSON")
        self.line = line


def _nobody(_line: int) -> None:
    pass


def values_of(
    lines: list[bytes], first: int, repeats: Callable[[int], None] = _nobody, halves: Callable[[int], None] = _nobody
) -> list[Any]:
    """The values of lines, without those of white space.

    Args:
        lines: the lines, with their ends or without. Some thousands are looked through together for numbers that need
            the slower parser.
        first: the number of the first.
        repeats: told the number of each line in which an object gives a name several values.
        halves: told the number of each line with half of a character, which lands as U+FFFD.

    Raises:
        NoJsonError: with the number of the first line that is none.
    """
    found = _together(lines)
    if found is None:
        # Not while the parser's own error is at hand, which holds the line.
        found = [
            _value(line, at, repeats, halves)
            for at, line in enumerate(lines, start=first)
            if line and not line.isspace()
        ]
    return found


def _together(some: list[bytes]) -> list[Any] | None:
    """The values of lines, or None where each has to be read by itself: for its digits or its names, or as broken."""
    lines = [line for line in some if line and not line.isspace()]
    try:
        found = [orjson.loads(line) for line in lines]
        written = orjson.dumps(found)
    except (ValueError, TypeError):
        return None
    # Without their ends, most are then equal to what is written of them, byte by byte.
    joined = b"[" + b",".join([line.rstrip() for line in lines]) + b"]"
    if is_written_back(written, joined) or not (may_repeat(written, joined) or loses_digits(joined)):
        return found
    return None


def _value(line: bytes, number: int, repeats: Callable[[int], None], halves: Callable[[int], None]) -> Any:
    def repeated(_name: str) -> None:
        repeats(number)

    try:
        return parse(line, repeated)
    except ValueError:
        pass
    try:
        # NaN, and control characters in texts, as some systems write them.
        text = line.decode()
        value = parse_leniently(text, repeated)
    except ValueError:
        # Not from the parser's own error, which holds the line.
        value = _NONE
    if value is _NONE:
        raise NoJsonError(number)
    if has_half_a_pair(text):
        halves(number)
    return value


_NONE = object()
"""In the place of a value that a line does not hold."""
