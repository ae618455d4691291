"""Keyed hashes of values: HMAC-SHA256 of a value as every source would write it. Pure."""

import functools
import json
from decimal import Decimal, InvalidOperation
from typing import Any


class Hashing:
    """The hashes of one key.

    What comes before each value is made once, and copied: `hmac.digest` takes four times as long, most of it for the
    key, and copies of the two halves from hashlib a quarter longer.
    """

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415  # of loads that hash alone
        from cryptography.hazmat.primitives.hmac import HMAC  # noqa: PLC0415

        self._begun = HMAC(key, SHA256()).copy

    def digest(self, message: bytes) -> bytes:
        """The 32 bytes of a message's hash."""
        begun = self._begun()
        begun.update(message)
        return begun.finalize()

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
