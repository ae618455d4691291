"""Walls of the house (docs/architecture.md), computed from the sources: floors, circles, sizes, first lines.

import-linter holds the floors by folder names; what it does not see is here: imports that only a type checker follows,
circles inside a folder, and how large things may grow. A list of exceptions names what is not true yet, exactly: who
mends one takes it off the list.
"""

import ast
import functools
import inspect
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from deployments.reconciling.reconciler import Reconciler
from settings import ROOT

FLOORS = (
    ("flows", "api", "workers", "local"),
    ("web",),
    ("deployments", "pipelines", "use_cases"),
    ("database", "prefect_api"),
    ("settings", "logs"),
    ("connectors",),
)
"""The top folders, the doors first. A folder imports those below its own floor."""

MOST_MODULES = 14
LONGEST_FUNCTION = 60
LONGEST_CLASS = 250
LONGEST_FILE = 400
MOST_COLLABORATORS = 7

NOT_YET_ROOMY: set[str] = set()
NOT_YET_SHORT_FUNCTIONS: set[str] = set()
NOT_YET_SMALL_CLASSES: set[str] = set()
NOT_YET_SHORT_FILES: set[str] = set()
NOT_YET_FREE_OF_CIRCLES: set[frozenset[str]] = set()
NOT_YET_DOWNWARD: set[tuple[str, str]] = set()
NOT_YET_OUT_OF_CIRCLES: frozenset[str] = frozenset()


FLOOR = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}


@functools.cache
def sources() -> Mapping[str, Path]:
    """The files of the product by their modules' names; a package has the name of its folder.

    Migrations are left out: they are a log, each is read once, and there are ever more of them.
    """
    found = {}
    for top in FLOOR:
        for path in [ROOT / f"{top}.py", *(ROOT / top).rglob("*.py")]:
            if path.exists() and path.parent != ROOT / "database" / "migrations" / "versions":
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                found[name.removesuffix(".__init__")] = path
    return found


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(sources()[module].read_text())


@functools.cache
def nodes(module: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(module)))


@functools.cache
def imported(module: str) -> frozenset[str]:
    """The modules of ours that a module imports anywhere: at its top, in a function, for the type checker alone."""
    found = set()
    for node in nodes(module):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in sources() else str(node.module) for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(found & sources().keys()) - {module}


def arrows() -> Iterator[tuple[str, str]]:
    """Every import of one module of ours by another."""
    return ((module, other) for module in sources() for other in imported(module))


def circle(graph: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """The members of a circle of a graph; empty when it has none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return frozenset(error.args[1])
    return frozenset()


def child(module: str, folder: str) -> str | None:
    """The part of a folder that a module is in, or is: `a.b` for `a.b.c` in `a`; None for one elsewhere."""
    inside = module.removeprefix(f"{folder}.")
    return None if inside == module else f"{folder}.{inside.split('.')[0]}"


def packages() -> list[str]:
    return [module for module, path in sources().items() if path.name == "__init__.py"]


def test_the_floors_name_every_folder_of_the_product() -> None:
    here = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert here - {"tests", "rigs", "benchmarks", "helm"} <= FLOOR.keys()


def test_the_documentation_names_every_folder_of_the_product() -> None:
    documented = (ROOT / "docs" / "architecture.md").read_text().partition("## Floors")[2].partition("## Rooms")[0]
    names = {each if (ROOT / each).is_dir() else f"{each}.py" for each in FLOOR}
    assert {each for each in names if f"`{each.removesuffix('.py')}" not in documented} == set()


def test_imports_point_down() -> None:
    tops = {(one.split(".")[0], other.split(".")[0]) for one, other in arrows()}
    upward = {(one, other) for one, other in tops if one != other and FLOOR[one] >= FLOOR[other]}
    assert upward == NOT_YET_DOWNWARD


@pytest.mark.parametrize(("folder", "never"), [("benchmarks", {"tests"}), ("rigs", {"tests", "benchmarks"})])
def test_benchmarks_and_rigs_import_no_tests(folder: str, never: set[str]) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {str(name).split(".")[0] for name in names} & never, path


def test_no_module_is_in_a_circle() -> None:
    assert circle({module: imported(module) for module in sources()}) == NOT_YET_OUT_OF_CIRCLES


def test_no_parts_of_a_folder_are_in_a_circle() -> None:
    circles = set()
    for folder in packages():
        graph: dict[str, set[str]] = {}
        for one, other in arrows():
            parts = child(one, folder), child(other, folder)
            if parts[0] and parts[1] and parts[0] != parts[1]:
                graph.setdefault(parts[0], set()).add(parts[1])
        circles.add(circle(graph))
    assert circles - {frozenset()} == NOT_YET_FREE_OF_CIRCLES


def test_no_folder_has_more_modules_than_can_be_looked_over() -> None:
    """Of tests and benchmarks neither. An `__init__` counts where it holds more than a sentence."""
    counted: dict[Path, int] = {}
    for top in (*FLOOR, "tests", "rigs", "benchmarks", "helm"):
        for path in (ROOT / top).rglob("*.py"):
            if path.name != "__init__.py" or len(ast.parse(path.read_text()).body) > 1:
                counted[path.parent] = counted.get(path.parent, 0) + 1
    counted.pop(ROOT / "database" / "migrations" / "versions")
    full = {str(folder.relative_to(ROOT)) for folder, modules in counted.items() if modules > MOST_MODULES}
    assert full == NOT_YET_ROOMY


def spans(kinds: tuple[type[ast.stmt], ...], most: int) -> set[str]:
    """The functions or classes that have more lines than `most`, as `module:name`."""
    return {
        f"{module}:{getattr(node, 'name', '')}"
        for module in sources()
        for node in nodes(module)
        if isinstance(node, kinds) and (node.end_lineno or 0) - node.lineno >= most
    }


def test_no_function_is_longer_than_a_page() -> None:
    assert spans((ast.FunctionDef, ast.AsyncFunctionDef), LONGEST_FUNCTION) == NOT_YET_SHORT_FUNCTIONS


def test_no_class_is_larger_than_its_subject() -> None:
    assert spans((ast.ClassDef,), LONGEST_CLASS) == NOT_YET_SMALL_CLASSES


def test_no_file_has_two_subjects() -> None:
    long = {module for module, path in sources().items() if len(path.read_text().splitlines()) > LONGEST_FILE}
    assert long == NOT_YET_SHORT_FILES


def test_the_reconciler_is_handed_few_collaborators() -> None:
    assert len(inspect.signature(Reconciler).parameters) <= MOST_COLLABORATORS


def test_every_module_begins_with_the_name_of_its_subject() -> None:
    """Those of tests, benchmarks and migrations too; an empty file that makes a folder a package says nothing."""
    for top in {*FLOOR, "tests", "rigs", "benchmarks", "helm"}:
        for path in [ROOT / f"{top}.py", *(ROOT / top).rglob("*.py")]:
            text = path.read_text() if path.exists() else ""
            first = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
            assert first or not text.strip(), f"{path} says what it is"
            assert not re.match(r"(What|How|Where|Who|Whether|Which|Why)", first), f"{path}: {first}"


def test_import_linter_names_folders_and_excuses_nothing() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert [line for contract in contracts for line in contract.get("ignore_imports", [])] == []
    for contract in contracts:
        named = " ".join(contract.get("layers", []) + contract.get("source_modules", []) + contract.get("modules", []))
        for folder in re.findall(r"[\w.]+", named):
            assert (ROOT / folder.replace(".", "/")).is_dir(), f"{folder} is no folder"


def test_each_migration_follows_the_one_before() -> None:
    """Two of one number come together by a merge that no tool refuses."""
    versions = sorted((ROOT / "database" / "migrations" / "versions").glob("0*.py"))
    said = [
        re.findall(r'^(?:down_)?revision(?:: .*)? = (?:"(\d+)"|None)$', each.read_text(), re.M) for each in versions
    ]
    numbers = [each.name[:4] for each in versions]
    assert said == [[one, before] for one, before in zip(numbers, ["", *numbers], strict=False)]
