"""Rows of a view, by the algorithm of SQL on FHIR 2; its paths are evaluated by fhirpathpy.

Values are those of the resource itself, with the digits that the server sent; only what a path calculates is made here.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from itertools import product
from typing import Any

from fhirpathpy import compile as compiled
from fhirpathpy.engine.nodes import FP_Type, ResourceNode
from fhirpathpy.models import models

from connectors.sources.views.definitions import Column, Each, Literal, Selection, View
from pipelines.errors import ConfigurationError
from pipelines.rows.json_values import WrittenDecimal

Row = dict[str, Any]

_node: Any = ResourceNode.create_node


class Runner:
    """A view that is run over resources, one by one."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._model = "r5" if view.is_r5 else "r4"
        self._constants = {name: _constant(value, self._model) for name, value in view.constants}

    def rows(self, resource: Mapping[str, Any]) -> list[Row]:
        """The rows of a resource of the view's type.

        Raises:
            ConfigurationError: a path gives what the view does not allow for, or can't be evaluated.
        """
        root = _node(resource)
        for path in self._view.where:
            if not self._holds(path, root):
                return []
        parts = [self._of(one, root, 0) for one in self._view.selections]
        return [_joined(found) for found in product(*parts)]

    # --- selections -----------------------------------------------------------------------------------------------

    def _of(self, selection: Selection, node: Any, index: int) -> list[Row]:
        """The rows of a selection for one element."""
        if selection.each is None:
            return self._for_one(selection, node, index)
        if selection.each is Each.REPEAT:
            found = list(self._repeated(selection.paths, node, index))
        else:
            found = self._evaluated(selection.paths[0], node, index)
        if not found and selection.each is Each.FOR_EACH_OR_NULL:
            return self._for_one(selection, None, 0)
        return [row for number, each in enumerate(found) for row in self._for_one(selection, each, number)]

    def _for_one(self, selection: Selection, node: Any, index: int) -> list[Row]:
        if node is None:
            nothing = _node({}, "")
            return [{column.name: self._column(column, nothing, index) for column in selection.all_columns()}]
        parts = [[{column.name: self._column(column, node, index) for column in selection.columns}]]
        parts += [self._of(one, node, index) for one in selection.within]
        if selection.united:
            parts.append([row for one in selection.united for row in self._of(one, node, index)])
        return [_joined(found) for found in product(*parts)]

    def _repeated(self, paths: tuple[str, ...], node: Any, index: int) -> Iterator[Any]:
        for path in paths:
            for each in self._evaluated(path, node, index):
                yield each
                yield from self._repeated(paths, each, index)

    # --- paths ----------------------------------------------------------------------------------------------------

    def _column(self, column: Column, node: Any, index: int) -> Any:
        found = [_value(each) for each in self._evaluated(column.path, node, index)]
        if column.collection:
            return found
        if len(found) > 1:
            raise ConfigurationError(
                f"View {self._view.name} finds several values for its column {column.name} in one row: set the "
                "column's collection to true, take one of them by first(), or make a row of each by forEach."
            )
        return found[0] if found else None

    def _holds(self, path: str, node: Any) -> bool:
        found = [_value(each) for each in self._evaluated(path, node, 0)]
        if found and (len(found) > 1 or not isinstance(found[0], bool)):
            raise ConfigurationError(
                f"View {self._view.name} has a path in where that is neither true nor false for a resource: compare "
                "its value with another."
            )
        return bool(found and found[0])

    def _evaluated(self, path: str, node: Any, index: int) -> list[Any]:
        try:
            found = _expression(path, self._model)(node, {**self._constants, "rowIndex": index})
        except Exception:
            # The library's own words may have a value in them.
            failed = True
        else:
            failed = False
        if failed:
            raise ConfigurationError(
                f"View {self._view.name} has a path that can't be evaluated for a resource: look at "
                f"'{path}' for a function that is given several values, or values of another type."
            )
        return [each for each in found if each is not None]


def _joined(rows: tuple[Row, ...]) -> Row:
    joined: Row = {}
    for row in rows:
        joined |= row
    return joined


@lru_cache(maxsize=4096)
def _expression(path: str, model: str) -> Any:
    options = {"returnRawData": True, "userInvocationTable": _FUNCTIONS}
    # The library knows $this within a function alone.
    whole = f"select({path})" if "$this" in path else path
    return compiled(whole, model=models[model], options=options)


def _constant(value: Any, model: str) -> Any:
    return _expression(str(value), model)({}, {}) if isinstance(value, Literal) else value


def _value(found: Any) -> Any:
    value = found.data if isinstance(found, ResourceNode) else found
    if isinstance(value, FP_Type):
        return str(value)
    if isinstance(value, Decimal) and not isinstance(value, WrittenDecimal):
        # Calculated: a double where that is the same number, and else all of its digits.
        return float(value) if Decimal(repr(float(value))) == value else WrittenDecimal(str(value))
    return value


def _resource_key(found: list[Any]) -> list[Any]:
    return [each["id"] for each in found if isinstance(each, Mapping) and "resourceType" in each and "id" in each]


def _reference_key(found: list[Any], kind: Any = None) -> list[Any]:
    """The id in a reference to a resource of this server, of one type if that is named."""
    keys = []
    for each in found:
        reference = each.get("reference") if isinstance(each, Mapping) else None
        if not isinstance(reference, str):
            continue
        path, _, _version = reference.partition("/_history/")
        of_kind, _, key = path.rpartition("/")
        of_kind = of_kind.rpartition("/")[2]
        if key and of_kind and (kind is None or kind.name == of_kind):
            keys.append(key)
    return keys


def _join(found: list[Any], separator: str = "") -> str:
    """Texts as one: that of no text is empty, by the standard's own tests."""
    return separator.join(map(str, found))


_FUNCTIONS = {
    "join": {"fn": _join, "arity": {0: [], 1: ["String"]}},
    "getResourceKey": {"fn": _resource_key},
    "getReferenceKey": {"fn": _reference_key, "arity": {0: [], 1: ["TypeSpecifier"]}},
}
