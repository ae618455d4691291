"""Limits of jsonb: NUL, lone surrogates and NaN (on write); depth and the size of numbers (on read).

Its text has no NUL and no half of a surrogate pair, its JSON no NaN; Python's parser lets all three through. Told by
the database itself it would be an error of ours instead of a sentence for the user. The other way round its JSON nests
without end and counts without end, and whoever writes rows by SQL can put such a value where every reader comes by.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

from connectors.refusals import Refusal

DEEPEST = 32
"""Levels of nesting: far more than any kind of source has, and little enough for every recursive reader."""


class Unreadable(dict[str, Any]):
    """Stands for JSON that PostgreSQL holds and nobody here can read. Empty for whoever shows it, and never valid."""


def readable(text: str) -> Any:
    """The value of a JSON text of PostgreSQL's; `Unreadable` when it is too deep, or holds too large a number."""
    try:
        value = _JSON.decode(text)
    except (RecursionError, ValueError):
        return Unreadable()
    # As many brackets as that are rare, and every row of every audit comes by here.
    deep = text.count("[") + text.count("{") > DEEPEST and any(len(way) > DEEPEST for way, _ in _walk(value, ("",)))
    return Unreadable() if deep else value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("too large")
    return value


_JSON = json.JSONDecoder(parse_float=_finite)


def unstorable(value: Any, field: str) -> list[Refusal]:
    """The refusal of the first thing in `value` that cannot be stored, as a list of one; an empty list when all can."""
    for path, item in _walk(value, (field,)):
        reason = _reason(path, item)
        if reason:
            pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
            return [Refusal(pointer, f"{'.'.join(path)} {reason}")]
    return []


def _reason(path: tuple[str, ...], item: Any) -> str | None:
    if len(path) > DEEPEST:
        return f"is nested too deeply: at most {DEEPEST} levels."
    if isinstance(item, str) and not is_text(item):
        return "holds a character that cannot be stored (NUL, or half of a surrogate pair): remove it."
    if isinstance(item, float) and not math.isfinite(item):
        return "must be a finite number."
    return None


def is_text(value: str) -> bool:
    """Whether PostgreSQL can hold a text."""
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in a JSON value with the way to it, keys included; no deeper than is to be refused."""
    waiting: list[tuple[tuple[str, ...], Any]] = [(path, value)]
    while waiting:
        way, item = waiting.pop()
        yield way, item
        if len(way) > DEEPEST:
            continue
        if isinstance(item, dict):
            for key in item:
                if not is_text(key):
                    # The key itself can be shown no more than it can be stored.
                    yield way, key
            waiting += [((*way, key), below) for key, below in item.items()]
        elif isinstance(item, list):
            waiting += [((*way, str(index)), below) for index, below in enumerate(item)]
