"""Keyed hashes of values: HMAC-SHA256 of a value as every source would write it. Pure."""

import functools
import hashlib
import json
from decimal import Decimal, InvalidOperation
from typing import Any

_BLOCK = 64
"""Bytes that SHA-256 takes at once, to which an HMAC's key is filled up."""


class Hashing:
    """The hashes of one key.

    As RFC 2104 has it, with what comes before each value made once: a call of the library a value costs three times as
    much, most of it for the key.
    """

    def __init__(self, key: bytes) -> None:
        filled = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in filled)).copy
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in filled)).copy

    def digest(self, message: bytes) -> bytes:
        """The 32 bytes of a message's hash."""
        inner, outer = self._inner(), self._outer()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()

    def of(self, value: Any) -> str | None:
        """The hash of a value, as 64 hexadecimal digits; an absent value stays absent."""
        return None if value is None else self.digest(as_text(value).encode()).hex()


hashing = functools.lru_cache(16)(Hashing)
"""The hashes of a key, remembered."""


def hashed(value: Any, key: bytes) -> str | None:
    """The keyed hash of a value, as 64 hexadecimal digits; an absent value stays absent."""
    return hashing(key).of(value)


def as_text(value: Any) -> str:
    """A value as every source would write it: 7, 7.0 and a decimal of any scale are the same number."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    match value:
        case bool() | dict() | list():
            return json.dumps(value, sort_keys=True, default=str)
        case float() if value.is_integer():
            return str(int(value))
        case Decimal():
            digits = f"{value:f}"
            return digits.rstrip("0").rstrip(".") if "." in digits else digits
    return str(value)


def as_number(value: Any) -> Decimal | None:
    """A value as the number that it is or that its text says; None for what is no number, infinite or none at all."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        number = Decimal(value.strip() if isinstance(value, str) else as_text(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
