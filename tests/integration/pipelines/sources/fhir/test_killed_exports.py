"""kill -9 at every point of an export, then a run again: no second export, no resource lost, none twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.sources.key_pairs import Algorithm, make_pair
from tests.support.data_plane.killing import EXPORT_POINTS, Forge
from tests.support.data_plane.platform import Platform
from tests.support.servers.bulk import BulkServer, resource
from tests.support.servers.http_server import WebServer
from tests.support.servers.smart import SmartServer

PRIVATE, PUBLIC = make_pair("k1", Algorithm.ES384)


@pytest.fixture
def server() -> BulkServer:
    patients = [resource("Patient", number) for number in range(250)]
    return BulkServer([*patients, *(resource("Observation", number) for number in range(120))], looks=1)


@pytest.fixture
def web(server: BulkServer) -> Iterator[WebServer]:
    with WebServer(SmartServer([PUBLIC], server)) as web:
        yield web
    assert server.faults == []


@pytest.fixture
def forge(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    monkeypatch.setenv("CAI_SECRET_SMART", PRIVATE.decode())
    forge = Forge(tmp_path / "runs.log")
    yield forge
    forge.close()


def add(platform: Platform, web: WebServer) -> int:
    auth: dict[str, Any] = {"type": "smart_backend", "client_id": "clinical-ai", "key_id": "k1"}
    auth["private_key"] = {"env": "CAI_SECRET_SMART"}
    types = ["Patient", "Observation"]
    return platform.add(
        {"type": "fhir", "base_url": web.url + "/fhir", "resource_types": types, "mode": "bulk", "auth": auth}
    )


def landed(platform: Platform, connector: int) -> list[tuple[Any, ...]]:
    query = "SELECT count(*), count(DISTINCT id) FROM connector_{}.{}"
    return [platform.duck(query.format(connector, table))[0] for table in ("patient", "observation")]


def test_a_killed_run_is_followed_by_one_that_goes_on_with_its_export(
    platform: Platform, server: BulkServer, web: WebServer, forge: Forge
) -> None:
    for point in EXPORT_POINTS:
        server.kick_offs, server.ended = [], []
        connector = add(platform, web)
        assert forge.run(connector, point) == -9, point
        assert forge.run(connector) == 0, point
        assert landed(platform, connector) == [(250, 250), (120, 120)], point
        assert (len(server.kick_offs), len(server.ended)) == (1, 1), point
        with platform.connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM cai_exports")
            assert cursor.fetchone() == (0,), point


def test_the_next_export_after_a_killed_run_asks_for_what_has_changed(
    platform: Platform, server: BulkServer, web: WebServer, forge: Forge
) -> None:
    connector = add(platform, web)
    assert forge.run(connector, "cleanup") == -9
    assert forge.run(connector) == 0
    server.now = "2026-02-01T00:00:00Z"
    server.resources.append(resource("Patient", 300, "2026-01-15T00:00:00Z"))
    assert forge.run(connector, "load") == -9
    assert forge.run(connector) == 0
    assert landed(platform, connector) == [(251, 251), (120, 120)]
    assert [job.since for job in server.kick_offs] == [None, "2026-01-01T00:00:00Z"]


def test_a_lost_answer_costs_the_server_an_export_and_no_row(
    platform: Platform, server: BulkServer, web: WebServer, forge: Forge
) -> None:
    connector = add(platform, web)
    assert forge.run(connector, "answer") == -9
    assert "its answer was lost, so another one was begun" in platform.run(connector).sentence
    assert landed(platform, connector) == [(250, 250), (120, 120)]
    assert (len(server.kick_offs), server.ended) == (2, [2])
