"""Forms in the Prefect UI: create, update, activate, deactivate, delete and test a connector without SQL or REST.

Each flow is a form: its parameters are the fields, and what `Args` says of them is their help text. A form that is
refused ends as a failed run with the sentence that the REST API would answer, in the form's words; one that is accepted
leaves an artifact with the connector as it now is. All of it is `use_cases.connectors`: nothing is decided here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed
from prefect.utilities.urls import url_for

from connectors.connector import (
    InvalidConnectorError,
    MissedRuns,
    Overlap,
)
from connectors.errors import RequestError
from connectors.limits.closed_sets import OneOf
from connectors.loads import Answer, Decision
from connectors.people import EVERYTHING, Actor, Person, Via
from database.connection.engine import DATABASE_ERRORS, open_engine
from database.connection.errors import HELD, Trouble, told, trouble_of
from flows.forms.changes import Changes, Removable, filled_in, refusal
from flows.forms.pages import connector_page, dataset_of, definition_page
from flows.forms.shapes import DestinationForm, SourceForm, sentence
from prefect_api.names import deleted_page_key, form_page_key, source_test_page_key
from prefect_api.run_queries import open_runs
from settings import MissingDatabaseError, Settings
from use_cases.connectors import Service
from use_cases.queries import Entry

SETTLING_SECONDS = 10.0
"""How long a form waits for the controller, so that it can show the deployment."""


@asynccontextmanager
async def _service(reason: str) -> AsyncIterator[Service]:
    settings = Settings()
    engine = open_engine(settings.resolved_database_url(), pool_size=1)
    try:
        async with open_runs() as runs:
            service = Service.of(settings, engine, runs)
            yield service.acting_for(Person(_actor(reason), EVERYTHING))
    finally:
        await engine.dispose()


def _actor(reason: str) -> Actor:
    """Whoever started the form's run, as far as Prefect knows: a server without accounts knows nobody."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    who = run.created_by.display_value if run is not None and run.created_by is not None else None
    request_id = None if run is None else str(run.id)
    return Actor(f"prefect:{who}" if who else "prefect", Via.FORM, reason.strip() or None, request_id)


async def _submit(
    use_case: Callable[[Service], Awaitable[State[Any]]],
    source: SourceForm | None = None,
    destination: DestinationForm | None = None,
    reason: str = "",
) -> State[Any]:
    """What a use case ends with, or its refusal as a failed run. A traceback would say nothing to a business user."""
    try:
        async with _service(reason) as service:
            return await use_case(service)
    except InvalidConnectorError as error:
        return Failed(message=" ".join(sentence(refusal, source, destination) for refusal in error.refusals))
    except (RequestError, MissingDatabaseError) as error:
        return Failed(message=str(error))
    except DATABASE_ERRORS as error:
        if trouble_of(error) is Trouble.LOCKED:
            return Failed(message=HELD)
        if trouble_of(error) is not Trouble.AWAY:
            return Failed(message=f"The database {told(error)} Operations must see to it.")
        return Failed(
            message="The database does not answer. See whether it was saved all the same; if not, submit it again."
        )


@flow(name="create-connector", flow_run_name="create {name}", persist_result=False)
async def create_connector(  # noqa: PLR0917  # its parameters are a form in Prefect's UI
    name: str,
    source: SourceForm,
    schedule: str = "",
    timezone: str = "UTC",
    is_active: bool = True,
    description: str = "",
    destination: DestinationForm | None = None,
    dataset_name: str = "",
    overlap: Overlap = Overlap.QUEUE,
    missed_runs: MissedRuns = MissedRuns.LATEST,
    retries: int = 3,
    timeout_seconds: float = 0,
    reason: str = "",
) -> State[Any]:
    """Create a connector: where data comes from, where it goes, and when.

    Args:
        name: What people call it, such as Lab results. No two connectors have the same name.
        source: Where the rows come from.
        schedule: When it runs, as cron: 0 2 * * * (every day at 02:00), 0 8 * * MON-FRI (Monday through Friday at
            08:00), H * * * * (every hour, at a minute of its own). Empty: only when started by hand.
        timezone: The time zone of the schedule, such as Europe/Berlin.
        is_active: Off: it is saved deactivated, and runs once it is activated.
        description: What it is for.
        destination: Where the rows go. None: the platform's own destination.
        dataset_name: The dataset (schema) that the rows land in. Empty: one of the connector's own.
        overlap: When a run is due while the last one is still going: wait for it (queue), or leave this one out (skip).
        missed_runs: When runs were due while nothing could run them: catch up with the latest, with all, or skip them.
        retries: How often a failed load is tried again.
        timeout_seconds: A run that takes longer is ended. 0: no limit.
        reason: Why: kept in its history. Some installations ask for one.
    """
    policy = {"overlap": overlap.value, "missed_runs": missed_runs.value, "retries": retries}
    values = {
        "name": name,
        "source": source.connector_json(),
        "schedule": schedule or None,
        "timezone": timezone,
        "is_active": is_active,
        "description": description or None,
        "destination": destination.connector_json() if destination is not None else None,
        "dataset_name": dataset_name or None,
        "run_policy": policy | ({"timeout_seconds": timeout_seconds} if timeout_seconds else {}),
    }

    async def create(service: Service) -> State[Any]:
        return await _shown(service, await service.create(values), "created")

    return await _submit(create, source, destination, reason)


@flow(name="update-connector", flow_run_name="update connector {connector_id}", persist_result=False)
async def update_connector(  # noqa: PLR0917  # its parameters are a form in Prefect's UI
    connector_id: int,
    name: str = "",
    source: SourceForm | None = None,
    schedule: str = "",
    timezone: str = "",
    description: str = "",
    destination: DestinationForm | None = None,
    dataset_name: str = "",
    overlap: Annotated[Overlap | Literal[""], OneOf(Overlap, "")] = "",
    missed_runs: Annotated[MissedRuns | Literal[""], OneOf(MissedRuns, "")] = "",
    retries: int | None = None,
    timeout_seconds: float | None = None,
    take_away: list[Removable] = [],  # noqa: B006  # only read
    reason: str = "",
) -> State[Any]:
    """Change a connector: only the fields that you fill in change.

    Args:
        connector_id: The connector's number.
        name: Another name.
        source: Another source, as a whole. A tab is refused where it would silently take something away.
        schedule: Another schedule, as cron: 0 2 * * * (every day at 02:00), 0 8 * * MON-FRI (Monday through Friday at
            08:00), H * * * * (every hour, at a minute of its own).
        timezone: Another time zone for the schedule.
        description: Another description.
        destination: Another destination, as a whole. The next run is a full load there.
        dataset_name: Another dataset. The next run is a full load there.
        overlap: When a run is due while the last one is still going: wait for it (queue), or leave this one out (skip).
        missed_runs: When runs were due while nothing could run them: catch up with the latest, with all, or skip them.
        retries: How often a failed load is tried again.
        timeout_seconds: A run that takes longer is ended. 0: no limit.
        take_away: What the connector is to have no more. Without a schedule it runs only when started by hand, without
            a destination its rows go to the platform's own, without a dataset name into one of the connector's own.
        reason: Why: kept in its history. Some installations ask for one.
    """
    given = {
        "name": name,
        "source": source.connector_json() if source is not None else None,
        "schedule": schedule,
        "timezone": timezone,
        "description": description,
        "destination": destination.connector_json() if destination is not None else None,
        "dataset_name": dataset_name,
    }
    policy = {"overlap": overlap, "missed_runs": missed_runs, "retries": retries, "timeout_seconds": timeout_seconds}
    columns, policy = filled_in(given), filled_in(policy)
    if (why := refusal(take_away, columns, policy)) is not None:
        return Failed(message=why)
    changes = Changes(columns | dict.fromkeys(take_away), policy, source, destination)

    async def update(service: Service) -> State[Any]:
        return await _updated(service, connector_id, changes)

    return await _submit(update, source, destination, reason)


async def _updated(service: Service, connector_id: int, changes: Changes) -> State[Any]:
    row = (await service.get(connector_id)).row
    if lacking := changes.lost(row):
        return Failed(
            message=f"This would take away what is saved: {'; '.join(lacking)}. So nothing was changed: fill that in "
            "too. What has no field goes into the tab Other (JSON), with all the rest: there alone can something "
            "be taken away."
        )
    # What somebody else changes from here on must not be overwritten with what was just read.
    return await _shown(service, await service.update(connector_id, changes.of(row), {row.version}), "changed")


@flow(name="activate-connector", flow_run_name="activate connector {connector_id}", persist_result=False)
async def activate_connector(connector_id: int, reason: str = "") -> State[Any]:
    """Activate a connector: it runs as scheduled again.

    Args:
        connector_id: The connector's number.
        reason: Why: kept in its history. Some installations ask for one.
    """

    async def activate(service: Service) -> State[Any]:
        return await _shown(service, await service.set_active(connector_id, True), "activated")

    return await _submit(activate, reason=reason)


@flow(name="deactivate-connector", flow_run_name="deactivate connector {connector_id}", persist_result=False)
async def deactivate_connector(connector_id: int, reason: str = "") -> State[Any]:
    """Deactivate a connector: nothing is scheduled until it is activated. A run in progress goes on to its end.

    Args:
        connector_id: The connector's number.
        reason: Why: kept in its history. Some installations ask for one.
    """

    async def deactivate(service: Service) -> State[Any]:
        return await _shown(service, await service.set_active(connector_id, False), "deactivated")

    return await _submit(deactivate, reason=reason)


@flow(name="delete-connector", flow_run_name="delete connector {connector_id}", persist_result=False)
async def delete_connector(connector_id: int, name: str, reason: str = "") -> State[Any]:
    """Delete a connector with its deployment. The rows that it has loaded stay where they are.

    Args:
        connector_id: The connector's number.
        name: Its name, typed again so that no other one is deleted by a slip.
        reason: Why: kept in its history. Some installations ask for one.
    """

    async def delete(service: Service) -> State[Any]:
        row = (await service.get(connector_id)).row
        if name.strip() != row.name:
            return Failed(
                message=f"Connector {connector_id} has another name than you typed, so nothing was deleted: "
                "check the number, and type its name exactly."
            )
        # Before the delete: if the process dies in between, the connector and its definition are both there.
        await acreate_markdown_artifact(
            markdown=definition_page(row),
            key=deleted_page_key(connector_id),
            description=f"Connector {connector_id}, as it was before it was deleted.",
        )
        await service.delete(connector_id, {row.version})
        return Completed(
            message=f"Connector {connector_id} was deleted; its deployment goes in a moment. Its rows stay in dataset "
            f"{dataset_of(row)}. The artifact {deleted_page_key(connector_id)} says how to have it back."
        )

    return await _submit(delete, reason=reason)


@flow(name="test-connector", flow_run_name="test connector {connector_id}", persist_result=False)
async def test_connector(connector_id: int) -> State[Any]:
    """Reach a connector's source, and show what a run would find there. Nothing is loaded.

    Args:
        connector_id: The connector's number.
    """
    from pipelines.source_test import probe_connector  # noqa: PLC0415  # only this form needs what reads sources

    async def test(service: Service) -> State[Any]:
        entry = await service.to_test(connector_id)
        found = await asyncio.to_thread(probe_connector, entry.row, Settings())
        if not found.ok:
            return Failed(message=found.message)
        # Columns and no values: patients' data has no place in Prefect's database.
        lines = [f"# {entry.row.name}", "", found.message, "", "| table | columns |", "|---|---|"]
        lines += [f"| {sample.table} | {', '.join(sample.columns)} |" for sample in found.samples]
        await acreate_markdown_artifact(
            markdown="\n".join(lines),
            key=source_test_page_key(connector_id),
            description=f"Connector {connector_id}, its source.",
        )
        return Completed(message=found.message)

    return await _submit(test)


@flow(name="decide-connector", flow_run_name="decide connector {connector_id}", persist_result=False)
async def decide_connector(connector_id: int, decision: Answer, table: str = "", reason: str = "") -> State[Any]:
    """Decide what waits for a person: let a load whose checks failed through, or refuse it.

    Args:
        connector_id: The connector's number.
        decision: Approve lets the load land, once, though its checks failed. Refuse keeps it out.
        table: The table whose checks failed. Empty: all that wait.
        reason: Why: kept in its history. Some installations ask for one.
    """

    async def decide(service: Service) -> State[Any]:
        waiting = [
            held
            for held in await service.held_loads(connector_id)
            if held.table_name == table.strip() or (not table.strip() and held.state is Decision.WAITING)
        ]
        wanted = decision.decision
        changes = [
            each
            for each in await service.schema_changes(connector_id)
            if each.state is Decision.WAITING and table.strip() in {"", each.table_name}
        ]
        for each in changes:
            await service.decide_change(connector_id, each.id, wanted)
        if changes and not waiting:
            columns = ", ".join(each.column_name for each in changes)
            return Completed(message=f"Changes at the source of connector {connector_id} were {wanted}: {columns}.")
        if not waiting:
            where = f" in table {table.strip()}" if table.strip() else ""
            return Failed(message=f"Nothing of connector {connector_id} waits for a person{where}.")
        started = [(await service.decide_load(connector_id, held.id, wanted))[1] for held in waiting]
        tables = ", ".join(held.table_name for held in waiting)
        if wanted is Decision.REFUSED:
            return Completed(message=f"The load of connector {connector_id} was refused for {tables}.")
        soon = "A run of it has been started." if any(started) else "The connector's next run loads it."
        return Completed(message=f"The load of connector {connector_id} was let through for {tables}. {soon}")

    return await _submit(decide, reason=reason)


async def _shown(service: Service, entry: Entry, done: str) -> State[Any]:
    """The run's end, with the connector as an artifact."""
    entry = await _settled(service, entry)
    row, number = entry.row, entry.row.prefect_deployment_id
    deployment = None if number is None else url_for("deployment", obj_id=number)
    await acreate_markdown_artifact(
        markdown=connector_page(row, entry.status, deployment, datetime.now(UTC)),
        # Its page in the fleet, `connector-{id}`, is the controller's own.
        key=form_page_key(entry.row.id),
        description=f"Connector {entry.row.id}, {done}.",
    )
    return Completed(message=f"Connector {entry.row.id} was {done}.")


async def _settled(service: Service, entry: Entry) -> Entry:
    """The connector once the controller has seen it, which takes it under a second; as it is when it takes longer."""
    deadline = asyncio.get_running_loop().time() + SETTLING_SECONDS
    while entry.status is None or entry.status.observed_generation != entry.row.generation:
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(0.25)
        entry = await service.get(entry.row.id)
    return entry
