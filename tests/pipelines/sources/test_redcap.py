"""REDCap: a server that follows the API's documented form fields and errors."""

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from pipelines.errors import ConfigurationError
from tests.pipelines.conftest import Platform
from tests.pipelines.http_server import Answer, Asked, WebServer

TOKEN = "9A81268476645C4E5F03428B8AC3AA7B"
METADATA = [
    {"field_name": "study_id", "form_name": "demographics", "field_type": "text"},
    {"field_name": "weight", "form_name": "demographics", "field_type": "text"},
]


class Redcap:
    """Answers as `api/` of REDCap does: 403 without a good token, 400 for what it doesn't know."""

    def __init__(self) -> None:
        self.records = [
            {"study_id": str(number), "redcap_event_name": event, "weight": str(50 + number)}
            for number in range(1, 21)
            for event in ("baseline_arm_1", "week_4_arm_1")
        ]
        self.changed_since: list[dict[str, Any]] = []
        self.forms: list[dict[str, str]] = []

    def __call__(self, asked: Asked) -> Any:
        form = {key: values[0] for key, values in parse_qs(asked.body.decode()).items()}
        self.forms.append(form)
        assert asked.method == "POST"
        if form.get("token") != TOKEN:
            return Answer({"error": f"You do not have permissions to use the API: {form.get('token')}"}, 403)
        match form["content"]:
            case "metadata":
                return METADATA
            case "record" if form["type"] == "flat":
                return self.changed_since if "dateRangeBegin" in form else self.records
            case "event":
                return [{"event_name": "Baseline", "unique_event_name": "baseline_arm_1"}]
        return Answer({"error": 'The value of the parameter "content" is not valid'}, 400)


def source(url: str, **keys: Any) -> dict[str, Any]:
    return {"type": "redcap", "api_url": url + "/api/", "token": {"env": "CAI_SECRET_REDCAP"}, **keys}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_REDCAP", TOKEN)


def test_records_metadata_and_events_land_and_only_changes_come_again(platform: Platform) -> None:
    redcap = Redcap()
    with WebServer(redcap) as web:
        connector = platform.add(source(web.url, content=["record", "metadata", "event"]))
        assert platform.run(connector).rows == {"record": 40, "metadata": 2, "event": 1}
        redcap.changed_since = [redcap.records[0] | {"weight": "99"}]
        assert platform.run(connector).rows == {"record": 1, "metadata": 2, "event": 1}
    found = platform.duck(
        f"SELECT count(*), count(DISTINCT study_id), count(*) FILTER (weight = '99') FROM connector_{connector}.record"
    )
    assert found == [(40, 20, 1)]


def test_chosen_forms_are_asked_for_with_the_record_id(platform: Platform) -> None:
    redcap = Redcap()
    with WebServer(redcap) as web:
        platform.run(platform.add(source(web.url, content=["record"], forms=["demographics"], date_range=False)))
    assert redcap.forms[-1]["forms[0]"] == "demographics"
    assert redcap.forms[-1]["fields[0]"] == "study_id"


def test_a_wrong_token_is_said_and_never_shown(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_REDCAP", "canary-token")
    with WebServer(Redcap()) as web:
        connector = platform.add(source(web.url))
        with pytest.raises(ConfigurationError, match="did not accept the token") as caught:
            platform.run(connector)
    assert "canary" not in json.dumps(str(caught.value))
