"""Castor EDC, OpenClinica and REDCap Cloud: the connectors of docs/sources.md, as they stand there, against stubs.

The stubs answer as the documentation of each says: Castor's API page, OpenClinica's technical documentation, and for
REDCap Cloud what clients of its API send and get.
"""

import base64
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest

from settings import ROOT
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import Answer, Asked, WebServer

STUDY = "/api/study/93852ECC-18F1-4829-A453-87B924B08D84/"


def template(system: str, url: str) -> dict[str, Any]:
    """The connector that the documentation shows, at another address and with variables for its secrets."""
    chapter = (ROOT / "docs" / "sources.md").read_text().partition("## Other trial systems\n")[2]
    found = re.search(r"```json\n(.*?)```", chapter[chapter.index(f"**{system}**") :], re.DOTALL)
    assert found is not None
    text = re.sub(r"https://[a-z.]+", url, found[1])
    text = re.sub(r'\{"secret": "([a-z-]+)"\}', lambda name: json.dumps({"env": variable(name[1])}), text)
    shown: dict[str, Any] = json.loads(text)
    return shown


def variable(secret: str) -> str:
    return f"CAI_SECRET_{secret.upper().replace('-', '_')}"


def castor(web: list[str]) -> Callable[[Asked], Any]:
    """Pages of HAL, for a token that was given for a client's id and secret."""
    participants = [
        {"id": f"1100{number}", "participant_id": f"1100{number}", "status": "open", "progress": number}
        for number in range(7)
    ]
    points = [
        {"participant_id": each["id"], "field_id": "A1", "field_value": "007", "updated_on": "2024-01-31 08:00:00"}
        for each in participants
    ]
    lists: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "participant": ("participants", participants),
        "field": ("fields", [{"id": "A1", "field_variable_name": "age"}]),
        "data-point-collection/study": ("items", points),
    }

    def answer(asked: Asked) -> Any:
        if asked.path == "/api/oauth/token":
            form = {key: values[0] for key, values in parse_qs(asked.body.decode()).items()}
            login = asked.headers.get("authorization", "").removeprefix("Basic ")
            given = [form.get("client_id", ""), form.get("client_secret", "")]
            if login:
                given = base64.b64decode(login).decode().split(":")
            assert (form["grant_type"], *given) == ("client_credentials", "the-id", "the-secret")
            return {"access_token": "castor-1", "expires_in": 18_000, "token_type": "Bearer", "scope": "1"}
        if asked.headers.get("authorization") != "Bearer castor-1":
            return Answer({"status": 401, "detail": "Unauthorized"}, 401)
        name, rows = lists[asked.path.removeprefix(STUDY)]
        page, size = int(asked.query.get("page", "1")), 3
        count = -(-len(rows) // size)
        links = {"self": {"href": f"{web[0]}{asked.path}?page={page}&page_size=500"}}
        if page < count:
            links["next"] = {"href": f"{web[0]}{asked.path}?page={page + 1}&page_size=500"}
        return {
            "_links": links, "_embedded": {name: rows[size * (page - 1) : size * page]},
            "page_count": count, "page_size": size, "total_items": len(rows), "page": page,
        }  # fmt: skip

    return answer


def openclinica(asked: Asked) -> Any:
    """Participants as a list, clinical data in the shape of ODM."""
    assert asked.headers["authorization"] == "Bearer oc-token"
    assert asked.headers["accept"] == "application/json"
    if asked.path.endswith("/studies/S_STUDY/participants"):
        return {
            "studyParticipants": [
                {"subjectKey": f"LA-{number}", "subjectOid": f"SS_LA{number}", "status": "Available",
                 "createdBy": "testuser", "createdAt": "Apr 26, 2019 12:00:00 AM"}
                for number in (1, 2)
            ]
        }  # fmt: skip
    assert asked.path == "/OpenClinica/pages/auth/api/clinicaldata/S_STUDY/*/*/*"
    event = {"@StudyEventOID": "SE_BASE", "FormData": {"@FormOID": "F_VITALS", "ItemGroupData": []}}
    return {
        "ClinicalData": {
            "@StudyOID": "S_STUDY",
            "SubjectData": [
                {
                    "@SubjectKey": f"SS_LA{number}",
                    "@OpenClinica:StudySubjectID": f"LA-{number}",
                    "StudyEventData": event,
                }
                for number in (1, 2)
            ],
        }
    }


def redcap_cloud(asked: Asked) -> Any:
    """A token in a header of that name, forms by GET, records by POST."""
    if asked.headers.get("token") != "rcc-token":
        return Answer({"message": "Invalid token"}, 401)
    match asked.method, asked.path:
        case "GET", "/rest/v2/crfs":
            return [{"id": 11, "name": "Demographics"}]
        case "GET", "/rest/v2/crf-items":
            return [{"isRemoved": False, "item": {"crfId": 11, "variableName": "age"}}]
        case "POST", "/rest/v2/export/records":
            assert json.loads(asked.body) == {"crfForms": ["Demographics"]}
            items = [{"itemName": "age", "itemValue": "40"}]
            return [{"participantId": "P-1", "eventName": "Baseline", "siteName": "Graz", "items": items}]
    return Answer({}, 404)


def test_castor_comes_page_by_page(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable("castor-client-id"), "the-id")
    monkeypatch.setenv(variable("castor-client-secret"), "the-secret")
    address: list[str] = []
    with WebServer(castor(address)) as web:
        address.append(web.url)
        connector = platform.add(template("Castor EDC", web.url))
        summary = platform.run(connector)
        assert platform.run(connector).rows == summary.rows
    assert (summary.rows, summary.remarks) == ({"participants": 7, "fields": 1, "data_points": 7}, ())
    values = f"SELECT count(*), min(field_value) FROM connector_{connector}.data_points"
    assert platform.duck(values) == [(7, "007")]


def test_openclinica_comes_as_participants_and_odm(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable("openclinica-token"), "oc-token")
    with WebServer(openclinica) as web:
        connector = platform.add(template("OpenClinica", web.url))
        assert platform.run(connector).rows == {"participants": 2, "clinical_data": 2}
    names = [row[0] for row in platform.duck(f"DESCRIBE connector_{connector}.clinical_data")]
    assert "study_event_data" in names


def test_redcap_cloud_comes_form_by_form(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable("redcap-cloud-token"), "rcc-token")
    with WebServer(redcap_cloud) as web:
        connector = platform.add(template("REDCap Cloud", web.url))
        assert platform.run(connector).rows == {"crfs": 1, "crf_items": 1, "demographics": 1}
    found = platform.duck(f"SELECT participant_id, items->0->>'itemValue' FROM connector_{connector}.demographics")
    assert found == [("P-1", "40")]
