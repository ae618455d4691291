"""ViewDefinitions of HL7's SQL on FHIR 2, as trees that are known to be valid: names, selections, paths. Pure.

Read here and not by models of pydantic: a selection holds selections, which no form can show, and the standard's own
words are what a refusal has to use. Paths are parsed by the library that evaluates them (`connectors.sources.views.
paths`), so what is saved can be run.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from connectors.limits.closed_sets import ClosedSet
from connectors.sources.secret_references import refused
from connectors.sources.views.paths import PathError, check_path
from connectors.sources.write_rules import normalised


class Each(ClosedSet):
    """What a selection makes rows of."""

    FOR_EACH = "forEach"
    FOR_EACH_OR_NULL = "forEachOrNull"
    REPEAT = "repeat"


_SQL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_DESCRIBING = frozenset({
    "resourceType", "id", "meta", "implicitRules", "language", "text", "contained", "extension", "modifierExtension",
    "url", "identifier", "version", "versionAlgorithmString", "versionAlgorithmCoding", "title", "status",
    "experimental", "date", "publisher", "contact", "description", "useContext", "jurisdiction", "purpose", "copyright",
    "copyrightLabel", "profile",
})  # fmt: skip
"""Elements of a ViewDefinition that say nothing of its rows."""

_OF_VIEW = frozenset({"name", "resource", "fhirVersion", "constant", "select", "where"})
_OF_SELECT = frozenset({"column", "select", "unionAll", *(each.value for each in Each)})
_OF_COLUMN = frozenset({"name", "path", "type", "collection", "description", "tag"})
_OF_ANY = frozenset({"id", "extension", "modifierExtension"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a view. `type` is FHIR's word for what is in it; empty where the view does not say."""

    name: str
    path: str
    type: str = ""
    collection: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows for each element of a path (`each`), or for the one at hand; within them columns, and rows of others."""

    each: Each | None = None
    paths: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    within: tuple["Selection", ...] = ()
    united: tuple["Selection", ...] = ()

    def all_columns(self) -> Iterator[Column]:
        """All columns of its rows, in the standard's order: its own, those within, those of its union."""
        yield from self.columns
        for one in self.within:
            yield from one.all_columns()
        if self.united:
            yield from self.united[0].all_columns()

    def all_paths(self) -> Iterator[str]:
        """All paths that are evaluated for its rows."""
        yield from self.paths
        yield from (column.path for column in self.columns)
        for one in (*self.within, *self.united):
            yield from one.all_paths()


@dataclass(frozen=True, slots=True)
class View:
    """A ViewDefinition that can be run."""

    name: str
    resource: str
    selections: tuple[Selection, ...]
    where: tuple[str, ...] = ()
    constants: tuple[tuple[str, Any], ...] = ()
    is_r5: bool = False

    def columns(self) -> tuple[Column, ...]:
        """Its columns, in their order."""
        return tuple(column for one in self.selections for column in one.all_columns())


def view_of(given: Mapping[str, Any]) -> View:
    """A ViewDefinition, read.

    Raises:
        PydanticCustomError: it is invalid; the sentence names the view, and what of it.
    """
    return _Reading(given).view()


class _Reading:
    """The reading of one ViewDefinition, which knows its name for the sentences."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        name = given.get("name")
        self._name = name if isinstance(name, str) and _SQL_NAME.fullmatch(name) else ""

    def view(self) -> View:
        given = self._given
        if given.get("resourceType", "ViewDefinition") != "ViewDefinition":
            self._refuse("has another resourceType than ViewDefinition")
        self._known(given, "", _OF_VIEW | _DESCRIBING)
        name = self._sql_name(given.get("name"), "name")
        resource = given.get("resource")
        if not isinstance(resource, str) or not re.fullmatch(r"[A-Z][A-Za-z]+", resource):
            self._refuse("needs resource, the FHIR type that its rows are made of, such as 'Patient'")
        constants = tuple(self._constant(each, where) for where, each in self._items(given, "constant", ""))
        named = [name for name, _ in constants]
        selections = tuple(self._selection(each, where) for where, each in self._items(given, "select", ""))
        if not selections:
            self._refuse("needs select with at least one column")
        where = tuple(self._condition(each, at) for at, each in self._items(given, "where", ""))
        view = View(name, resource, selections, where, constants, self._is_r5(given.get("fhirVersion")))
        self._columns(view)
        for path in (*where, *(path for one in selections for path in one.all_paths())):
            if missing := sorted(set(re.findall(r"%([A-Za-z_]\w*)", path)) - {*named, *_GIVEN}):
                self._refuse(f"uses %{missing[0]}, and has no constant of that name")
        return view

    # --- parts ----------------------------------------------------------------------------------------------------

    def _selection(self, given: Mapping[str, Any], where: str) -> Selection:
        self._known(given, where, _OF_SELECT | _OF_ANY)
        kinds = [each for each in Each if given.get(each.value) is not None]
        if len(kinds) > 1:
            self._refuse(f"has {kinds[0]} and {kinds[1]} in {where}, of which there may be one")
        each = kinds[0] if kinds else None
        columns = tuple(self._column(one, at) for at, one in self._items(given, "column", where))
        within = tuple(self._selection(one, at) for at, one in self._items(given, "select", where))
        united = tuple(self._selection(one, at) for at, one in self._items(given, "unionAll", where))
        if not (columns or within or united):
            self._refuse(f"has no column in {where}")
        if len({tuple(column.name for column in one.all_columns()) for one in united}) > 1:
            self._refuse(f"unites other columns than each other in {where}.unionAll: name the same ones, in one order")
        return Selection(each, self._paths_of(given, each, where), columns, within, united)

    def _paths_of(self, given: Mapping[str, Any], each: Each | None, where: str) -> tuple[str, ...]:
        if each is None:
            return ()
        if each is not Each.REPEAT:
            return (self._path(given, where, each.value),)
        paths = given[each.value]
        if not isinstance(paths, list) or not paths:
            self._refuse(f"needs a list of paths as {where}.repeat")
        return tuple(self._path({"repeat": path}, where, "repeat") for path in paths)

    def _column(self, given: Mapping[str, Any], where: str) -> Column:
        self._known(given, where, _OF_COLUMN | _OF_ANY)
        kind, collection = given.get("type") or "", given.get("collection", False)
        if not isinstance(kind, str):
            self._refuse(f"needs text as {where}.type")
        if not isinstance(collection, bool):
            self._refuse(f"needs true or false as {where}.collection")
        name = self._sql_name(given.get("name"), f"{where}.name")
        return Column(name, self._path(given, where, "path"), kind.rpartition("/")[2], collection)

    def _condition(self, given: Mapping[str, Any], where: str) -> str:
        self._known(given, where, {"path", "description"} | _OF_ANY)
        return self._path(given, where, "path")

    def _constant(self, given: Mapping[str, Any], where: str) -> tuple[str, Any]:
        values = [name for name in given if re.fullmatch(r"value[A-Z]\w*", name)]
        self._known(given, where, {"name", *values} | _OF_ANY)
        if len(values) != 1 or not isinstance(given[values[0]], str | int | float | bool):
            self._refuse(f"needs one value in {where}, such as valueString")
        value = given[values[0]]
        temporal = values[0] in {"valueDate", "valueDateTime", "valueInstant", "valueTime"}
        if temporal and isinstance(value, str):
            # A literal of FHIRPath: a text would be compared with a date as a text.
            value = Literal("@T" + value if values[0] == "valueTime" else "@" + value)
            self._parsed(value, f"{where}.{values[0]}")
        return self._sql_name(given.get("name"), f"{where}.name"), value

    def _columns(self, view: View) -> None:
        seen: set[str] = set()
        for column in view.columns():
            if normalised(column.name) in seen:
                self._refuse(f"has column {column.name} twice: give one another name")
            seen.add(normalised(column.name))

    def _is_r5(self, versions: Any) -> bool:
        given = [versions] if isinstance(versions, str) else versions
        return isinstance(given, list) and bool(given) and all(str(each).startswith("5") for each in given)

    # --- what all have --------------------------------------------------------------------------------------------

    def _items(self, given: Mapping[str, Any], name: str, where: str) -> list[tuple[str, Mapping[str, Any]]]:
        found, place = given.get(name, []), f"{where}.{name}".lstrip(".")
        if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
            self._refuse(f"needs a list of objects as {place}")
        return [(f"{place}[{index}]", each) for index, each in enumerate(found)]

    def _path(self, given: Mapping[str, Any], where: str, name: str) -> str:
        path = given.get(name)
        if not isinstance(path, str) or not path.strip():
            self._refuse(f"needs a FHIRPath expression as {where}.{name}")
        self._parsed(path, f"{where}.{name}")
        return path

    def _parsed(self, path: str, where: str) -> None:
        try:
            check_path(path)
        except PathError as error:
            self._refuse(f"has no FHIRPath that can be run as {where}: {error}")

    def _sql_name(self, value: Any, where: str) -> str:
        if not isinstance(value, str) or not _SQL_NAME.fullmatch(value) or len(value) > 200:
            self._refuse(f"needs letters, digits and underscores as {where}, the first a letter")
        return value

    def _known(self, given: Mapping[str, Any], where: str, names: Sequence[str] | frozenset[str] | set[str]) -> None:
        if unknown := sorted(map(str, set(given) - set(names))):
            place = f" in {where}" if where else ""
            self._refuse(f"has '{unknown[0]}'{place}, which no ViewDefinition has: correct the spelling")

    def _refuse(self, what: str) -> NoReturn:
        label = f" ({self._name})" if self._name else ""
        # Braces are the sentence's own places.
        raise refused("{field}" + f"{label} {what}.".replace("{", "(").replace("}", ")"))


class Literal(str):
    """A constant that is written into a path as FHIRPath's own literal."""


_GIVEN = ("rowIndex", "context", "resource", "rootResource", "ucum", "sct", "loinc")
"""Names with a percent sign that paths have from the runner or from FHIRPath itself."""
