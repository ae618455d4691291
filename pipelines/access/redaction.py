"""The forms in which a secret turns up in what others say, and values without any of them.

A server that echoes what it was sent repeats a secret as it was sent: encoded for an address, as JSON, in base64 as
part of `user:password`. Each form is searched for, wherever it stands.
"""

import base64
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from connectors.sources.secret_references import looks_secret

SHORTEST = 4
"""Shorter values are not searched for: they would blot out half of every text."""

SHORTEST_INSIDE = 6
"""The same for a piece of base64 or hex, which stands inside of longer texts."""


def shapes(text: str) -> Iterator[str]:
    """The forms in which a secret turns up: itself, quoted, encoded, as JSON, and the passwords in an address."""
    for part in {text, *_passwords(text)}:
        once = quote(part, safe="")
        yield from (part, unquote(part), json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1])
        yield from (once, once.lower(), quote_plus(part), quote(once, safe=""), repr(part)[1:-1], html.escape(part))
        yield from _encoded(part.encode())
        yield from _as_pages_have_it(part)
        with suppress(UnicodeEncodeError):
            latin = part.encode("latin-1")  # in which logins are sent where they fit into it
            if not part.isascii():
                yield from (*_encoded(latin), quote(latin, safe=""), quote(latin, safe="").lower())
                yield from (part.encode().decode("latin-1"), repr(part.encode())[2:-1], repr(latin)[2:-1])
        if "\n" in part:
            yield from (line for line in part.splitlines() if len(line) > 2 * SHORTEST)


def _as_pages_have_it(part: str) -> Iterator[str]:
    """A secret as pages, scripts and addresses of paths have it."""
    tags = html.escape(part, quote=False)
    quoted = tags.replace('"', "&quot;")
    yield from (tags, quoted, quoted.replace("'", "&#39;"), quoted.replace("'", "&apos;"))
    yield tags.replace('"', "&#34;").replace("'", "&#39;")
    yield from (quote(part), json.dumps(json.dumps(part))[3:-3])
    for text in (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1]):
        yield text.replace("/", "\\/")
        safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
        yield from (safe, safe.replace("'", "\\u0027"))


def _encoded(data: bytes) -> Iterator[str]:
    """Base64 and hex of some bytes, alone or in the midst of others."""
    yield base64.b64encode(data).decode()
    pieces = [data.hex(), data.hex().upper()]
    for alphabet in (b"+/", b"-_"):
        for before, shared in ((0, 0), (1, 2), (2, 3)):
            whole = base64.b64encode(bytes(before) + data, alphabet).decode()
            # The first and last characters also hold bits of what stands before and behind.
            pieces.append(whole[shared : 8 * (before + len(data)) // 6])
    yield from (piece for piece in pieces if len(piece) >= SHORTEST_INSIDE)


def _passwords(text: str) -> Iterator[str]:
    """The passwords inside an address or a libpq connection string, also of one too malformed to be parsed."""
    if "://" in text:
        # The last @ ends the user part; a password with @, : or / in it makes drivers show pieces of it as a host.
        user_part, at, _ = text.split("://", 1)[1].rpartition("@")
        password = user_part.partition(":")[2]
        if at and password:
            yield password
            yield from (piece for piece in re.split(r"[@:/?#\[\]]", password) if len(piece) >= SHORTEST)
        with suppress(ValueError):
            yield from (value for key, value in parse_qsl(urlsplit(text).query) if looks_secret(key))
    for match in re.finditer(
        r"(?:password|pwd|accountkey|sharedaccesskey)\s*=\s*('[^']*'|[^\s;]+)", text, re.IGNORECASE
    ):
        yield match.group(1).strip("'")


def cleaned(value: Any, redact: Callable[[str], str]) -> Any:
    """A value of a row, nested ones too, without any secret in it; names of fields included."""
    match value:
        case str():
            return redact(value)
        case bytes():
            text = value.decode("latin-1")
            return value if (clean := redact(text)) == text else clean.encode("latin-1")
        case Mapping():
            return {cleaned(key, redact): cleaned(item, redact) for key, item in value.items()}
        case list() | tuple():
            return [cleaned(item, redact) for item in value]
    return value
