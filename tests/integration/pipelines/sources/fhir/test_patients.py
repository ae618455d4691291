"""Searches by patient: whose they are by a Group, a list or a search, and what is new of each."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest

from pipelines.errors import ConfigurationError
from tests.support.data_plane.platform import Platform
from tests.support.servers.bulk import outcome, resource
from tests.support.servers.http_server import Answer, Asked, WebServer


@dataclass
class ByPatient:
    """A server that searches for one patient only, in pages of two; `searches` are the parameters that it offers."""

    resources: list[dict[str, Any]]
    searches: dict[str, list[str]]
    members: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Any:
        kind = asked.path.removeprefix("/fhir/")
        if kind == "metadata":
            types = [
                {"type": name, "searchParam": [{"name": each} for each in parameters]}
                for name, parameters in self.searches.items()
            ]
            return {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": types}]}
        if kind == "Group/g1":
            members: list[dict[str, Any]] = [{"entity": {"reference": f"Patient/{each}"}} for each in self.members]
            gone = {"entity": {"reference": "Patient/p99"}, "inactive": True}
            return {"resourceType": "Group", "member": [*members, gone, {"entity": {"reference": "Device/d1"}}]}
        query = dict(asked.query)
        self.asked.append({"kind": kind, **query})
        if kind == "Patient":
            found = [each for each in self.resources if query.get("_id", each["id"]) == each["id"]]
            if not {"_id", "active"} & query.keys():
                return Answer(outcome("too-costly"), 403)
        elif "patient" not in query:
            return Answer(outcome("too-costly"), 403)
        else:
            found = [each for each in self.resources if each.get("subject") == query["patient"]]
        found = [each for each in found if each["resourceType"] == kind]
        if since := query.get("_lastUpdated"):
            found = [each for each in found if each["meta"]["lastUpdated"] >= since.removeprefix("ge")]
        if since := query.get("date"):
            found = [each for each in found if each["on"] >= since.removeprefix("ge")]
        start = int(query.pop("_page", 0))
        links = []
        if start + 2 < len(found):
            after = urlencode({**query, "_page": start + 2})
            links = [{"relation": "next", "url": f"http://{asked.headers['host']}{asked.path}?{after}"}]
        entries = [{"resource": each, "search": {"mode": "match"}} for each in found[start : start + 2]]
        return {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": links, "entry": entries}


def observation(number: int, patient: str, updated: str = "2025-12-01T00:00:00Z") -> dict[str, Any]:
    return resource("Observation", number, updated, subject=patient, on=updated[:10])


MOTHER = {"reference": "Patient/p0"}

OFFERED = {"Patient": ["_id", "active"], "Observation": ["patient", "_lastUpdated", "date"]}


def server(**keys: Any) -> ByPatient:
    patients = [resource("Patient", number) for number in range(6)]
    values = [observation(number, f"p{number % 6}") for number in range(30)]
    return ByPatient([*patients, *values], keys.pop("searches", OFFERED), **keys)


def source(web: WebServer, patients: dict[str, Any], **keys: Any) -> dict[str, Any]:
    types = ["Patient", "Observation"]
    return {"type": "fhir", "base_url": web.url + "/fhir", "resource_types": types, "patients": patients, **keys}


@pytest.mark.parametrize(
    ("patients", "count"),
    [({"group": "g1"}, 4), ({"list": ["p1", "p2", "p1"]}, 2), ({"search": {"active": "true"}, "at_once": 1}, 6)],
)
def test_each_type_is_searched_for_each_patient(platform: Platform, patients: dict[str, Any], count: int) -> None:
    peer = server(members=["p0", "p1", "p2", "p3"])
    with WebServer(peer) as web:
        connector = platform.add(source(web, patients))
        assert platform.run(connector).rows == {"patient": count, "observation": count * 5}
    found = platform.duck(f"SELECT count(DISTINCT id) FROM connector_{connector}.observation")
    assert found == [(count * 5,)]


@pytest.mark.parametrize("mask", [[], ["id"]])
def test_what_is_new_comes_and_all_of_a_new_patient(platform: Platform, mask: list[str]) -> None:
    peer = server(members=["p0", "p1"])
    with WebServer(peer) as web:
        connector = platform.add(source(web, {"group": "g1"}, resource_types=["Observation"], mask=mask))
        assert platform.run(connector).rows == {"observation": 10}
        peer.resources.append(observation(100, "p0", "2026-01-01T00:00:00Z"))
        peer.members.append("p2")
        peer.asked.clear()
        platform.run(connector)
        begins = {each["patient"]: each.get("_lastUpdated") for each in peer.asked}
        assert begins == {"p0": begins["p0"], "p1": begins["p0"], "p2": None}
        assert begins["p0"] == (None if mask else "ge2025-11-30T23:55:00Z")
        peer.asked.clear()
        platform.run(connector)
        assert {each.get("_lastUpdated") for each in peer.asked} == {"ge2025-12-31T23:55:00Z"}
    assert platform.duck(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.observation") == [(16, 16)]


def test_without_last_updated_all_is_read_each_time_or_by_date_with_an_overlap(platform: Platform) -> None:
    searches = {"Observation": ["patient", "date"]}
    peer = server(searches=searches, members=["p0"])
    with WebServer(peer) as web:
        connector = platform.add(source(web, {"group": "g1"}, resource_types=["Observation"]))
        for _ in range(2):
            assert "so all of it was read, as in each run" in platform.run(connector).sentence
        assert Counter("date" in each for each in peer.asked)[True] == 0
        dated = json.dumps(source(web, {"group": "g1"}, resource_types=["Observation"], overlap=30))
        with platform.connection.cursor() as cursor:
            cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (dated, connector))
        assert "within 30 days before the last load" in platform.run(connector).sentence
        assert all("date" in each for each in peer.asked[-1:])
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.observation") == [(5,)]


@pytest.mark.parametrize(
    ("searches", "words"),
    [
        ({"Patient": ["_id"]}, "does not offer the search of Observation"),
        ({**OFFERED, "Observation": ["code"]}, "offers no search of Observation by patient"),
    ],
)
def test_a_search_that_the_server_does_not_offer_is_refused(
    platform: Platform, searches: dict[str, list[str]], words: str
) -> None:
    peer = server(searches=searches)
    with WebServer(peer) as web, pytest.raises(ConfigurationError, match=words):
        platform.run(platform.add(source(web, {"list": ["p1"]})))
    assert peer.asked == []


def test_a_row_limit_asks_for_no_more_patients_than_it_must(platform: Platform) -> None:
    peer = server()
    with WebServer(peer) as web:
        connector = platform.add(source(web, {"search": {"active": "true"}}, resource_types=["Observation"]))
        assert platform.run(connector, row_limit=3).rows == {"observation": 3}
        assert len({each["patient"] for each in peer.asked if "patient" in each}) <= 4
        assert platform.run(connector).rows == {"observation": 30}


def test_what_is_of_others_does_not_land_where_a_server_heeds_no_patient(platform: Platform) -> None:
    ofs: list[dict[str, Any]] = [
        {"subject": {"reference": "Patient/p0"}},
        {"subject": {"reference": "https://ehr.example.org/fhir/Patient/p1/_history/4"}, "performer": [MOTHER]},
        {"subject": {"reference": "Patient/p7"}, "performer": [MOTHER]},
        {"subject": {"identifier": {"value": "A 17"}}},
        {"participant": [{"actor": {"reference": "Practitioner/p9"}}, {"actor": {"reference": "Patient/p0"}}]},
        {"participant": [{"actor": {"reference": "Patient/p9"}}]},
    ]
    found = [resource("Observation", number, **keys) for number, keys in enumerate(ofs)]
    bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in found]}
    offered = {"type": "Observation", "searchParam": [{"name": "patient"}, {"name": "_lastUpdated"}]}
    statement = {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": [offered]}]}
    with WebServer(lambda asked: statement if asked.path.endswith("metadata") else bundle) as web:
        connector = platform.add(source(web, {"list": ["p0", "p1"]}, resource_types=["Observation"]))
        summary = platform.run(connector)
    ids = platform.duck(f"SELECT id FROM connector_{connector}.observation ORDER BY id")
    assert [each for (each,) in ids] == [found[number]["id"] for number in (0, 1, 3, 4)]
    assert "by patient with what is of other patients than those that were asked for" in summary.sentence
