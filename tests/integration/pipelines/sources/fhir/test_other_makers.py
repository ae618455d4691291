"""FHIR servers of other makers: Medplum's router and Asymmetrik's core, where node has them. fhirsnake: test_fhir."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from pipelines.errors import ConfigurationError
from tests.support.data_plane.platform import Platform
from tests.support.servers.peers import asymmetrik_core, medplum_router

TYPES = ["Patient", "Observation"]


def observation(subject: str, value: float) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "glucose"},
        "subject": {"reference": f"Patient/{subject}"},
        "valueQuantity": {"value": value, "unit": "mmol/L"},
    }


def landed(platform: Platform, connector: int) -> list[tuple[Any, ...]]:
    query = "SELECT count(*), count(DISTINCT id) FROM connector_{}.{}"
    return [platform.duck(query.format(connector, kind.lower()))[0] for kind in TYPES]


@pytest.fixture
def medplum(tmp_path: Path) -> Iterator[str]:
    with medplum_router(tmp_path) as url:
        yield url


def made(url: str, resource: dict[str, Any]) -> str:
    """A resource of the server's by now; its id."""
    answer = requests.post(f"{url}/{resource['resourceType']}", json=resource, timeout=30)
    answer.raise_for_status()
    return str(answer.json()["id"])


def test_medplums_router_is_read_searched_by_patient_and_read_on(platform: Platform, medplum: str) -> None:
    patients = [made(medplum, {"resourceType": "Patient", "gender": "female"}) for _ in range(25)]
    for number in range(35):
        made(medplum, observation(patients[number % 5], number / 2))
    source = {"type": "fhir", "base_url": medplum, "resource_types": TYPES, "lag": 0}
    # It counts all and sends ten at a time, without a link to the next ones.
    connector = platform.add({**source, "page_size": 10})
    assert platform.run(connector).rows == {"patient": 25, "observation": 35}
    by_patient = platform.add({**source, "patients": {"list": patients[:4]}})
    assert platform.run(by_patient).rows == {"patient": 4, "observation": 28}
    changed = {"resourceType": "Patient", "id": patients[3], "gender": "other"}
    requests.put(f"{medplum}/Patient/{patients[3]}", json=changed, timeout=30).raise_for_status()
    made(medplum, observation(patients[3], 1))
    for each in (connector, by_patient):
        # What was last seen is asked for again, for another may have been changed in the same moment.
        assert all(0 < rows < 5 for rows in platform.run(each).rows.values())
        query = f"SELECT id FROM connector_{each}.patient WHERE gender = 'other'"
        assert platform.duck(query) == [(patients[3],)]
    assert landed(platform, connector) == [(25, 25), (36, 36)]
    assert landed(platform, by_patient) == [(4, 4), (29, 29)]


def test_asymmetriks_core_is_read_searched_by_patient_and_read_on(platform: Platform, tmp_path: Path) -> None:
    def stamped(kind: str, number: int, **more: Any) -> dict[str, Any]:
        meta = {"versionId": "1", "lastUpdated": f"2024-01-01T00:{number // 60:02}:{number % 60:02}.000Z"}
        return {"resourceType": kind, "id": f"{kind[0].lower()}{number}", **more, "meta": meta}

    resources = [stamped("Patient", number, gender="female") for number in range(25)]
    resources += [stamped("Observation", number, **observation(f"p{number % 5}", number / 2)) for number in range(35)]
    file = tmp_path / "resources.json"
    file.write_text(json.dumps(resources))
    with asymmetrik_core(tmp_path, file) as url:
        source = {"type": "fhir", "base_url": url, "resource_types": TYPES, "page_size": 10}
        # It heeds neither `_count`, `_sort` nor `_id`: all come at once.
        connector = platform.add({**source, "mode": "auto"})
        assert platform.run(connector).rows == {"patient": 25, "observation": 35}
        by_patient = platform.add({**source, "patients": {"list": ["p1", "p2", "p3"]}})
        summary = platform.run(by_patient)
        assert (summary.rows, "does not heed _id" in summary.sentence) == ({"patient": 3, "observation": 21}, True)
        resources[3] = stamped("Patient", 500, gender="other") | {"id": "p3"}
        file.write_text(json.dumps(resources))
        assert platform.run(connector).rows == {"patient": 1}
        platform.run(by_patient)
        with pytest.raises(ConfigurationError):
            platform.run(platform.add({**source, "mode": "bulk"}))
    for each, rows in ((connector, [(25, 25), (35, 35)]), (by_patient, [(3, 3), (21, 21)])):
        assert landed(platform, each) == rows
        query = f"SELECT id FROM connector_{each}.patient WHERE gender = 'other'"
        assert platform.duck(query) == [("p3",)]
