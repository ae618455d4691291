"""Kill -9 around the end of loads, of the loads and of the controller: each follower starts once for each of them."""

import base64
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from settings import ROOT
from tests.integration.deployments.test_webhooks import Receiver
from tests.support.control_plane.ended_loads import Rows
from tests.support.servers.prefect_server import PrefectServer

SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"


class Mortals:
    """Loads and turns of a controller in processes of their own, which may be killed."""

    def __init__(self, url: str, server: PrefectServer, seed: int) -> None:
        self._rng = random.Random(seed)
        self._usual = {"load": 0.2, "turn": 0.5}
        self.killed: Counter[str] = Counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.control_plane.dying_loads", url],
            cwd=ROOT,
            env={**os.environ, **server.environment, "CAI_SECRET_HOOK": SECRET},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def whole(self, what: str, number: int = 0) -> None:
        """One that lives to its end, which says how long they live."""
        self._usual[what] = self._ask(what, number, -1)["seconds"]

    def mortal(self, what: str, number: int = 0) -> None:
        """One that is killed somewhere before, at or after its last statement."""
        answer = self._ask(what, number, self._usual[what] * self._rng.uniform(0.3, 1.1))
        self.killed[what] += answer["killed"]
        if not answer["killed"]:
            self._usual[what] = min(self._usual[what], answer["seconds"])

    def _ask(self, what: str, number: int, seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what} {number} {seconds}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert answer["killed"] or answer["code"] == 0
        return answer

    def end(self) -> None:
        """End the process that forks."""
        self._process.communicate()


@pytest.fixture
def mortals(database_url: str, prefect_server: PrefectServer) -> Iterator[Mortals]:
    found = Mortals(database_url, prefect_server, seed=22)
    yield found
    found.end()


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(16, marks=pytest.mark.slow),
        pytest.param(500, marks=[pytest.mark.soak, pytest.mark.timeout(3600)], id="soak"),
    ],
)
async def test_each_follower_starts_once_for_each_load_whatever_is_killed(
    database_url: str, prefect_server: PrefectServer, mortals: Mortals, kills: int
) -> None:
    rows = Rows(database_url)
    with temporary_settings({PREFECT_API_URL: prefect_server.url}), Receiver() as receiver:
        async with get_client() as client:
            flow_id = await client.create_flow_from_name(f"dbt-{uuid4().hex}")
            flow = await client.read_flow(flow_id)
            deployment = await client.create_deployment(flow_id=flow_id, name="nightly")
            report = await client.create_deployment(flow_id=flow_id, name="report")
            then = [
                {"connector": "report"},
                {"deployment": f"{flow.name}/nightly"},
                {"webhook": receiver.address, "secret": {"env": "CAI_SECRET_HOOK"}},
            ]
            await rows.add("report", deployment=report)
            labs = await rows.add("labs", json.dumps(then))
            mortals.whole("load", labs)
            mortals.whole("turn")
            while mortals.killed.total() < kills:
                mortals.mortal("load", labs)
                mortals.mortal("turn")
                if mortals.killed.total() % 10 == 0:
                    mortals.whole("turn")
            await _settled(rows, mortals)

            (ended,) = await rows.sql("SELECT count(*) AS loads FROM cai_loads WHERE outcome = 'completed'")
            expected = int(ended["loads"])
            notes = Counter([follower.partition(":")[0] for follower, started, _ in await rows.notes() if started])
            assert notes == dict.fromkeys(("connector", "deployment", "webhook"), expected)
            runs = await _runs_of(client, {deployment, report})
            assert Counter(run.deployment_id for run in runs) == {deployment: expected, report: expected}
            noted = await rows.sql("SELECT run_id FROM cai_follow_ups WHERE kind = 'start'")
            assert {row["run_id"] for row in noted} == {run.id for run in runs}
            delivered = Counter(headers["webhook-id"] for headers, _ in receiver.got)
            keys = await rows.sql("SELECT key FROM cai_follow_ups WHERE kind = 'webhook'")
            assert set(delivered) == {f"msg_{row['key'].hex}" for row in keys}
            assert mortals.killed["load"] > kills // 8, "loads are killed too"


async def _settled(rows: Rows, mortals: Mortals) -> None:
    """Let controllers that nobody kills do what is left."""
    left = "SELECT FROM cai_follow_ups WHERE started_at IS NULL UNION ALL SELECT FROM cai_loads WHERE to_follow"
    for _ in range(1000):
        # What was put off while Prefect was too slow for a moment is due at once.
        await rows.sql("UPDATE cai_follow_ups SET next_try_at = now() WHERE started_at IS NULL")
        mortals.whole("turn")
        if not await rows.sql(left):
            return
    raise AssertionError("follow-ups are left over")


async def _runs_of(client: Any, deployments: set[UUID]) -> list[Any]:
    found: list[Any] = []
    while page := await client.read_flow_runs(limit=200, offset=len(found)):
        found += page
    return [run for run in found if run.deployment_id in deployments]
