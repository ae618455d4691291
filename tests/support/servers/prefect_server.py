"""A real Prefect server for tests, on a free port, on SQLite in a directory of its own."""

import os
import socket
import sys
import time
from pathlib import Path

import httpx

from local.environment import ZONES
from local.processes import Child, tail
from prefect_api.names import FLOW_NAME

START_SECONDS = 240
PATIENCE = 20


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PrefectServer:
    """A Prefect server that can be stopped and started again on what it left, on the same port."""

    def __init__(self, home: Path, **settings: str) -> None:
        """`home` is its `PREFECT_HOME`; `settings` are further environment variables."""
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            **ZONES,
            "DO_NOT_TRACK": "1",
            **settings,
        }
        command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self._child = Child(
            name="prefect-server",
            command=[sys.executable, "-m", *command],
            environment=self.environment,
            directory=home,
            log=home / "server.log",
            restarts=False,
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._child.start()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._child.ended() is not None:
                break
            try:
                httpx.get(f"{self.url}/health", timeout=2).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.1)  # the condition is the answer; this is only how often it is asked
            else:
                return
        raise RuntimeError(f"The Prefect server did not start:\n{tail(self.home / 'server.log', 30)}")

    def stop(self) -> None:
        """Stop it as an operator does, and wait for it."""
        self._child.end(grace_seconds=10)

    def kill(self) -> None:
        """End it as a dying machine does."""
        if self._child.process is not None:
            self._child.process.kill()
            self._child.process.wait()


class Patient(httpx.HTTPTransport):
    """A server on SQLite answers 503 while its scheduler writes: the same request goes through a moment later."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(PATIENCE):
            response = super().handle_request(request)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
        return response


class AsyncPatient(httpx.AsyncHTTPTransport):
    """`Patient`, for an asynchronous client."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(PATIENCE):
            response = await super().handle_async_request(request)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
        return response


def empty_prefect(url: str) -> None:
    """Delete every deployment and run of our flow, and what controllers left."""
    ours = {"name": {"any_": [FLOW_NAME]}}
    with httpx.Client(base_url=url, timeout=60, transport=Patient()) as client:
        while listed := client.post("/deployments/filter", json={"flows": ours, "limit": 50}).json():
            body = {"deployments": {"id": {"any_": [row["id"] for row in listed]}}, "limit": 50}
            client.post("/deployments/bulk_delete", json=body).raise_for_status()
        while runs := client.post("/flow_runs/filter", json={"flows": ours, "limit": 50}).json():
            body = {"flow_runs": {"id": {"any_": [run["id"] for run in runs]}}, "limit": 50}
            client.post("/flow_runs/bulk_delete", json=body).raise_for_status()
        for variable in client.post("/variables/filter", json={}).json():
            client.delete(f"/variables/{variable['id']}")
        fleet = {"artifacts": {"key": {"like_": "connector-%"}}, "limit": 200}
        while artifacts := client.post("/artifacts/latest/filter", json=fleet).json():
            for artifact in artifacts:
                client.delete(f"/artifacts/{artifact['latest_id']}").raise_for_status()
