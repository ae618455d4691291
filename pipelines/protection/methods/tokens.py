"""Tokens of `protect`: values enciphered so that they keep their form, by FF1 (NIST SP 800-38G) with AES-256.

A digit becomes a digit, a letter a letter in the same case, and every other sign stays where it is: `MRN-0042-77` may
be `QXF-8190-03`. Different values have different tokens, the same value has the same one in every source, and who has
the installation's key, and nobody else, can turn them back. FF3-1, the other mode of that standard, has no place in its
revision 1 (second draft, 2025). A value must have a million others of its form, as that revision asks, or it does not
land.
"""

import hashlib
import hmac
import math
import string
from collections.abc import Callable
from typing import Any

from fastfpe import ff1  # type: ignore[import-untyped]

from pipelines.protection.methods.hashing import as_text

FEWEST = 1_000_000
"""The fewest values of one form: SP 800-38G, revision 1."""

_ALPHABETS = (string.digits, string.ascii_lowercase, string.ascii_uppercase)
_OF = {sign: alphabet for alphabet in _ALPHABETS for sign in alphabet}

_Cipher = Callable[[str, str, str, str], str]


class Tokens:
    """The tokens of one installation's key."""

    def __init__(self, key: bytes) -> None:
        """`key`: that of the masks, of which another one is made here."""
        self._key = hmac.digest(key, b"tokenize", hashlib.sha256).hex()

    def of(self, value: Any) -> str | None:
        """The token of a value, as text; None where there are too few of its form, or it has signs beyond ASCII."""
        return None if value is None or isinstance(value, bool) else self._put(as_text(value), ff1.encrypt)

    def opened(self, token: str) -> str | None:
        """The value of a token, as text; None for what is none."""
        return self._put(token, ff1.decrypt)

    def _put(self, text: str, cipher: _Cipher) -> str | None:
        if not text.isascii():
            return None
        alphabets = [_OF[sign] for sign in text if sign in _OF]
        if math.prod(map(len, alphabets)) < FEWEST:
            return None
        signs = "".join(sign for sign in text if sign in _OF)
        if len(set(alphabets)) == 1:
            found = iter(cipher(self._key, "", alphabets[0], signs))
        else:
            found = iter(self._mixed(signs, alphabets, cipher))
        return "".join(next(found) if sign in _OF else sign for sign in text)

    def _mixed(self, signs: str, alphabets: list[str], cipher: _Cipher) -> str:
        """Signs of several alphabets as one number, enciphered until it is one of theirs again ("cycle walking"): as
        many bits as it has hold less than twice as many numbers, so that this takes two rounds or so."""
        number, size = 0, 1
        for sign, alphabet in zip(signs, alphabets, strict=True):
            number = number * len(alphabet) + alphabet.index(sign)
            size *= len(alphabet)
        bits = (size - 1).bit_length()
        while True:
            number = int(cipher(self._key, "", "01", f"{number:0{bits}b}"), 2)
            if number < size:
                break
        found = []
        for alphabet in reversed(alphabets):
            number, place = divmod(number, len(alphabet))
            found.append(alphabet[place])
        return "".join(reversed(found))
