"""Places of an answer that may name a next page where the paginator's path names nothing: each can be asked.

A path that is misspelt and one that is right, on the only page there is, look alike. But what would stand at the right
one must be somewhere in the answer: an address of the same host, or a value that the parameter of a cursor would take.
Whoever asks for it and gets rows that are new has the proof. Everything here is pure.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pipelines.sources.http.links import host_of, next_address
from pipelines.sources.paging.statements import NO_NEXT_LINKS, is_link, plain

MOST = 3
"""Places that are asked for: each is a request more."""

_DEPTH = 4
_LONGEST = 2000
_DOES_MORE = re.compile(r"log|sign|auth|delete|remove|cancel|download|export|upload|edit|create|update|new|add|action")
"""Parts of names and addresses that nobody asks for just to see: it may do something, or bring something large."""
_NO_CURSOR = re.compile(
    r"status|message|msg|version|time|date|lang|code|type|kind|object|name|count|total|size|limit|page|copyright|took"
    r"|title|description|error|success|offset|unit|format|found|number|^id$|^v$"
)
"""Parts of names under which what stands is no cursor."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that may be the next page's, and where it stands."""

    path: str
    value: str | int


def links_in(body: Any, rows: list[Any], url: str) -> list[Candidate]:
    """Addresses on the answer's own host, which is that of `url`, under names that are not known for others."""
    found = []
    for path, value in _places(body, rows):
        name = plain(path.rpartition(".")[2])
        if not isinstance(value, str) or not is_link(value) or name in NO_NEXT_LINKS or _DOES_MORE.search(name):
            continue
        there = next_address(url, value)
        parts = urlsplit(there)
        if host_of(there) == host_of(url) and there != url and not _DOES_MORE.search(parts.path.lower()):
            found.append(Candidate(path, value))
    return found[:MOST]


def cursors_in(body: Any, rows: list[Any]) -> list[Candidate]:
    """Texts and numbers in the envelope of an answer, under names that are not known for anything else."""
    found = []
    for path, value in _places(body, rows):
        name = plain(path.rpartition(".")[2])
        fits = isinstance(value, str | int) and not isinstance(value, bool) and value not in ("", 0)
        if fits and not _NO_CURSOR.search(name) and not (isinstance(value, str) and (is_link(value) or " " in value)):
            found.append(Candidate(path, value))
    return found[:MOST]


def _places(body: Any, rows: list[Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Each single value of an answer outside of its rows, with its path."""
    if not isinstance(body, dict) or depth > _DEPTH:
        return
    for key, value in body.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict):
            yield from _places(value, rows, here, depth + 1)
        elif not isinstance(value, list) and len(str(value)) <= _LONGEST:
            yield here, value
