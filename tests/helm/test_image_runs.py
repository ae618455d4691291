"""The image run for real: every rendered workload of a production release, on a real PostgreSQL and a real Redis.

`.ci/image` installs what it needs, builds the image and runs this. Where there are root, podman, redis-server and a
PostgreSQL with its contrib modules (the embedded one lacks pg_trgm, which Prefect wants), so does

    make image && CAI_TEST_IMAGE=clinical-ai-prefect:0.1.0 .venv/bin/python -m pytest -s tests/helm/test_image_runs.py

No Kubernetes: the work pool is of the process type, and what the kubernetes worker would hand to Kubernetes is run as
the last step, as a container.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration  # type: ignore[import-untyped]

from tests.support.helm.chart import PRODUCTION, RELEASE, Object, job_template, laid, named, of_kind, render
from tests.support.helm.podman import Node, Running, relay, wait_until
from tests.support.servers.prefect_server import free_port

IMAGE = os.environ.get("CAI_TEST_IMAGE")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(IMAGE is None, reason="CAI_TEST_IMAGE names no image: see this module"),
]

VALUES = laid(
    PRODUCTION,
    {
        "workPool": {"type": "process"},
        "connectorSecrets": ["clinical-ai-prefect-warehouse", "clinic"],
        "settings": {"leaseTtlSeconds": 15},
        "workerDefaults": {"querySeconds": 2, "resources": {"limits": {"memory": "2Gi"}}},
        "workers": {"loads": {"replicas": 1}},
    },
)
TOKEN = "token-" + secrets.token_hex(8)
AUTH = "admin:" + secrets.token_hex(8)


def say(text: str) -> None:
    """Figures for whoever looks (`pytest -s`)."""
    print(f"    {text}", flush=True)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """A Redis with a password: its port and password."""
    program = shutil.which("redis-server")
    assert program is not None, "redis-server is missing"
    port, password = free_port(), secrets.token_hex(8)
    with subprocess.Popen(
        [program, "--port", str(port), "--requirepass", password, "--bind", "127.0.0.1", "--save", ""],
        cwd=tmp_path_factory.mktemp("redis"),
        stdout=subprocess.DEVNULL,
    ) as process:
        yield port, password
        process.terminate()


def _public(directory: Path) -> Path:
    """Lets other users pass through a directory of pytest's, which are private."""
    for parent in (directory, *directory.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    return directory


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A whole PostgreSQL: its address as `postgresql://user:password@127.0.0.1:port`."""
    program = shutil.which("initdb")
    assert program is not None, "PostgreSQL's programs are missing"
    programs = Path(program).resolve().parent
    home = _public(tmp_path_factory.mktemp("postgres"))
    shutil.chown(home, "postgres")
    port, password = free_port(), secrets.token_hex(8)
    secret = home / "password"
    secret.write_text(password)
    shutil.chown(secret, "postgres")
    cluster = ("--pgdata", str(home / "cluster"))
    subprocess.run(
        [
            programs / "initdb",
            *cluster,
            "--username",
            "cai",
            "--pwfile",
            secret,
            "--auth",
            "scram-sha-256",
            "--no-sync",
        ],
        check=True,
        capture_output=True,
        user="postgres",
        cwd=home,
    )
    told = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": 300}
    said = [argument for key, value in told.items() for argument in ("-c", f"{key}={value}")]
    with subprocess.Popen(
        [programs / "postgres", "-D", home / "cluster", *said],
        user="postgres",
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        url = f"postgresql://cai:{password}@127.0.0.1:{port}"

        def answers() -> bool:
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                return bool(sql(f"{url}/postgres", "SELECT 1"))
            return False

        wait_until(answers, 60, "PostgreSQL")
        yield url
        process.send_signal(signal.SIGINT)


async def _sql(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


def sql(url: str, statement: str) -> list[asyncpg.Record]:
    """Asks a database."""
    return asyncio.run(_sql(url, statement))


@pytest.fixture(scope="module")
def urls(postgres: str) -> dict[str, str]:
    """The databases, under the addresses of this machine."""
    made = {name: f"{postgres}/{name}" for name in ("cai", "prefect", "warehouse", "clinic")}
    for name in made:
        sql(f"{postgres}/postgres", f"CREATE DATABASE {name}")
    sql(
        made["clinic"],
        "CREATE TABLE visit AS SELECT n AS id, now() - n * interval '1 hour' AS updated_at "
        "FROM generate_series(1, 500) n",
    )
    sql(made["clinic"], "ALTER TABLE visit ADD PRIMARY KEY (id)")
    return made


class Release:
    """The running release."""

    def __init__(self, node: Node, urls: dict[str, str]) -> None:
        self.node = node
        self.urls = urls
        self.workloads: dict[str, list[Running]] = {}

    def deployment(self, name: str) -> Object:
        """A rendered Deployment."""
        return named(self.node.objects, "Deployment", name)

    def leader(self) -> str | None:
        """The holder of the lease."""
        rows = sql(self.urls["cai"], "SELECT holder FROM cai_controller_lease WHERE expires_at > now()")
        return str(rows[0]["holder"]) if rows else None

    def leading(self) -> Running:
        """The controller that leads."""
        holder = self.leader()
        assert holder is not None
        (found,) = [
            it for it in self.workloads["controller"] if it.name.removeprefix(f"{self.node.network}-") in holder
        ]
        return found

    def api(self) -> httpx.Client:
        """The REST API."""
        address = self.workloads["api"][0].address
        return httpx.Client(base_url=f"http://{address}:8080", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)

    def prefect(self, server: int = 0) -> httpx.Client:
        """One of the Prefect servers."""
        user, password = AUTH.split(":")
        address = self.workloads["server"][server].address
        return httpx.Client(base_url=f"http://{address}:4200/api", auth=(user, password), timeout=30)


@pytest.fixture(scope="module")
def release(
    urls: dict[str, str], redis: tuple[int, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Release]:
    """Installed in Helm's order: hooks before, the release, hooks after."""
    assert IMAGE is not None
    objects = render(VALUES)
    root = _public(tmp_path_factory.mktemp("volumes"))
    node = Node(objects, {}, IMAGE, root)
    port = int(httpx.URL(urls["cai"]).port or 5432)
    with relay(port) as to_postgres, relay(redis[0]) as to_redis, node:

        def seen(name: str) -> str:
            return urls[name].replace(f"127.0.0.1:{port}", f"{node.gateway}:{to_postgres}")

        node.secrets.update(
            {
                f"{RELEASE}-database": {"url": seen("cai")},
                f"{RELEASE}-server-database": {
                    "url": seen("prefect").replace("postgresql://", "postgresql+asyncpg://", 1)
                },
                f"{RELEASE}-server-auth": {"auth-string": AUTH},
                f"{RELEASE}-api": {"token": TOKEN},
                f"{RELEASE}-redis": {"url": f"redis://:{redis[1]}@{node.gateway}:{to_redis}/0"},
                f"{RELEASE}-mask": {"key": secrets.token_hex(32)},
                f"{RELEASE}-warehouse": {"CAI_SECRET_WAREHOUSE": seen("warehouse")},
                "clinic": {"CAI_SECRET_CLINIC": seen("clinic")},
            }
        )
        made = Release(node, urls)
        for job in ("server-migrations", "migrations"):
            began = time.monotonic()
            node.run(named(objects, "Job", job), 300)
            say(f"{job} done after {time.monotonic() - began:.1f} s")
        for deployment in of_kind(objects, "Deployment"):
            name = deployment["metadata"]["name"].removeprefix(f"{RELEASE}-")
            made.workloads[name] = node.deploy(deployment)
        began = time.monotonic()
        waiting = [(name, running) for name, all_of in made.workloads.items() for running in all_of]
        while waiting:
            for name, running in list(waiting):
                if running.is_ready():
                    again = f", restarted {running.restarts} times" if running.restarts else ""
                    say(f"{name} ready after {time.monotonic() - began:.1f} s{again}")
                    waiting.remove((name, running))
            assert time.monotonic() - began < 300, f"not ready: {[name for name, _ in waiting]}"
            time.sleep(0.5)
        began = time.monotonic()
        node.run(named(objects, "Job", "bootstrap"), 300)
        say(f"bootstrap done after {time.monotonic() - began:.1f} s")
        yield made


def _connector(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "schedule": "0 3 * * *",
        "source": {
            "type": "sql_database",
            "credentials": {"env": "CAI_SECRET_CLINIC"},
            "tables": [{"name": "visit", "primary_key": ["id"], "cursor_column": "updated_at"}],
        },
    }


def _create(release: Release, name: str) -> int:
    with release.api() as api:
        answer = api.post("/api/v1/connectors", json=_connector(name))
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def _deployed(release: Release, connector: int) -> bool:
    rows = sql(release.urls["cai"], f"SELECT phase FROM cai_connector_status WHERE connector_id = {connector}")
    return bool(rows) and rows[0]["phase"] == "synced"


def test_every_rendered_probe_answers(release: Release) -> None:
    for name, all_of in release.workloads.items():
        for running in all_of:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert running.passes(probe), f"{name}: {probe}: {running.log()[-3000:]}"


def test_nobody_comes_in_without_a_password(release: Release) -> None:
    for server in (0, 1):
        with release.prefect(server) as prefect:
            assert prefect.post("/flows/count", json={}).status_code == 200
            assert httpx.post(f"{prefect.base_url}flows/count", json={}).status_code == 401
    with release.api() as api:
        assert httpx.get(f"{api.base_url}/api/v1/connectors").status_code == 401


def test_a_connector_becomes_a_deployment_and_its_run_lands_rows(release: Release) -> None:
    connector = _create(release, "visits")
    took = wait_until(lambda: _deployed(release, connector), 120, "deployment")
    say(f"connector deployed after {took:.2f} s")
    with release.api() as api:
        answer = api.post(f"/api/v1/connectors/{connector}/run")
        assert answer.status_code == 202, answer.text

    def ended() -> bool:
        with release.prefect(1) as prefect:
            runs = prefect.post("/flow_runs/filter", json={"sort": "START_TIME_DESC"}).json()
        mine = [run for run in runs if run["parameters"].get("connector_id") == connector and run["start_time"]]
        assert all(run["state_type"] not in {"FAILED", "CRASHED"} for run in mine), (
            mine[0]["state"],
            release.workloads["worker-loads"][0].log()[-6000:],
        )
        return any(run["state_type"] == "COMPLETED" for run in mine)

    took = wait_until(ended, 240, "run")
    say(f"run completed after {took:.1f} s")
    assert sql(release.urls["warehouse"], f"SELECT count(*) n FROM connector_{connector}.visit")[0]["n"] == 500


def test_a_source_that_is_not_saved_is_looked_at_where_loads_run(release: Release) -> None:
    """The clinic's address is a secret of the workers alone: the API could not ask it."""
    source = _connector("not saved")["source"]
    unsaid = {key: value for key, value in source.items() if key != "tables"}
    with release.api() as api:
        found = api.post("/api/v1/sources/discover", json={"source": unsaid}, timeout=180)
        assert found.status_code == 200, found.text
        items = {item["name"]: item["primaryKey"] for item in found.json()["items"]}
        tried = api.post("/api/v1/sources/test", json={"source": source}, timeout=180).json()
    assert items == {"visit": ["id"]}
    assert tried["ok"], tried
    assert len(tried["tables"][0]["rows"]) > 0
    assert tried["destination"]["ok"], tried
    assert sql(release.urls["cai"], "SELECT count(*) n FROM cai_probes")[0]["n"] == 0


async def _job_of(release: Release, run: FlowRun, client: PrefectClient) -> dict[str, Any]:
    kubernetes = render(laid(VALUES, {"workPool": {"type": "kubernetes"}}))
    assert run.deployment_id is not None
    deployment = await client.read_deployment(run.deployment_id)
    configuration = await KubernetesWorkerJobConfiguration.from_template_and_values(
        base_job_template=job_template(kubernetes), values=deployment.job_variables, client=client
    )
    configuration.prepare_for_flow_run(run)
    return dict(configuration.job_manifest)


async def _a_run_of_its_own(release: Release, connector: int) -> tuple[uuid.UUID, dict[str, Any]]:
    """A pending run, which no worker takes, and the Job that a kubernetes worker would make of it."""
    address = release.workloads["server"][0].address
    async with PrefectClient(f"http://{address}:4200/api", auth_string=AUTH) as client:
        name = f"run_connector_pipeline/connector-{connector}-pipeline"
        deployment = await client.read_deployment_by_name(name)
        run = await client.create_flow_run_from_deployment(deployment.id, state=Pending())
        return run.id, await _job_of(release, run, client)


def test_the_pod_of_a_run_loads_as_the_kubernetes_worker_would_start_it(release: Release) -> None:
    connector = _create(release, "visits in a pod")
    wait_until(lambda: _deployed(release, connector), 120, "deployment")
    run_id, job = asyncio.run(_a_run_of_its_own(release, connector))
    began = time.monotonic()
    release.node.run(job | {"metadata": {"name": "run"}}, 240)
    say(f"run in a pod of its own done after {time.monotonic() - began:.1f} s")
    with release.prefect() as prefect:
        assert prefect.get(f"/flow_runs/{run_id}").json()["state_type"] == "COMPLETED"
    assert sql(release.urls["warehouse"], f"SELECT count(*) n FROM connector_{connector}.visit")[0]["n"] == 500


def test_the_schedulers_share_the_work(release: Release) -> None:
    """Two pods of background services, and each scheduled time is there once."""
    with release.prefect() as prefect:

        def runs() -> list[dict[str, Any]]:
            asked = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
            return list(prefect.post("/flow_runs/filter", json=asked).json())

        wait_until(lambda: len(runs()) > 0, 120, "scheduled runs")
        at = [(run["deployment_id"], run["expected_start_time"]) for run in runs()]
        assert len(at) == len(set(at))


def test_an_emptied_redis_is_filled_again(release: Release, redis: tuple[int, str]) -> None:
    """Schedules and events went through it: both go on by themselves."""
    port, password = redis
    subprocess.run(
        ["redis-cli", "-p", str(port), "FLUSHALL"],
        env={**os.environ, "REDISCLI_AUTH": password},
        check=True,
        capture_output=True,
    )
    connector = _create(release, "after the flush")
    wait_until(lambda: _deployed(release, connector), 120, "deployment")
    with release.prefect() as prefect:
        asked = {
            "deployments": {"name": {"any_": [f"connector-{connector}-pipeline"]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        }
        took = wait_until(lambda: prefect.post("/flow_runs/count", json=asked).json() > 0, 180, "scheduled runs")
    say(f"its first runs are scheduled {took:.1f} s later")


def test_the_other_controller_leads_when_the_leading_one_is_killed(release: Release) -> None:
    dead = release.leading()
    before = release.leader()
    dead.kill()
    connector = _create(release, "after the kill")
    took = wait_until(lambda: _deployed(release, connector), 120, "deployment")
    say(f"leader killed: the other deployed a new connector after {took:.1f} s (lease 15 s)")
    assert release.leader() not in {None, before}
    release.workloads["controller"].remove(dead)
    # Its ReplicaSet makes another one.
    fresh = release.deployment("controller")
    fresh = {**fresh, "spec": {**fresh["spec"], "replicas": 1}}
    release.workloads["controller"] += release.node.deploy(fresh)
    wait_until(lambda: release.workloads["controller"][-1].passes("readinessProbe"), 120, "controller")


def test_a_controller_that_is_asked_to_end_hands_over_at_once(release: Release) -> None:
    leading = release.leading()
    before = release.leader()
    code, seconds = leading.stop()
    say(f"leading controller ended with {code} after {seconds:.1f} s")
    took = wait_until(lambda: release.leader() not in {None, before}, 60, "successor")
    say(f"its successor leads {took:.1f} s later")
    assert code == 0
    assert seconds < leading.grace
    release.workloads["controller"].remove(leading)


def test_sigterm_ends_every_workload_within_its_grace(release: Release) -> None:
    late = []
    for name in ("worker-loads", "worker-control", "controller", "api", "services", "server"):
        pods = release.workloads[name]
        with ThreadPoolExecutor(len(pods)) as pool:
            ends = list(pool.map(Running.stop, pods))
        for running, (code, seconds) in zip(pods, ends, strict=True):
            say(f"{name} ended with {code} after {seconds:.1f} s of {running.grace} s")
            if code == 137 or seconds >= running.grace:
                late.append((name, code, seconds))
    assert late == []
