"""Statements on our tables stand in `database` alone: what is above hands connections on and says no SQL."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings import ROOT

ABOVE = ("api", "connectors", "deployments", "flows", "pipelines", "prefect_api", "use_cases", "web", "workers")
"""`local` is left out: its demo makes a connector as a back end does, by SQL of its own."""

STATEMENT = re.compile(r"\b(FROM|INTO|UPDATE|JOIN|TABLE)\s+(ONLY\s+)?cai_")
"""Of SQL, as it is written here: keywords in capitals."""

HANDED_ON = {"sqlalchemy.ext.asyncio", "sqlalchemy.exc"}
"""Engines and connections, and what is raised by them."""


def modules(folders: tuple[str, ...]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", [*modules(ABOVE)], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_statement_on_our_tables_stands_elsewhere(path: Path) -> None:
    found = STATEMENT.search(path.read_text())
    assert found is None, f"{found and found[0]}: statements stand in database/"


def test_the_statements_are_found_where_they_are() -> None:
    assert any(STATEMENT.search(path.read_text()) for path in modules(("database",)))


@pytest.mark.parametrize("path", [*modules(("api", "use_cases", "deployments", "flows"))], ids=lambda path: path.stem)
def test_use_cases_and_doors_know_sqlalchemy_by_its_connections_alone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        assert not {name for name in names if name.split(".")[0] == "sqlalchemy"} - HANDED_ON
