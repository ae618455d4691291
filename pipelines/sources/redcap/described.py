"""Lines of the data dictionary as they may land: without what quotes values of a field that is hidden. Pure.

The choices of a field are its values, and so are bounds and defaults. Those of another field quote them where they
compare it with something, as branching logic and calculations do: `[name] = 'Smith'`.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from pipelines.sources.redcap.dictionary import Field

VALUES = ("select_choices_or_calculations", "field_annotation", "text_validation_min", "text_validation_max")
"""What of a field's line has values in it that the field may have."""

LOGIC = ("branching_logic", "select_choices_or_calculations", "field_annotation")
"""What of a field's line may compare others with values of theirs."""

_NAMED = re.compile(r"\[([a-z0-9_]+)(?:\([^)\]]*\))?\]")
_COMPARES = re.compile(r"[=<>]|contain|starts_with|ends_with|find")


def without_values(rows: Iterable[dict[str, Any]], stand: Callable[[Field], bool]) -> list[dict[str, Any]]:
    """The lines, in which nothing quotes a value of a field whose values don't `stand`."""
    lines = list(rows)
    hidden = {str(row["field_name"]) for row in lines if row.get("field_name") and not stand(Field.of(row))}
    return [_without(row, hidden) for row in lines] if hidden else lines


def _without(row: dict[str, Any], hidden: set[str]) -> dict[str, Any]:
    gone = {name for name in LOGIC if _quotes(str(row.get(name) or ""), hidden)}
    if row.get("field_name") in hidden:
        gone |= {name for name in VALUES if name in row}
    return {**row, **dict.fromkeys(gone, "")} if gone else row


def _quotes(text: str, hidden: set[str]) -> bool:
    return _COMPARES.search(text) is not None and not hidden.isdisjoint(_NAMED.findall(text))
