"""Fixtures of many tests: a real PostgreSQL and a real Prefect server, started once, clean for each test."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from sqlalchemy.ext.asyncio import AsyncEngine

os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("CAI_CREDENTIALS", "open")  # tests of credentials say otherwise
# gcsfs reads it once, as whichever test comes first imports it: else it also asks by gRPC, which no emulator speaks.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

from database.connection.engine import open_engine
from database.store import Store
from local.embedded_postgres import EmbeddedPostgres
from rigs.migrated import migrate
from tests.support.control_plane import tally
from tests.support.servers.prefect_server import PrefectServer, empty_prefect

pytest_plugins = ["tests.support.control_plane.fixtures", "tests.support.data_plane.platform"]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A throwaway PostgreSQL cluster."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), throwaway=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database that others are copied from."""
    migrate(postgres.create_database("template_cai"))
    return "template_cai"


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, template: str) -> str:
    """A fresh, migrated database of this test's own."""
    name = f"cai_{next(_numbers)}"

    async def copy() -> None:
        admin = await asyncpg.connect(postgres.url("postgres"))
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        finally:
            await admin.close()

    asyncio.run(copy())
    return postgres.url(name)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on this test's database."""
    engine = open_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
def store(engine: AsyncEngine) -> Store:
    """The connectors' tables of this test."""
    return Store(engine)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's home directory for the tests' own processes."""
    return tmp_path_factory.mktemp("prefect-home")


@pytest.fixture(scope="session")
def shared_prefect_server(prefect_home: Path) -> Iterator[PrefectServer]:
    """One Prefect server for all tests that leave it running."""
    server = PrefectServer(prefect_home)
    server.start()
    try:
        httpx.post(f"{server.url}/work_pools/", json={"name": "default", "type": "process"}).raise_for_status()
        yield server
    finally:
        server.stop()


@pytest.fixture
def prefect_server(shared_prefect_server: PrefectServer) -> Iterator[PrefectServer]:
    """The Prefect server, without a deployment or a run, and the client's settings pointing at it."""
    empty_prefect(shared_prefect_server.url)
    with temporary_settings({PREFECT_API_URL: shared_prefect_server.url, PREFECT_HOME: shared_prefect_server.home}):
        yield shared_prefect_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a long test first: of two workers, none is left alone with one at the end."""
    long = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in long)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of several hands on what its random walks and kills came to."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["tally"] = dict(tally.done)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add up what a worker came to; one that died has handed on nothing."""
    tally.done.update(getattr(node, "workeroutput", {}).get("tally", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the random walks and the kills came to."""
    if (line := tally.line()) is not None:
        terminalreporter.write_line(line)
