"""The documents stay true: settings, commands, and the tests that the failure table names."""

import itertools
import os
import re
from pathlib import Path

import pytest

from settings import ROOT, describe

LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")


def settings_page() -> str:
    """docs/settings.md as settings.py has it."""
    rows = [f"| `{name}` | {f'`{default}`' if default else ''} | {text} |" for name, default, text in describe()]
    return "\n".join(
        [
            "# Settings",
            "",
            "Environment variables, all with the prefix `CAI_`. Lists are comma separated. Prefect's own settings",
            "(`PREFECT_API_URL`, `PREFECT_API_AUTH_STRING`) are Prefect's.",
            "",
            "| variable | default | what it is |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def test_every_setting_is_documented_as_it_is() -> None:
    page = ROOT / "docs" / "settings.md"
    if os.environ.get("WRITE_DOCS"):
        page.write_text(settings_page())
    assert page.read_text() == settings_page(), "run WRITE_DOCS=1 pytest tests/unit/test_docs.py"


@pytest.mark.parametrize("page", ["failures.md", "exactness.md"])
def test_every_row_of_a_table_of_promises_names_tests_that_exist(page: str) -> None:
    lines = (ROOT / "docs" / page).read_text().splitlines()
    # The line below a table's head is one of dashes.
    rows = [line for line, below in itertools.pairwise([*lines, ""]) if line.startswith("| ") and below[:2] != "|-"]
    assert len(rows) > 20
    for row in rows:
        proof = row.rstrip("| ").rsplit("|", 1)[1]
        paths = re.findall(r"tests/[\w/]+\.py", proof)
        assert paths, row
        for path in paths:
            assert (ROOT / path).exists(), f"{path} is named by {page}"
        code = "".join((ROOT / path).read_text() for path in paths)
        for name in re.findall(r"`(test_\w+)`", proof):
            assert f"def {name}(" in code, f"{name} is named by {page}"


def test_the_targets_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them: lower case, without signs, and hyphens for spaces."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_no_link_of_a_page_leads_nowhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    links = [(page, *link) for page in pages for link in LINK.findall(page.read_text())]
    assert len(links) > 50
    for page, path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links {path}"
        assert not anchor or anchor in anchors(target), f"{page.name} links {path}#{anchor}"


def test_no_comment_names_a_page_that_is_not_here() -> None:
    code = [
        path for folder in ("connectors", "deployments", "pipelines", "flows") for path in (ROOT / folder).rglob("*.py")
    ]
    named = {(path.name, page) for path in code for page in re.findall(r"[\w/.-]*\w\.md\b", path.read_text())}
    assert named
    for where, page in named:
        assert any((folder / page).exists() for folder in (ROOT, ROOT / "docs")), f"{where} names {page}"


def test_every_module_that_a_page_names_is_there() -> None:
    to_come = {"connectors/sources/closed_days.py", "pipelines/sources/closed_days.py"}  # the example of a new kind
    folders = (
        "flows|api|web|local|deployments|pipelines|use_cases|database|prefect_api|connectors|tests|helm|benchmarks"
    )
    named: set[tuple[str, str]] = set()
    pages = {*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")} - {ROOT / "CHANGELOG.md"}  # which names what is gone
    for page in sorted(pages):
        text = page.read_text()
        named |= {(page.name, path) for path in re.findall(rf"`((?:{folders})/[\w/.]*\w(?:\.py|/))[`:]", text)}
        dotted = re.findall(rf"-m ((?:{folders})(?:\.\w+)*)", text)
        named |= {(page.name, module.replace(".", "/")) for module in dotted}
    assert len(named) > 60
    for page_name, path in named:
        if path in to_come or "000N" in path:
            continue
        assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists(), f"{page_name} names {path}"
