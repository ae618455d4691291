"""Objects that give one name several values: a run of each source says that only the last one landed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import Answer, Asked, WebServer

TOLD = "several values: only the last one landed. Have the source give each name once."


def answered(asked: Asked) -> Any:
    """One row, of REST, FHIR or REDCap, that gives a name twice."""
    if asked.path == "/rest/doses":
        return Answer(b'[{"id": 1, "dose": 5, "dose": 7}]')
    if asked.path.startswith("/fhir"):
        return Answer(
            b'{"resourceType": "Bundle", "type": "searchset", "total": 1, "entry": [{"resource": {"resourceType": '
            b'"Patient", "id": "p1", "gender": "male", "gender": "female", "meta": {"lastUpdated": '
            b'"2024-01-01T00:00:00Z"}}}]}'
        )
    if b"metadata" in asked.body:
        return Answer(b'[{"field_name": "study_id", "form_name": "f", "field_type": "text"}]')
    return Answer(b'[{"study_id": "1", "weight": "50", "weight": "51"}]')


@pytest.mark.parametrize(
    ("source", "cell", "value"),
    [
        ({"type": "rest_api", "base_url": "/rest", "resources": [{"name": "doses", "path": "doses"}]}, "doses.dose", 7),
        ({"type": "fhir", "base_url": "/fhir", "resource_types": ["Patient"]}, "patient.gender", "female"),
        (
            {"type": "redcap", "api_url": "/api/", "token": {"env": "CAI_SECRET_REDCAP"}, "content": ["record"]},
            "record.weight",
            "51",
        ),
    ],
)
def test_an_answer_that_gives_a_name_several_values_is_told(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, source: dict[str, Any], cell: str, value: Any
) -> None:
    monkeypatch.setenv("CAI_SECRET_REDCAP", "t" * 32)
    address = "api_url" if source["type"] == "redcap" else "base_url"
    with WebServer(answered) as web:
        connector = platform.add({**source, address: web.url + source[address]})
        assert TOLD in platform.run(connector).sentence
    table, _, column = cell.partition(".")
    assert platform.duck(f"SELECT {column} FROM connector_{connector}.{table}") == [(value,)]


def test_a_file_that_gives_a_name_several_values_is_told_by_its_line(platform: Platform, inbox: Path) -> None:
    lines = [json.dumps({"id": 1, "dose": 5}), '{"id": 2, "dose": 5, "dose": 7}', '{"id": 3, "dose": "cut \\ud83d"}']
    (inbox / "doses.jsonl").write_text("\n".join(lines))
    source = {"type": "files", "url": str(inbox), "glob": "*.jsonl", "format": "jsonl", "table": "doses"}
    connector = platform.add(source)
    sentence = platform.run(connector).sentence
    assert f"An object in line 2 of doses.jsonl gives one name {TOLD}" in sentence
    assert "doses.jsonl has half of a character in line 3" in sentence
    found = platform.duck(f"SELECT id, dose, dose__v_text FROM connector_{connector}.doses ORDER BY id")
    assert found == [(1, 5, None), (2, 7, None), (3, None, "cut \ufffd")]
