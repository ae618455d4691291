"""A warm worker on a real Prefect server: runs, their cancellation, the deaths of each process, and what is left."""

import asyncio
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from database.store import Store
from deployments.bootstrap import _work_pool
from deployments.planning.spec import job_variables
from local.processes import Child, tail
from prefect_api.client import open_client
from prefect_api.deployment_calls import open_gateway
from prefect_api.names import WARM_POOL_TYPE
from rigs.control_plane import PLATFORM, Rig, rig
from settings import ROOT, Settings
from tests.support.servers.http_server import Asked, WebServer
from tests.support.servers.prefect_server import AsyncPatient, PrefectServer

POOL = "warm"
CANARY = "canary-5f2d0c8e91"
ENDED = ("Completed", "Failed", "Crashed", "Cancelled")
SECONDS = 120.0
"""Patience with a loaded machine."""

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


class Source:
    """A REST API whose answer waits while it is held, so that a run is certainly in its midst."""

    def __init__(self) -> None:
        self._go = threading.Event()
        self._go.set()
        self.rows = 3
        self.tokens: list[str] = []
        self.asked = 0

    def __call__(self, asked: Asked) -> Any:
        self.asked += 1
        self.tokens.append(asked.headers.get("authorization", ""))
        assert self._go.wait(SECONDS)
        return [{"id": number, "text": "x" * 1000} for number in range(self.rows)]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, no answer is given."""
        self._go.clear()
        try:
            yield
        finally:
            self._go.set()


@dataclass
class Bench:
    """One warm worker, and what a test needs to look at it."""

    api: httpx.AsyncClient
    controller: Rig
    worker: Child
    source: Source
    url: str
    log: Path
    deployments: dict[int, str] = field(default_factory=dict)

    async def connector(self) -> str:
        """The deployment of a new connector that reads the source."""
        auth = {"type": "bearer", "token": {"env": "CAI_SECRET_CANARY"}}
        resource = {"name": "visits", "path": "visits", "data_selector": "$"}
        source = {"type": "rest_api", "base_url": self.url, "auth": auth, "resources": [resource]}
        number = await self.controller.insert(schedule=None, source=source)
        await self.controller.settle()
        status = await self.controller.status(number)
        assert status is not None
        return str(status.deployment_id)

    async def start(self, deployment: str) -> str:
        """A new run's id."""
        answer = await self.api.post(f"/deployments/{deployment}/create_flow_run", json={})
        return str(answer.raise_for_status().json()["id"])

    async def run(self, run: str) -> dict[str, Any]:
        """The run as Prefect's API gives it."""
        found: dict[str, Any] = (await self.api.get(f"/flow_runs/{run}")).raise_for_status().json()
        return found

    async def until(self, run: str, *names: str) -> dict[str, Any]:
        """The run once it is in one of these states."""
        deadline = time.monotonic() + SECONDS
        while (found := await self.run(run))["state"]["name"] not in names:
            assert time.monotonic() < deadline, f"{found['state']}\n{tail(self.log, 40)}"
            assert found["state"]["name"] not in ENDED, f"{found['state']}\n{tail(self.log, 40)}"
            await asyncio.sleep(0.1)
        return found

    async def in_its_midst(self, deployment: str) -> tuple[str, int]:
        """A run that waits for the source: its id and its process's."""
        asked = self.source.asked
        run = await self.start(deployment)
        await until("the run reads its source", lambda: self.source.asked > asked)
        await until_async("its process is known", lambda: self._pid(run))
        return run, int((await self.run(run))["infrastructure_pid"])

    async def _pid(self, run: str) -> bool:
        return (await self.run(run))["infrastructure_pid"] is not None

    async def slots(self, deployment: str) -> int:
        """Slots of the deployment that are taken."""
        found = (await self.api.get(f"/deployments/{deployment}")).raise_for_status().json()
        return int(found["global_concurrency_limit"]["active_slots"])

    async def no_slot_taken(self, deployment: str) -> None:
        """Wait until none is."""

        async def none() -> bool:
            return await self.slots(deployment) == 0

        await until_async("the slot is free again", none)

    def fork_servers(self) -> list[psutil.Process]:
        """Those that live, the worker's own children."""
        assert self.worker.process is not None
        found = psutil.Process(self.worker.process.pid).children()
        return [process for process in found if "workers.fork_server" in process.cmdline()]

    def children(self) -> list[psutil.Process]:
        """Everything below the worker, dead ones that nobody has reaped too."""
        assert self.worker.process is not None
        return psutil.Process(self.worker.process.pid).children(recursive=True)


async def until(what: str, condition: Any, seconds: float = SECONDS) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"Not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.05)


async def until_async(what: str, condition: Any, seconds: float = SECONDS) -> None:
    """The same, for a coroutine."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"Not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def bench(
    store: Store, database_url: str, server: PrefectServer, directory: Path, *arguments: str, **settings: str
) -> AsyncIterator[Bench]:
    """A pool, a worker that is ready, and a controller to make deployments with."""
    environment = {
        **server.environment,
        "CAI_DATABASE_URL": database_url,
        "CAI_DATA_DIR": str(directory / "data"),
        "CAI_SECRET_CANARY": CANARY,
        "PREFECT_WORKER_QUERY_SECONDS": "0.5",
        "PREFECT_API_URL": server.url,
        **settings,
    }
    log = directory / "worker.log"
    command = [sys.executable, "-m", "workers", "--pool", POOL, "--name", "warm", *arguments]
    worker = Child("worker", command, environment, ROOT, log, restarts=False)
    own = PLATFORM.__class__(
        **{name: getattr(PLATFORM, name) for name in PLATFORM.__slots__}
        | {"job_variables": job_variables(str(ROOT)), "work_pool": POOL}
    )
    source = Source()
    with WebServer(source) as web, temporary_settings({PREFECT_API_URL: server.url}):
        async with (
            httpx.AsyncClient(base_url=server.url, timeout=60, transport=AsyncPatient()) as api,
            open_client(timeout=60) as client,
            open_gateway(timeout_seconds=60, connections=2) as gateway,
            rig(store, gateway, platform=own) as controller,
        ):
            await _work_pool(client, Settings(work_pool=POOL), WARM_POOL_TYPE, None)
            made = Bench(api, controller, worker, source, web.url, log)
            worker.start()
            try:
                await until("the worker is ready", lambda: log.exists() and "started!" in log.read_text())
                yield made
            finally:
                worker.end(grace_seconds=60)


def holds(pid: int, text: str) -> bool:
    """Whether the process has the text anywhere in its memory."""
    wanted = text.encode()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if found is None or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = int(found[1], 16), int(found[2], 16)
            try:
                memory.seek(start)
                left, before = end - start, b""
                while left > 0 and (part := memory.read(min(left, 1 << 24))):
                    if wanted in before + part:
                        return True
                    before, left = part[-len(wanted) :], left - len(part)
            except (OSError, OverflowError):
                continue  # a mapping that cannot be read
    return False


async def test_a_run_is_forked_is_cancelled_and_dies_alone_and_no_secret_stays_behind(
    store: Store, database_url: str, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    async with bench(store, database_url, prefect_server, tmp_path) as warm:
        (server,) = warm.fork_servers()
        deployment = await warm.connector()

        # A run: forked, its log lines told, its end seen, nothing left.
        with warm.source.held():
            run, pid = await warm.in_its_midst(deployment)
            assert psutil.Process(pid).ppid() == server.pid
            assert holds(pid, CANARY), "the run has its secret, or this looks in the wrong place"
        done = await warm.until(run, "Completed")
        assert done["state"]["message"].startswith("Loaded 3 rows")
        assert warm.source.tokens[-1] == f"Bearer {CANARY}"
        await until("the run's process is reaped", lambda: warm.children() == [server])
        lines = await warm.api.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [run]}}})
        assert any("Finished in state Completed" in line["message"] for line in lines.json())
        await warm.no_slot_taken(deployment)
        assert not holds(server.pid, CANARY)
        assert CANARY not in "".join(server.environ().values())

        # Cancelled in its midst.
        with warm.source.held():
            run, pid = await warm.in_its_midst(deployment)
            cancelling = {"type": "CANCELLING", "name": "Cancelling"}
            await warm.api.post(f"/flow_runs/{run}/set_state", json={"state": cancelling, "force": True})
            await warm.until(run, "Cancelled")
            await until("the cancelled run's process is gone", lambda: not psutil.pid_exists(pid))
        await warm.no_slot_taken(deployment)

        # Killed: a crash, a free slot, and the next run is exact.
        with warm.source.held():
            run, pid = await warm.in_its_midst(deployment)
            os.kill(pid, signal.SIGKILL)
            crashed = await warm.until(run, "Crashed")
        assert "-9" in crashed["state"]["message"]
        await warm.no_slot_taken(deployment)
        await warm.until(await warm.start(deployment), "Completed")

        # Other code: another fork server, and the one before goes.
        assert warm.fork_servers() == [server]
        os.utime(ROOT / "settings.py")
        await warm.until(await warm.start(deployment), "Completed")
        await until("the fork server of older code is gone", lambda: not psutil.pid_exists(server.pid))
        assert len(warm.fork_servers()) == 1


async def test_a_killed_fork_server_takes_no_run_with_it_and_is_replaced(
    store: Store, database_url: str, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    async with bench(store, database_url, prefect_server, tmp_path) as warm:
        first, second = await warm.connector(), await warm.connector()
        (server,) = warm.fork_servers()
        with warm.source.held():
            lives, living = await warm.in_its_midst(first)
            dies, dying = await warm.in_its_midst(second)
            server.kill()
            assert warm.worker.process is not None
            worker = psutil.Process(warm.worker.process.pid)
            await until("the runs are the worker's now", lambda: psutil.Process(living).ppid() == worker.pid)
            os.kill(dying, signal.SIGKILL)
            assert "-9" in (await warm.until(dies, "Crashed"))["state"]["message"]
        await warm.until(lives, "Completed")
        await until("both are reaped", lambda: not psutil.pid_exists(living) and not psutil.pid_exists(dying))
        await warm.no_slot_taken(first)
        await warm.no_slot_taken(second)
        await warm.until(await warm.start(second), "Completed")
        (other,) = warm.fork_servers()
        assert other.pid != server.pid


async def test_a_killed_workers_run_goes_on_to_its_end(
    store: Store, database_url: str, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    async with bench(store, database_url, prefect_server, tmp_path) as warm:
        deployment = await warm.connector()
        (server,) = warm.fork_servers()
        with warm.source.held():
            run, pid = await warm.in_its_midst(deployment)
            assert warm.worker.process is not None
            warm.worker.process.kill()
            warm.worker.process.wait()
            assert psutil.pid_exists(pid)
        await warm.until(run, "Completed")
        await until("its fork server is gone too", lambda: not server.is_running())


async def test_a_stopped_worker_waits_for_its_runs_and_takes_no_more(
    store: Store, database_url: str, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    async with bench(store, database_url, prefect_server, tmp_path, CAI_DRAIN_SECONDS="300") as warm:
        first, second = await warm.connector(), await warm.connector()
        with warm.source.held():
            run, _ = await warm.in_its_midst(first)
            assert warm.worker.process is not None
            warm.worker.process.terminate()
            await until("it says that it stops", lambda: "Stopping: waiting" in warm.log.read_text())
            late = await warm.start(second)
            await asyncio.sleep(2)  # some polls: there is nothing to see of a run that is not taken
            assert (await warm.run(late))["state"]["name"] == "Scheduled"
        await warm.until(run, "Completed")
        await until("the worker ends", lambda: warm.worker.ended() is not None)
        await warm.no_slot_taken(first)


async def test_a_stopped_worker_that_may_not_wait_ends_its_runs_and_says_so(
    store: Store, database_url: str, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    async with bench(store, database_url, prefect_server, tmp_path, CAI_DRAIN_SECONDS="0") as warm:
        deployment = await warm.connector()
        with warm.source.held():
            run, pid = await warm.in_its_midst(deployment)
            assert warm.worker.process is not None
            warm.worker.process.terminate()
            await warm.until(run, "Crashed")
            await until("the worker ends", lambda: warm.worker.ended() is not None)
            assert not psutil.pid_exists(pid)
        await warm.no_slot_taken(deployment)


async def test_one_run_at_a_time_within_its_memory_from_a_fork_server_of_its_age(
    store: Store, database_url: str, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    limits = {"CAI_RUN_MEMORY_MEGABYTES": "400", "CAI_FORK_SERVER_MAX_AGE_SECONDS": "1"}
    async with bench(store, database_url, prefect_server, tmp_path, "--limit", "1", **limits) as warm:
        first, second = await warm.connector(), await warm.connector()
        (server,) = warm.fork_servers()
        with warm.source.held():
            run, pid = await warm.in_its_midst(first)
            limit = psutil.Process(pid).rlimit(psutil.RLIMIT_DATA)
            assert 400 * 2**20 < limit[0] == limit[1] < 2**40
            waiting = await warm.start(second)
            await asyncio.sleep(2)  # some polls
            assert (await warm.run(waiting))["state"]["name"] == "Scheduled"
        await warm.until(run, "Completed")
        await warm.until(waiting, "Completed")
        await until("the worn fork server is gone", lambda: not server.is_running())
