"""Bootstrap of an empty Prefect, before the controller can start: `python -m deployments.bootstrap`.

Work pool and queues, the static deployments (the controller, the forms, looks at sources), and the automations: two
that keep a controller running without a person, and those that notify people. Idempotent: what is there as it should be
is left alone, and what differs is replaced in place.
"""

import argparse
import asyncio
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPoolStorageConfiguration
from prefect.events import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.automations import automations, notifications
from deployments.planning.spec import job_variables
from prefect_api.names import (
    CONTROLLER_DEPLOYMENT,
    CONTROLLER_ENTRYPOINT,
    CONTROLLER_QUEUE,
    FORM_DEPLOYMENT,
    FORMS,
    PROBE_DEPLOYMENT,
    PROBE_ENTRYPOINT,
    WARM_POOL_TYPE,
    form_entrypoint,
)
from settings import ROOT, Settings

logger = logging.getLogger(__name__)


_LOOK_SECONDS = 0.2
"""Between two looks whether a server that starts answers."""


async def bootstrap(settings: Settings, *, pool_type: str, base_job_template: dict[str, Any] | None) -> None:
    """Make what is missing in the Prefect of `PREFECT_API_URL`.

    Args:
        settings: of this installation.
        pool_type: the type of the work pool, such as `process` or `kubernetes`.
        base_job_template: its template, which replaces another one; None for the type's own, or the one that is there.

    Raises:
        ValueError: when the pool is of another type than the template, or loads would share the controller's queue.
    """
    if settings.work_queue == CONTROLLER_QUEUE:
        raise ValueError(
            f"CAI_WORK_QUEUE: {CONTROLLER_QUEUE} is the controller's own queue, where loads would keep it waiting. "
            "Name another one, such as default."
        )
    async with get_client() as client:
        await _work_pool(client, settings, pool_type, base_job_template)
        for queue, limit in {CONTROLLER_QUEUE: None, settings.work_queue: settings.work_queue_limit}.items():
            await _work_queue(client, settings.work_pool, queue, limit)
        controller, *_ = [await _deployment(client, settings, *each) for each in static_deployments(settings)]
        for automation in automations(settings, controller):
            await _automation(client, automation)
        await _notifications(client, settings)


def static_deployments(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, entrypoint and work queue of the controller's deployment, of each form's and of looks at sources.

    `prefect.yaml` lists the same for those who deploy by hand.
    """
    forms = [form_entrypoint(what) for what in FORMS]
    return [
        (CONTROLLER_DEPLOYMENT, CONTROLLER_ENTRYPOINT, CONTROLLER_QUEUE),
        *((FORM_DEPLOYMENT, entrypoint, settings.work_queue) for entrypoint in forms),
        (PROBE_DEPLOYMENT, PROBE_ENTRYPOINT, settings.work_queue),
    ]


async def _work_pool(client: PrefectClient, settings: Settings, kind: str, template: dict[str, Any] | None) -> None:
    wanted = WorkPoolCreate(
        name=settings.work_pool,
        type=kind,
        base_job_template=template or _own_template(kind),
        storage_configuration=WorkPoolStorageConfiguration(),
    )
    try:
        await client.create_work_pool(wanted)
    except ObjectAlreadyExists:
        if template is not None:
            await _renew_template(client, wanted)
        return
    logger.info("Made the work pool %s.", wanted.name)


def _own_template(kind: str) -> dict[str, Any]:
    """The template of a pool that is given none: the server knows its own types' and not that of warm workers."""
    if kind != WARM_POOL_TYPE:
        return {}
    from prefect.workers.process import ProcessWorker  # noqa: PLC0415  # heavy, and of no use to the other types

    return ProcessWorker.get_default_base_job_template()


async def _renew_template(client: PrefectClient, wanted: WorkPoolCreate) -> None:
    """A new version's runs differ, by their image to begin with, so the pool takes the template of the installation."""
    held = await client.read_work_pool(wanted.name)
    if held.type != wanted.type:
        raise ValueError(
            f"The work pool {wanted.name} is of the type {held.type}, which cannot become {wanted.type}: "
            "delete the pool in Prefect, or name another one in CAI_WORK_POOL."
        )
    if held.base_job_template != wanted.base_job_template:
        await client.update_work_pool(wanted.name, WorkPoolUpdate(base_job_template=wanted.base_job_template))
        logger.info("The work pool %s has another base job template.", wanted.name)


async def _work_queue(client: PrefectClient, pool: str, name: str, limit: int | None) -> None:
    """A queue of the pool. The limit is the queue's and not the pool's: loads must not keep the controller waiting."""
    try:
        await client.create_work_queue(name=name, work_pool_name=pool, concurrency_limit=limit)
    except ObjectAlreadyExists:
        held = await client.read_work_queue_by_name(name, pool)
        if limit is not None and held.concurrency_limit != limit:
            await client.update_work_queue(held.id, concurrency_limit=limit)
            logger.info("The work queue %s has a limit of %s runs at once.", name, limit)
        return
    logger.info("Made the work queue %s.", name)


async def _deployment(client: PrefectClient, settings: Settings, name: str, entrypoint: str, queue: str) -> UUID:
    """A static deployment in the installation's pool, made or brought in line; its id, which stays.

    The controller's has no concurrency limit: the lease is the only exclusion.
    """
    flow: Flow[..., Any] = load_flow_from_entrypoint(str(ROOT / entrypoint), use_placeholder_flow=False)
    wanted: dict[str, Any] = {
        "description": flow.description,
        "entrypoint": entrypoint,
        "work_pool_name": settings.work_pool,
        "work_queue_name": queue,
        "parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi(),
        "enforce_parameter_schema": True,
        "job_variables": job_variables(str(settings.code_path)),
    }
    full_name = f"{flow.name}/{name}"
    try:
        held = await client.read_deployment_by_name(full_name)
    except ObjectNotFound:
        held = None
    if held is not None and all(getattr(held, field) == value for field, value in wanted.items()):
        return held.id
    # Prefect's create is an upsert; what it would reset, schedules to begin with, these have not.
    flow_id = await client.create_flow_from_name(flow.name)
    made = await client.create_deployment(flow_id=flow_id, name=name, **wanted)
    logger.info("%s the deployment %s.", "Made" if held is None else "Updated", full_name)
    return made


async def _notifications(client: PrefectClient, settings: Settings) -> None:
    """The automations that notify people through the block of the settings; none when none is named.

    A block that is not there yet, as on a new Prefect, must not keep the rest from starting, nor take away the
    notifications that people get by now.
    """
    block: UUID | None = None
    if settings.notification_block is not None:
        kind, _, title = settings.notification_block.partition("/")
        try:
            block = (await client.read_block_document_by_name(title, kind, include_secrets=False)).id
        except ObjectNotFound:
            logger.error(  # noqa: TRY400  # Prefect's traceback says no more
                "CAI_NOTIFICATION_BLOCK: Prefect has no block %r of the type %r, so nobody is notified through it. "
                "Make the block in Prefect's UI, or correct the setting, such as slack-webhook/on-call, and run this "
                "bootstrap again (helm upgrade does).",
                title,
                kind,
            )
            return
    for automation in notifications(settings, block):
        await (_automation(client, automation) if block else _no_automation(client, automation.name))


async def _no_automation(client: PrefectClient, name: str) -> None:
    for held in await client.read_automations_by_name(name):
        await client.delete_automation(held.id)
        logger.info("Removed the automation %s.", name)


async def _automation(client: PrefectClient, wanted: AutomationCore) -> None:
    found = await client.read_automations_by_name(wanted.name)
    if not found:
        await client.create_automation(wanted)
        logger.info("Made the automation %s.", wanted.name)
    elif any(_owned(held) != _owned(wanted) for held in found):
        await client.update_automation(found[0].id, wanted)
        logger.info("Updated the automation %s.", wanted.name)


def _owned(automation: AutomationCore) -> dict[str, Any]:
    """What we say of an automation, without ids that the server adds."""
    said = automation.model_dump(mode="json", include={"description", "trigger", "actions"})
    for part in (said["trigger"], *said["actions"]):
        part.pop("id", None)
    for key in ("after", "expect", "for_each"):
        said["trigger"][key] = sorted(said["trigger"][key])
    return said


def main() -> int:
    """Entry point; the exit code is 0 when everything is there."""
    parser = argparse.ArgumentParser(description="Make what an empty Prefect needs before the controller can start.")
    parser.add_argument("--pool-type", default="process", help="type of the work pool, if it has to be made")
    parser.add_argument("--base-job-template", type=Path, help="JSON file with the work pool's base job template")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds in which Prefect may still be starting")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each request
    template = json.loads(arguments.base_job_template.read_text()) if arguments.base_job_template else None
    asyncio.run(_when_it_answers(arguments.wait, Settings(), arguments.pool_type, template))
    return 0


async def _when_it_answers(seconds: float, settings: Settings, pool_type: str, template: dict[str, Any] | None) -> None:
    """Bootstrap as soon as Prefect answers; after so many seconds try it in any case, which says what is wrong."""
    deadline = time.monotonic() + seconds
    async with get_client() as client:
        while time.monotonic() < deadline and await client.api_healthcheck() is not None:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
    await bootstrap(settings, pool_type=pool_type, base_job_template=template)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
