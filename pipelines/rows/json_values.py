"""JSON values with their digits: numbers that a double or 64 bits would change keep the text they were written in.

orjson, which is fast, makes 18446744073709551616 a float, 1.50 a 1.5 and 1E5 a 100000.0. In a clinical value the digits
mean something (FHIR: 1.50 is not 1.5), and of two keys that a double can't tell apart one would overwrite the other. So
what orjson read is written again: most answers come out as they came in. One that does not is looked through, as
bytes, for numbers that would change. If it has one, it is read by the slower parser of Python, and those numbers become
objects that know their text: they compare, hash and calculate as the number they are, and `dump` writes them back as
they came.

Of two values that one object gives under one name, each parser keeps the last. That is seen by the same means, as a
text that comes out shorter, and told to whoever asked: see `Repeated`.
"""

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

_END = rb"(?=[,\]}\s]|\Z)"
_TRAILING_ZERO = re.compile(rb"\.[0-9]+0" + _END)
_MINUS_ZERO = re.compile(rb"-0" + _END)
_EXPONENT = re.compile(rb"0e[-+]?0+" + _END)
_TINY = re.compile(rb"-?0\.0000[0-9]*")
_LONG = re.compile(rb"(?<![0-9.])-?[0-9.]{17,}")

_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
_DIGITS_AND_POINT = bytes.maketrans(b".123456789", b"0000000000")
_SEVENTEEN = b"0" * 17
"""Sixteen digits and a point, or as many digits as may not fit in 64 bits: up to fifteen a double gives each back."""

_MOST_DIGITS = 4000
"""Digits up to which Python makes an integer of a text (sys.set_int_max_str_digits has 4300)."""

_SURROGATES = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class WrittenInteger(int):
    """A whole number that is not written back as it came: beyond 64 bits, or -0."""

    text: str

    def __new__(cls, text: str) -> "WrittenInteger":
        """The number that a text says."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text,)


class WrittenDouble(float):
    """A number that is exactly a double's, written otherwise than a double is: 1.50, 1E5."""

    text: str

    def __new__(cls, text: str) -> "WrittenDouble":
        """The number that a text says."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text,)


class WrittenDecimal(Decimal):
    """A number that no double is: more digits than it has, or beyond its range."""

    text: str

    def __new__(cls, text: str) -> "WrittenDecimal":
        """The number that a text says."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text,)


Written = WrittenInteger | WrittenDouble | WrittenDecimal


class TooDeepError(ValueError):
    """Values within values, more of them than can be written again: orjson writes 254."""


Repeated = Callable[[str], None]
"""Told a name that one object gives to several values that differ: all but the last are lost."""


def parse(data: bytes, repeated: Repeated) -> Any:
    """The value of a JSON text in UTF-8, in which no number has lost a digit.

    Raises:
        ValueError: when it is no JSON. Its text holds a part of the data, so it must not be shown.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:  # which it also says of a number beyond a double's range
        if loses_digits(data):
            return _exact(data.decode(), repeated, strict=True)
        raise
    try:
        written = orjson.dumps(value)
    except TypeError:
        raise TooDeepError from None
    if is_written_back(written, data):
        return value
    if may_repeat(written, data) or loses_digits(data):
        return _exact(data.decode(), repeated, strict=True)
    return value


def is_written_back(written: bytes, data: bytes) -> bool:
    """Whether orjson writes a value as it was read: most servers' answers, and seen sooner than by each number."""
    return written == data or _without_space(written) == _without_space(data)


def may_repeat(written: bytes, data: bytes) -> bool:
    """Whether an object of a text may give one name twice, by what orjson wrote of it after it had read it.

    Never false where one does: a member that is gone takes its colon with it, and only an escape makes another.
    """
    return written.count(b":") != data.count(b":") or b"\\u003a" in data or b"\\u003A" in data


def _without_space(data: bytes) -> bytes:
    """A JSON text without white space, also in texts: two that are then equal have the same digits."""
    return data.translate(None, b" \t\r\n")


def parse_leniently(text: str, repeated: Repeated) -> Any:
    """The value of what nearly is JSON: raw control characters in texts, NaN and Infinity, halves of surrogate pairs.

    Slower than `parse`, for what that refuses. Half a pair becomes the replacement character, as no text can hold it:
    see `has_half_a_pair`.

    Raises:
        ValueError: when it is no JSON even so.
    """
    whole = _SURROGATES.sub(lambda found: r"\ufffd" if found[1] else found[0], text)
    return _exact(whole, repeated, strict=False)


def has_half_a_pair(text: str) -> bool:
    """Whether a JSON text has half of a surrogate pair: a character that somebody has cut in two."""
    return "\\u" in text and any(found[1] for found in _SURROGATES.finditer(text))


def dump(value: Any) -> bytes:
    """A value as JSON, each number that `parse` read with the digits it had."""
    try:
        return orjson.dumps(value, _dumped, orjson.OPT_PASSTHROUGH_SUBCLASS)
    except TypeError:  # what only a reader of one's own yields: keys that are no texts, plain integers beyond 64 bits
        return orjson.dumps(_dumpable(value), _dumped, orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_NON_STR_KEYS)


def loses_digits(data: bytes) -> bool:
    """Whether a number of a JSON text would be written otherwise after orjson has read it.

    Looking costs half of what reading takes, and some times as much where texts or long numbers want a closer look.
    """
    if not _has_suspects(data):
        return False
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # What is outside of texts: every second part between quotes.
    data = b"".join(data.split(b'"')[::2])
    if _TRAILING_ZERO.search(data) or _MINUS_ZERO.search(data) or _EXPONENT.search(data.translate(_SHAPE)):
        return True
    numbers = [*_TINY.findall(data), *(_LONG.findall(data) if _has_long(data) else ())]
    # Nearly all are what a double is written as, such as 0.30000000000000004.
    return not _are_written_back(b"[" + b",".join(numbers) + b"]")


def _has_suspects(data: bytes) -> bool:
    """Whether something looks like such a number, be it in a text."""
    return bool(
        _TRAILING_ZERO.search(data)
        or b"0.0000" in data
        or _MINUS_ZERO.search(data)
        or _has_long(data)
        or _EXPONENT.search(data.translate(_SHAPE))
    )


def _has_long(data: bytes) -> bool:
    return _SEVENTEEN in data.translate(_DIGITS_AND_POINT)


def _are_written_back(numbers: bytes) -> bool:
    try:
        return orjson.dumps(orjson.loads(numbers)) == numbers
    except orjson.JSONDecodeError:  # beyond a double's range
        return False


def _exact(text: str, repeated: Repeated, *, strict: bool) -> Any:
    def made(members: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(members)
        if len(found) < len(members):
            for name in {name: None for name, value in members if dump(value) != dump(found[name])}:
                repeated(name)
        return found

    try:
        value = json.loads(
            text,
            strict=strict,
            object_pairs_hook=made,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=_refused if strict else WrittenDouble,
        )
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None
    try:
        dump(value)
    except (TypeError, RecursionError):
        raise TooDeepError from None
    if _SURROGATES.search(text):
        # Python takes half a pair, which then no file can hold.
        json.dumps(value, ensure_ascii=False, default=str).encode()
    return value


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON.")


def _integer(text: str) -> Any:
    if len(text) < 19 and text != "-0":
        return int(text)
    if len(text) > _MOST_DIGITS:
        return WrittenDecimal(text)
    number = int(text)
    return number if -(2**63) <= number < 2**64 and text != "-0" else WrittenInteger(text)


def _decimal(text: str) -> Any:
    number = float(text)
    if orjson.dumps(number) == text.encode():
        return number
    try:
        exact = WrittenDecimal(text)
    except InvalidOperation:  # an exponent that no decimal has
        raise ValueError("It has a number with an endless exponent.") from None
    # 0.1 is no double either, but the double nearest to it is written as 0.1: that is what holding it means.
    held = math.isfinite(number) and Decimal(repr(number)) == exact
    return WrittenDouble(text) if held else exact


def _dumped(value: Any) -> Any:
    """How values are written that orjson leaves to us."""
    if isinstance(value, WrittenDouble) and not math.isfinite(value):
        return value.text
    if isinstance(value, WrittenInteger | WrittenDouble | WrittenDecimal):
        return orjson.Fragment(value.text)
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value)) if value.is_finite() else str(value)
    kinds: tuple[Callable[[Any], Any], ...] = (int, float, dict, list)
    plain = next((kind for kind in kinds if isinstance(value, kind)), str)  # type: ignore[arg-type]
    return plain(value)


def _dumpable(value: Any) -> Any:
    """A value with its integers beyond 64 bits as orjson takes them."""
    if isinstance(value, dict):
        return {key: _dumpable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_dumpable(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return WrittenInteger(str(value))
    return value
