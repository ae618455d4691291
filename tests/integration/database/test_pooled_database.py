"""A PgBouncer before the platform's database: the API works behind it, what needs a session says so at its start."""

import asyncio
import os
import subprocess
import sys

import psycopg2  # type: ignore[import-untyped]
import pytest

from database.connection.address import dsn
from database.connection.engine import open_engine
from database.connection.session_check import POOLED, is_pooled
from database.store import Store
from pipelines.connector_lock import Locks
from pipelines.errors import UnexpectedError
from settings import ROOT
from tests.support.api_rig import CONNECTORS, client, create
from tests.support.servers.pgbouncer import pgbouncer


@pytest.mark.parametrize(("mode", "pooled"), [("transaction", True), ("session", False), (None, False)])
def test_only_a_pool_in_transaction_mode_is_one(database_url: str, mode: str | None, pooled: bool) -> None:
    def judged(url: str) -> bool:
        connection = psycopg2.connect(dsn(url))
        connection.autocommit = True
        try:
            return is_pooled(connection, dsn(url))
        finally:
            connection.close()

    if mode is None:
        assert judged(database_url) is pooled
        return
    with pgbouncer(database_url, mode) as url:
        assert judged(url) is pooled


async def test_the_api_works_behind_a_pool_in_transaction_mode(database_url: str) -> None:
    with pgbouncer(database_url, "transaction") as url:
        engine = open_engine(url, pool_size=5)
        try:
            store = Store(engine)
            await asyncio.gather(*(store.marks() for _ in range(50)), *(store.rows() for _ in range(50)))
        finally:
            await engine.dispose()
        async with client(url) as api:
            made = await asyncio.gather(*(create(api, name=f"c{number}") for number in range(20)))
            for row in made:
                changed = await api.patch(f"{CONNECTORS}/{row['id']}", json={"schedule": "H 2 * * *"})
                assert changed.status_code == 200
            listed = (await api.get(CONNECTORS, params={"limit": 100})).json()["items"]
            assert {row["schedule"] for row in listed} == {"H 2 * * *"}
            assert len(listed) == 20


def test_a_run_and_the_controller_refuse_a_pool_in_transaction_mode(database_url: str) -> None:
    with pgbouncer(database_url, "transaction") as url:
        with pytest.raises(UnexpectedError, match="transaction mode"), Locks.open(url):
            pass
        environment = {**os.environ, "CAI_DATABASE_URL": url, "PREFECT_API_URL": "http://127.0.0.1:1/api"}
        controller = subprocess.run(
            [sys.executable, "-m", "flows.controller", "--once"],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert POOLED in controller.stderr
        assert controller.returncode == 2
