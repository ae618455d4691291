"""The rows in an answer: where `data_selector` says, or where the only list of an answer stands.

A path that finds nothing is told apart from a list that is empty: the one is a mistake, which must not empty a table,
the other is an answer. Everything here is pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from dlt.common.jsonpath import compile_path
from dlt.sources.helpers.rest_client.detector import RECORD_KEY_PATTERNS, find_all_lists

from pipelines.errors import ConfigurationError
from pipelines.sources.paging.said_errors import OF_ANSWERS, says_nothing
from pipelines.sources.paging.statements import SAID_OF_NOTHING, plain

_MANY = re.compile(r"\[\*\]|\.\*|\[\?|\.\.|\[\d*:")
"""Where a path begins to name more than one value."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of an answer."""

    rows: list[Any]
    is_row: bool = False
    """The answer itself is the only row."""
    found: bool = True
    """There was a place for rows. False: what the path names is not there."""
    lists: tuple[str, ...] = ()
    """Lists of objects in the answer, when it was a guess which of them holds the rows."""


@cache
def compiled(path: str) -> Any:
    """A JSON path, ready to be used.

    Raises:
        ConfigurationError: when it is none.
    """
    try:
        return compile_path(path)
    except Exception:  # whatever the parser of another maker raises
        raise ConfigurationError(f"'{path}' is no JSON path: write it such as $.items or items[*].") from None


def values_at(path: str, body: Any) -> list[Any]:
    """All that a path names; a key of that very name first, for names such as @odata.nextLink hold a point."""
    if isinstance(body, dict) and path in body:
        return [body[path]]
    return [match.value for match in compiled(path).find(body)]


def rows_at(path: str, body: Any) -> Rows:
    """The rows that a path names in an answer."""
    found = values_at(path, body)
    if not found:
        return Rows([], found=_is_empty_place(path, body))
    value = found[0] if len(found) == 1 else found
    if value is None:
        return Rows([])
    if isinstance(value, str | bool) and not _MANY.search(path):
        # PHP and XML write an empty list as "" or false. Any other text is no row, nor a place for rows.
        return Rows([], found=not value)
    rows = value if isinstance(value, list) else [value]
    return Rows(rows, is_row=len(rows) == 1 and rows[0] is body)


def _is_empty_place(path: str, body: Any) -> bool:
    """Whether the list that a path goes into is there and empty (or filtered), or may be left out for want of rows."""
    if body is None or body in ({}, []):
        return True
    many = _MANY.search(path)
    if many is not None:
        head = path[: many.start()].rstrip(".") or "$"
        places = values_at(head, body) if head != "$" else [body]
        if any(place is None or place in ([], {}) for place in places):
            return True
        if places and many[0] == "[?":
            return True
    return isinstance(body, dict) and (all(plain(key) in SAID_OF_NOTHING for key in body) or says_nothing(body))


def found_out(body: Any) -> tuple[str, ...] | None:
    """The keys under which an answer's rows stand: its list, by a usual name or the outermost. None: it has no list."""
    lists = find_all_lists(body, result=[]) if isinstance(body, dict) else []
    if not lists:
        return None
    usual = [path for path, _ in lists if path[-1] in RECORD_KEY_PATTERNS]
    return (usual or [path for path, _ in lists])[0]


def rows_under(keys: tuple[str, ...] | None, body: Any) -> Rows:
    """The rows under keys that `found_out` gave for this answer, or for one before."""
    if body is None:
        return Rows([])
    if isinstance(body, list):
        return Rows(body)
    if keys is None:
        return Rows([]) if _says_none(body) else Rows([body], is_row=True)
    value = body
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            return Rows([], found=isinstance(body, dict) and (_has(keys, body) or _is_empty_place("", body)))
    return Rows(value if isinstance(value, list) else [value])


def _says_none(body: Any) -> bool:
    """Whether an answer without a list says that there are no rows, as {"total": 0} does."""
    if not isinstance(body, dict):
        return False
    # PHP writes an empty list of named things as {}.
    names = {
        plain(key): value for key, value in body.items() if key not in RECORD_KEY_PATTERNS or value not in ({}, None)
    }
    none = any(
        names.get(name) == 0 and names[name] is not False for name in ("total", "totalcount", "totalresults", "count")
    )
    return (
        not names or (none and names.keys() <= SAID_OF_NOTHING) or says_nothing(body) or _is_empty_envelope(names, body)
    )


def _is_empty_envelope(names: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether the place for rows has none, and all else is said of the answer."""
    return len(names) < len(body) and names.keys() <= OF_ANSWERS


def _has(keys: tuple[str, ...], body: dict[str, Any]) -> bool:
    return keys[0] in body


def rivals(keys: tuple[str, ...] | None, body: Any) -> tuple[str, ...]:
    """Other lists of objects in an answer, when none of them has a usual name: rows may be missed."""
    if not isinstance(body, dict) or keys is None or keys[-1] in RECORD_KEY_PATTERNS:
        return ()
    lists = [
        (path, value) for path, value in find_all_lists(body, result=[]) if any(isinstance(v, dict) for v in value)
    ]
    names = tuple(
        ".".join(path) for path, _ in lists if plain(path[-1]) not in {"links", "link", "warnings", "messages"}
    )
    return names if len(names) > 1 else ()
