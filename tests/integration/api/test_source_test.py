"""Reaching a source from the API: the first rows, why not, and an end to waiting."""

import socket
from pathlib import Path

import pytest

from api.answers import ProbeAnswer
from api.sources.asking import looks_of
from connectors.connector import ConnectorRow
from settings import Settings
from tests.support.control_plane.samples import row


async def reach(source: ConnectorRow, seconds: float = 55) -> ProbeAnswer:
    """A look at a source, from beside the API."""
    return await looks_of(Settings(probe_seconds=seconds)).reach(source)


async def test_the_first_rows_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labs.csv").write_text("id,taken,value\n1,2024-01-02,3.5\n2,2024-01-03,4.5\n")
    monkeypatch.setenv("CAI_LOCAL_FILE_ROOTS", str(tmp_path))
    monkeypatch.setenv("CAI_DATA_DIR", str(tmp_path / "data"))
    answer = await reach(row(source={"type": "files", "url": str(tmp_path), "glob": "*.csv", "table": "labs"}))
    assert answer.ok, answer.message
    (table,) = answer.tables
    assert (table.name, [each["id"] for each in table.rows]) == ("labs", [1, 2])
    assert answer.model_dump_json(by_alias=True)


async def test_why_not_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_DATA_DIR", str(tmp_path))
    refused = await reach(row(source={"type": "files", "url": "/nowhere", "glob": "*.csv"}))
    assert (refused.ok, refused.tables) == (False, [])
    assert "CAI_LOCAL_FILE_ROOTS" in refused.message
    invalid = await reach(row(source={"type": "fax"}))
    assert (invalid.ok, invalid.message[:11]) == (False, "source.type")


async def test_a_source_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_DATA_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        resource = {"name": "visits", "path": "visits"}
        asked = row(source={"type": "rest_api", "base_url": url, "resources": [resource]})
        answer = await reach(asked, seconds=1)
    assert (answer.ok, answer.message) == (False, "The source did not answer within 1 seconds.")
