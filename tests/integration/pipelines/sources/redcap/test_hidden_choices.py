"""Fields of checkboxes that are hidden: their choices are in no dictionary, and a report has none of their columns."""

from datetime import UTC, datetime

import pytest

from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import WebServer
from tests.support.servers.redcap import TOKEN
from tests.support.servers.redcap_project import MadeProject

CHOICES = {"select_choices_or_calculations": "1, canary | 02, other"}
FIELDS: list[dict[str, str]] = [
    {"field_name": "id", "form_name": "f", "field_type": "text"},
    {"field_name": "race", "form_name": "f", "field_type": "checkbox", **CHOICES},
    {"field_name": "sex", "form_name": "f", "field_type": "radio", "select_choices_or_calculations": "1, f | 2, m"},
]


def test_choices_of_hidden_boxes_land_nowhere(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_REDCAP", TOKEN)
    project = MadeProject(FIELDS)
    project.cells = {("7", "", "", ""): {"race___1": "1", "race___02": "0", "sex": "1"}}
    project.note("7", at=datetime(2024, 1, 1, tzinfo=UTC))

    with WebServer(project) as web:
        token = {"env": "CAI_SECRET_REDCAP"}
        said = {"type": "redcap", "api_url": web.url + "/api/", "token": token, "labels": True, "report": 5}
        where = {"where": [{"path": "id", "op": "==", "value": "7"}]}
        boxes, lists = (
            platform.add({**said, "mask": ["race___1"]}),
            platform.add({**said, "checkboxes": "codes", "mask": ["race"], "protect": where}),
        )
        platform.run(boxes)
        summary = platform.run(lists)
    # What rows may leave is said of rows, and not of what describes them.
    assert summary.remarks == ()
    for connector in (boxes, lists):
        found = platform.duck(
            f"SELECT field_name, select_choices_or_calculations FROM connector_{connector}.metadata ORDER BY 1"
        )
        assert found == [("id", None), ("race", ""), ("sex", "1, f | 2, m")]
    # A hash of a list is no list, and stands in the column of it.
    record, report = (platform.duck(f"SELECT race FROM connector_{lists}.{name}") for name in ("record", "report_5"))
    assert record == report
    assert len(record[0][0]) == 64
    columns = [name for name, *_ in platform.duck(f"DESCRIBE connector_{lists}.report_5")]
    assert "race___1" not in str(columns)
    assert "race_1" not in columns
