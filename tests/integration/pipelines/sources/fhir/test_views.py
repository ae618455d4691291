"""Views of FHIR resources as tables: ViewDefinitions, in step with the resources that they are made of."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from connectors.sources import Source
from pipelines.errors import ConfigurationError
from pipelines.source_test import probe
from pipelines.sources.fhir.bulk import status
from tests.support.data_plane.platform import Platform
from tests.support.servers.bulk import BulkServer, resource
from tests.support.servers.fhir import FhirServer
from tests.support.servers.http_server import WebServer

ADDRESSES = {
    "resourceType": "ViewDefinition",
    "name": "addresses",
    "status": "active",
    "resource": "Patient",
    "where": [{"path": "active"}],
    "select": [
        {"column": [{"name": "patient", "path": "getResourceKey()", "type": "id"}]},
        {
            "forEach": "address",
            "column": [{"name": "city", "path": "city"}, {"name": "lines", "path": "line", "collection": True}],
        },
    ],
}


def change(platform: Platform, connector: int, source: dict[str, Any]) -> None:
    """Give a connector another source."""
    with platform.connection.cursor() as cursor:
        cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (json.dumps(source), connector))


def patient(number: int, *cities: str, active: bool = True, **keys: Any) -> dict[str, Any]:
    """A patient with an address in each city."""
    addresses = [{"city": city, "line": [f"{city} 1", "House"]} for city in cities]
    return {**resource("Patient", number), "active": active, "address": addresses, **keys}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow at once."""
    monkeypatch.setattr(status, "SHORTEST", timedelta(seconds=0.01))


@pytest.fixture
def server() -> BulkServer:
    return BulkServer([patient(number, f"Town {number}", "Oslo") for number in range(150)])


@pytest.fixture
def web(server: BulkServer) -> Iterator[WebServer]:
    with WebServer(server) as web:
        yield web


def source(web: WebServer, **keys: Any) -> dict[str, Any]:
    return {
        "type": "fhir",
        "base_url": web.url + "/fhir",
        "resource_types": ["Patient"],
        "mode": "bulk",
        "view_definitions": [ADDRESSES],
        **keys,
    }


def rows_of(platform: Platform, connector: int, number: int) -> list[tuple[Any, ...]]:
    return platform.duck(
        f"SELECT city, lines, _row FROM connector_{connector}.addresses WHERE patient = 'p{number}' "
        "AND _resource_id = patient ORDER BY _row"
    )


def test_a_view_has_the_rows_of_each_resource_as_it_is_now(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    connector = platform.add(source(web, deletes="remove"))
    assert platform.run(connector).rows == {"patient": 150, "addresses": 300}
    found = rows_of(platform, connector, 3)
    assert [(city, number) for city, _, number in found] == [("Town 3", 0), ("Oslo", 1)]
    assert json.loads(found[1][1]) == ["Oslo 1", "House"]

    # One with fewer rows, one with none, one that the view no longer wants, one that is gone, and one that comes twice.
    server.now = "2026-02-01T00:00:00Z"
    changed = [patient(1, "Bergen"), patient(2), patient(4, "Rome", active=False)]
    twice = [patient(6, "Paris", "Lima"), patient(6, "Quito")]
    server.resources = [{**each, "meta": {"lastUpdated": "2026-01-15T00:00:00Z"}} for each in (*changed, *twice)]
    server.gone = [("Patient", "p5")]
    assert platform.run(connector).rows == {"patient": 4, "addresses": 2}
    left = {number: [city for city, _, _ in rows_of(platform, connector, number)] for number in (1, 2, 3, 4, 5, 6)}
    assert left == {1: ["Bergen"], 2: [], 3: ["Town 3", "Oslo"], 4: [], 5: [], 6: ["Quito"]}
    ((rows, patients),) = platform.duck(
        f"SELECT count(*), count(DISTINCT _resource_id) FROM connector_{connector}.addresses"
    )
    assert (rows, patients) == (292, 147)


def test_what_a_resource_had_last_counts_in_one_load_too(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    server.resources = [
        patient(1, "Oslo"),
        patient(2, "Rome"),
        patient(1),
        patient(2, active=False),
        patient(2, "Lima"),
    ]
    connector = platform.add(source(web))
    assert platform.run(connector).rows == {"patient": 2, "addresses": 1}
    assert rows_of(platform, connector, 1) == []
    assert [city for city, _, _ in rows_of(platform, connector, 2)] == ["Lima"]


def test_a_new_or_another_view_has_everything_read_anew(platform: Platform, server: BulkServer, web: WebServer) -> None:
    connector = platform.add(source(web, view_definitions=[]))
    assert platform.run(connector).rows == {"patient": 150}
    server.now = "2026-02-01T00:00:00Z"
    change(platform, connector, source(web))
    assert platform.run(connector).rows == {"patient": 150, "addresses": 300}
    assert [kick_off.since for kick_off in server.kick_offs] == [None, None]
    server.now = "2026-03-01T00:00:00Z"
    other = {**ADDRESSES, "select": [ADDRESSES["select"][0]]}
    change(platform, connector, source(web, view_definitions=[other]))
    assert platform.run(connector).rows == {"patient": 150, "addresses": 150}
    server.resources = []
    assert platform.run(connector).rows == {}
    assert server.kick_offs[-1].since == "2026-03-01T00:00:00Z"


NAMES = {
    "name": "names",
    "resource": "Patient",
    "select": [
        {
            "column": [
                {"name": "key", "path": "getResourceKey()"},
                {"name": "family", "path": "name.first().family"},
                {"name": "town", "path": "address.first().city"},
                {"name": "practitioner", "path": "generalPractitioner.first().getReferenceKey(Practitioner)"},
                {"name": "born", "path": "birthDate"},
            ]
        }
    ],
}


@pytest.mark.parametrize(
    "hiding",
    [
        {"mask": ["name", "address", "id", "generalPractitioner", "birthDate"]},
        {
            "protect": {
                "rules": [
                    {"path": "name", "method": "drop"},
                    {"path": "address.city", "method": "hash"},
                    {"path": "address.line", "method": "drop"},
                    {"path": "generalPractitioner.reference", "method": "hash_reference"},
                    {"path": "birthDate", "method": "drop"},
                ]
            }
        },
        {"protect": {"profile": "safe_harbor"}},
    ],
    ids=["mask", "rules", "profile"],
)
def test_what_is_hidden_in_a_resource_is_hidden_in_its_views(
    platform: Platform, server: BulkServer, web: WebServer, hiding: dict[str, Any]
) -> None:
    server.resources = [
        patient(
            number,
            f"Secretville{number}",
            name=[{"family": f"Secretname{number}"}],
            generalPractitioner=[{"reference": f"Practitioner/secret-{number}"}],
            birthDate="1970-03-19",
        )
        for number in range(20)
    ]
    connector = platform.add(source(web, view_definitions=[ADDRESSES, NAMES], views="sql-on-fhir", **hiding))
    platform.run(connector)
    ((rows, keys),) = platform.duck(
        f"SELECT count(*), count(*) FILTER (key IN (SELECT id FROM connector_{connector}.patient)) "
        f"FROM connector_{connector}.names"
    )
    assert (rows, keys) == (20, 20)
    for table in ("names", "addresses", "patient_flat", "patient"):
        ((shown,),) = platform.duck(
            f"SELECT count(*) FROM connector_{connector}.{table} AS t "
            "WHERE lower(to_json(t)::text) LIKE '%secret%' OR to_json(t)::text LIKE '%1970-03-19%'"
        )
        assert shown == 0, table


def test_shipped_views_are_flat_and_keep_digits(platform: Platform) -> None:
    def observation(number: int, **keys: Any) -> dict[str, Any]:
        return {
            "resourceType": "Observation",
            "id": f"o{number}",
            "meta": {"lastUpdated": f"2024-01-01T00:00:0{number}Z"},
            "status": "final",
            "subject": {"reference": f"Patient/p{number}"},
            "effectiveDateTime": "2024-01",
            "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}, {"code": "SBP"}]},
            **keys,
        }

    server = FhirServer(
        observation(1, valueQuantity={"value": 7.5, "unit": "mmol/L"}),
        observation(2, valueCodeableConcept={"coding": [{"code": "pos"}], "text": "positive"}),
        observation(3, valueBoolean=False, subject={"reference": "Group/g1"}),
        observation(4, effectiveDateTime="2024-01-05T08:00:00+02:00", valueString="5"),
    )
    with WebServer(server) as web:
        connector = platform.add(
            {
                "type": "fhir",
                "base_url": web.url + "/fhir",
                "resource_types": ["Observation"],
                "views": "sql-on-fhir",
            }
        )
        summary = platform.run(connector)
        assert summary.rows == {"observation": 4, "observation_flat": 4, "observation_codings": 8}
        assert platform.run(connector).rows == {}
    flat = platform.duck(
        "SELECT id, patient_id, code, effective_date_time, value_quantity, value_quantity_unit, value_code, "
        f"value_code_text, value_boolean, value_string FROM connector_{connector}.observation_flat ORDER BY id"
    )
    assert flat == [
        ("o1", "p1", "8480-6", "2024-01", 7.5, "mmol/L", None, None, None, None),
        ("o2", "p2", "8480-6", "2024-01", None, None, "pos", "positive", None, None),
        ("o3", None, "8480-6", "2024-01", None, None, None, None, False, None),
        ("o4", "p4", "8480-6", "2024-01-05T08:00:00+02:00", None, None, None, None, None, "5"),
    ]


def test_numbers_in_a_view_keep_their_digits(platform: Platform, server: BulkServer, web: WebServer) -> None:
    server.resources = [resource("Observation", number, valueQuantity={"value": "=1.50"}) for number in range(3)]
    values = {
        "name": "values",
        "resource": "Observation",
        "select": [{"column": [{"name": "value", "path": "value.ofType(Quantity).value"}]}],
    }
    connector = platform.add(source(web, resource_types=["Observation"], view_definitions=[values]))
    platform.run(connector)
    found = platform.duck(f"SELECT DISTINCT value, value__v_text FROM connector_{connector}.values")
    assert found == [(1.5, "1.50")]


def test_several_values_for_one_column_end_the_run_in_a_sentence(
    platform: Platform, server: BulkServer, web: WebServer
) -> None:
    cities = {"name": "cities", "resource": "Patient", "select": [{"column": [{"name": "c", "path": "address.city"}]}]}
    connector = platform.add(source(web, view_definitions=[cities]))
    with pytest.raises(ConfigurationError, match="View cities finds several values for its column c"):
        platform.run(connector)


def test_a_test_of_a_connector_shows_what_its_views_give(platform: Platform) -> None:
    peer = FhirServer(*(patient(number, "Oslo", "Rome", active=number != 1) for number in range(3)))
    with WebServer(peer) as web:
        tested = source(web, mode="search", mask=["id"])
        found = probe(TypeAdapter(Source).validate_python(tested), platform.settings)
        assert [sample.table for sample in found.samples] == ["Patient", "addresses"], found.message
        rows = found.samples[1].rows
        assert [(row["city"], row["_row"]) for row in rows] == [("Oslo", 0), ("Rome", 1)] * 2
        assert {row["patient"] for row in rows} < {row["id"] for row in found.samples[0].rows}
        broken = {**ADDRESSES, "select": [{"column": [{"name": "c", "path": "address.city"}]}]}
        found = probe(TypeAdapter(Source).validate_python({**tested, "view_definitions": [broken]}), platform.settings)
    assert (found.ok, "View addresses finds several values for its column c" in found.message) == (False, True)


def test_views_stand_beside_histories(platform: Platform) -> None:
    peer = FhirServer(patient(1, "Oslo"), patient(2, "Rome"))
    with WebServer(peer) as web:
        connector = platform.add(source(web, mode="search", history=True))
        platform.run(connector)
        peer.resources.append({**patient(1, "Lima", "Quito"), "meta": {"lastUpdated": "2026-01-15T00:00:00Z"}})
        platform.run(connector)
    cities = f"SELECT city FROM connector_{connector}.addresses ORDER BY _resource_id, _row"
    assert platform.duck(cities) == [("Lima",), ("Quito",), ("Rome",)]
    versions = platform.duck(
        f"SELECT id, count(*), count(valid_to) FROM connector_{connector}.patient__history GROUP BY id ORDER BY id"
    )
    assert versions == [("p1", 2, 1), ("p2", 1, 0)]
