"""People hear of each trouble once and of its end once, by Prefect's own automations, on a real server."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.bootstrap import bootstrap
from local.processes import Child
from prefect_api.client import open_client
from prefect_api.event_feed import Events, sending
from prefect_api.names import ALERT, Alert, ControllerEvent
from settings import ROOT, Settings
from tests.support.servers.prefect_server import AsyncPatient, PrefectServer, free_port
from tests.support.waiting import until


@pytest.fixture
def controller(own_prefect_server: PrefectServer, database_url: str, tmp_path: Path) -> Iterator[tuple[Child, str]]:
    """A controller in the foreground that nobody has started yet, and where it is scraped."""
    port = free_port()
    child = Child(
        name="controller",
        command=[sys.executable, "-m", "flows.controller"],
        environment={
            **os.environ,
            **own_prefect_server.environment,
            "CAI_DATABASE_URL": database_url,
            "CAI_DATA_DIR": str(tmp_path),
            "CAI_HEARTBEAT_SECONDS": "2",
            "CAI_LEASE_TTL_SECONDS": "6",
            "CAI_METRICS_PORT": str(port),
            "CAI_LOG_FORMAT": "json",
        },
        directory=ROOT,
        log=tmp_path / "controller.log",
        restarts=False,
    )
    yield child, f"http://127.0.0.1:{port}/metrics"
    child.end(grace_seconds=15)


async def scraped(url: str) -> str:
    """What a scrape is answered, or nothing."""
    async with httpx.AsyncClient() as prometheus:
        try:
            return (await prometheus.get(url)).text
        except httpx.TransportError:
            return ""


async def settled(api: httpx.AsyncClient, name: str, count: int) -> None:
    """Wait until Prefect has that many events of a name: what they trigger is under way or done."""

    async def there() -> bool:
        body = {"filter": {"event": {"name": [name]}}}
        return len((await api.post("/events/filter", json=body)).json()["events"]) >= count

    await until(f"{count} events {name}", there, 30)


async def automated(api: httpx.AsyncClient) -> str:
    """What Prefect's automations did, in the order of time: for whoever reads why somebody was not told."""
    body = {"filter": {"event": {"prefix": ["prefect.automation"]}}, "limit": 50}
    found = (await api.post("/events/filter", json=body)).json()["events"]
    return "\n".join(f"{each['occurred']} {each['event']} {each['resource']} {each['payload']}" for each in found)


def times(told: list[str], subject: str) -> int:
    """How often people were told of something."""
    return sum(f"[clinical-ai] {subject}" in each for each in told)


@pytest.mark.slow
async def test_one_alert_when_a_trouble_begins_and_one_when_it_ends(
    own_prefect_server: PrefectServer, heard: tuple[str, list[str]], controller: tuple[Child, str]
) -> None:
    url, told = heard
    process, metrics = controller
    settings = Settings(notification_block="custom-webhook/on-call", heartbeat_seconds=2)
    events = Events(settings.instance)
    with temporary_settings({PREFECT_API_URL: own_prefect_server.url}):
        block = CustomWebhookNotificationBlock(name="on-call", url=url, json_data={"text": "{{subject}} | {{body}}"})
        await block.asave("on-call")
        for _ in range(2):
            await bootstrap(settings, pool_type="process", base_job_template=None)
        # Only now: a silence is told of one that was heard since there is somebody to be told.
        process.start()
        api = httpx.AsyncClient(base_url=own_prefect_server.url, timeout=120, transport=AsyncPatient())
        async with open_client() as client, sending(events, client), api:

            async def said(subject: str, count: int = 1) -> bool:
                return times(told, subject) >= count

            def load(outcome: str, message: str, **labels: str) -> None:
                payload = {"message": message}
                events.of_connector(f"connector.load.{outcome}", 7, title="Labs", payload=payload, labels=labels)

            for number in range(1, 6):
                alert = {ALERT: Alert.BEGIN.value} if number == 3 else {}
                load("failed", f"failure {number}", **alert)
            await until("one alert", lambda: said("connector failing"), 60)
            load("completed", "Loaded 5 rows.", **{ALERT: Alert.END.value})
            load("completed", "Loaded 6 rows.")
            await settled(api, "connector.load.completed", 2)
            await until("one recovery", lambda: said("connector recovered"), 60)
            events.of_connector("connector.deployment.rejected", 8, title="Ward", payload={"message": "No such zone."})
            await until("an invalid row is told", lambda: said("connector invalid"), 60)

            # A controller that is killed for good.
            await settled(api, ControllerEvent.HEARTBEAT, 1)

            async def leads() -> bool:
                said = await scraped(metrics)
                return (
                    'cai_controller_lease_held{by="this"} 1.0' in said and 'cai_connectors{phase="synced"} 0.0' in said
                )

            await until("a scrape says that it leads, and what fleet", leads, 60)
            assert process.process is not None
            process.process.kill()
            process.process.wait()

            # A machine too busy for a heartbeat is silent too, so one silence may have come and gone before.
            async def silent() -> bool:
                return times(told, "controller silent") > times(told, "controller back")

            try:
                await until("the silence is told", silent, 150)
            except BaseException:
                print(await automated(api))
                raise
            silences = times(told, "controller silent")

            # It stays silent for another whole period, by the automation that tries to start one again and again.
            async def tries() -> int:
                body = {"flow_runs": {"deployment_id": {"is_null_": False}}}
                return int((await api.post("/flow_runs/count", json=body)).json())

            before = await tries()

            async def tried_again() -> bool:
                return await tries() >= before + 2

            await until("two more periods of silence", tried_again, 90)
            assert times(told, "controller silent") == silences, told
            process.start()
            await until("its return is told", lambda: said("controller back", silences), 120)
    for subject in ("connector failing | Labs: failure 3", "connector recovered | Labs: Loaded 5 rows."):
        assert times(told, subject) == 1, told
    assert times(told, "connector invalid | Ward: No such zone.") == 1, told
    assert times(told, "connector ") == 3, told
    assert process.log is not None
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    assert {line["logger"].partition(".")[0] for line in lines} >= {"deployments", "prefect"}, "all in one form"
