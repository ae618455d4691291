"""Middleware of the API: tokens, sizes of bodies, counts, and the start and end of the process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api.middleware import LoopbackOnly
from api.sources.key_pairs import Algorithm, make_pair
from settings import ROOT
from tests.support.api_rig import BODY, CONNECTORS, TOKEN, assert_problem, client, create
from tests.support.servers.prefect_server import free_port

NO_DATABASE = "postgresql://nobody@127.0.0.1:1/nothing"


async def test_a_body_that_never_ends_is_cut_off() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65_536

    async with client(NO_DATABASE) as api:
        assert (await api.post(CONNECTORS, content=endless())).status_code == 413


@pytest.mark.parametrize("path", ["/api/v1/connectors", "/api/v1/nowhere", "/api", "/api/v1/connectors/1/run"])
@pytest.mark.parametrize("sent", [None, "Bearer wrong", "Basic YTpi", f"Token {TOKEN}", "Bearer", "Bearer \xe9"])
async def test_without_a_token_nothing_under_api_is_answered(path: str, sent: str | None) -> None:
    async with client(NO_DATABASE, tokens=(TOKEN, "another")) as api:
        headers = {} if sent is None else {b"Authorization": sent.encode("latin-1")}
        del api.headers["Authorization"]
        answer = await api.post(path, json=BODY, headers=headers)
        assert_problem(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_any_of_the_tokens_lets_in_and_operations_need_none(database_url: str) -> None:
    async with client(database_url, tokens=(TOKEN, "another")) as api:
        assert (await api.get(CONNECTORS)).status_code == 200
        assert (await api.get(CONNECTORS, headers={"Authorization": "bearer another"})).status_code == 200
        del api.headers["Authorization"]
        for path in ("/health", "/ready", "/metrics", "/openapi.json"):
            assert (await api.get(path)).status_code == 200


async def test_metrics_name_routes_and_not_what_strangers_ask_for(database_url: str) -> None:
    async with client(database_url) as api:
        made = await create(api)
        await api.get(f"{CONNECTORS}/{made['id']}")
        await api.get("/some/strangers/path")
        await api.request("BREW", CONNECTORS)
        text = (await api.get("/metrics")).text
    assert 'cai_api_requests_total{method="GET",route="/api/v1/connectors/{connectorId}",status="200"} 1.0' in text
    assert 'cai_api_requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert 'method="other"' in text
    assert "stranger" not in text
    assert "BREW" not in text


def test_without_tokens_nothing_but_loopback_is_bound() -> None:
    told = {**os.environ, "CAI_DATABASE_URL": NO_DATABASE, "CAI_API_TOKEN": ""}
    command = [sys.executable, "-m", "api"]
    for host in ("0.0.0.0", "::", "10.0.0.7", "api.example"):
        refused = subprocess.run(
            command,
            cwd=ROOT,
            env=told | {"CAI_API_HOST": host},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert refused.returncode == 1
        assert "set CAI_API_TOKEN" in refused.stderr


def test_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    port = str(free_port())
    told = {**os.environ, "CAI_DATABASE_URL": NO_DATABASE, "CAI_API_PORT": port, "PREFECT_HOME": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-m", "api"], cwd=ROOT, env=told) as server:
        while server.poll() is None:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
            except httpx.ConnectError:
                time.sleep(0.1)
            else:
                break
        server.terminate()
        assert server.wait(10) in {0, -signal.SIGTERM}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8080"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8080"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_without_tokens_pages_of_other_sites_are_kept_out(headers: dict[str, str], status: int) -> None:
    async with client(NO_DATABASE) as api:
        guarded = httpx.ASGITransport(app=LoopbackOnly(api._transport.app))  # type: ignore[attr-defined]
        async with httpx.AsyncClient(transport=guarded, base_url="http://127.0.0.1:8080", headers=headers) as http:
            assert (await http.get("/health")).status_code == status


async def test_public_keys_are_served_to_anybody(database_url: str) -> None:
    _, public = make_pair("hospital-2026", Algorithm.ES384)
    async with client(database_url, tokens=("t",), public_keys=[public]) as http:
        answer = await http.get("/.well-known/jwks.json")
    assert answer.json() == {"keys": [public]}
    assert answer.headers["Cache-Control"] == "max-age=300"
