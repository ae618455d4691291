"""The demo of `make run`: one connector on real clinical data, made the way a back end makes one, with an INSERT.

The row is made once. What a user then does with it stays: an edited row is left alone, a deleted one does not come
back (`demo.json` in CAI_DATA_DIR remembers that it was made).
"""

import asyncio
import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import duckdb
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect_sqlalchemy import SqlAlchemyConnector  # type: ignore[import-untyped]

from local.clinic import TABLES, fill
from local.terminal import say
from settings import Settings

NAME = "Eunomia clinic (demo)"
_BLOCK = "clinic"
_SCHEDULE = "0 * * * *"
_DESCRIPTION = (
    "Persons, visits, conditions, drugs, measurements and procedures of the Eunomia sample (OMOP): real-shaped data."
)
_SYNC_SECONDS = 120.0
_RUN_SECONDS = 600.0
_POLL_SECONDS = 0.5


class DemoError(RuntimeError):
    """The demo did not come to its end; the message says what to look at."""


def source() -> dict[str, Any]:
    """The connector's `source`: the clinic's six tables, its password by reference."""
    return {
        "type": "sql_database",
        "credentials": {"block": f"sqlalchemy-connector/{_BLOCK}"},
        "tables": [{"name": table, "primary_key": list(key)} for table, key in TABLES.items()],
    }


async def insert_once(connection: asyncpg.Connection, made: Path) -> int | None:
    """Makes the demo's connector unless this database had it before.

    Args:
        connection: the platform's database.
        made: file that remembers the connector's id. If the process dies between the two writes, the row's name keeps
            the next start from making a second one.

    Returns its id, or None when a user has deleted it.
    """
    database = str(await connection.fetchval("SELECT id FROM cai_database"))
    memory = _remembered(made)
    if database not in memory:
        await connection.execute(
            "INSERT INTO cai_connectors (name, description, schedule, source) VALUES ($1, $2, $3, $4::jsonb) "
            "ON CONFLICT (name) DO NOTHING",
            NAME,
            _DESCRIPTION,
            _SCHEDULE,
            json.dumps(source()),
        )
        memory[database] = await connection.fetchval("SELECT id FROM cai_connectors WHERE name = $1", NAME)
        _remember(made, memory)
    found: int | None = await connection.fetchval("SELECT id FROM cai_connectors WHERE id = $1", memory[database])
    return found


def _remembered(made: Path) -> dict[str, int]:
    """The demo's connector by the UUID of the database that it was made in."""
    memory: dict[str, int] = json.loads(made.read_text()) if made.exists() else {}
    return memory


def _remember(made: Path, memory: dict[str, int]) -> None:
    made.write_text(json.dumps(memory))


def landed(warehouse: Path, dataset: str) -> dict[str, int]:
    """Rows of each table that a connector landed in a DuckDB file; empty when nothing is there yet.

    Raises:
        duckdb.IOException: while a run writes to the file, which takes one process at a time.
    """
    if not warehouse.exists():
        return {}
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = ? "
            "AND NOT starts_with(table_name, '_dlt') ORDER BY table_name",
            [dataset],
        ).fetchall()
        counts = {}
        for (table,) in tables:
            query = f'SELECT count(*) FROM "{dataset}"."{table}"'  # noqa: S608 - names that the file itself gave
            row = connection.execute(query).fetchone()
            counts[str(table)] = int(row[0]) if row else 0
        return counts


async def _landed_when_free(warehouse: Path, dataset: str) -> dict[str, int]:
    """As `landed`, after the run that is writing just now."""
    deadline = time.monotonic() + _RUN_SECONDS
    while True:
        try:
            return landed(warehouse, dataset)
        except duckdb.IOException:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_POLL_SECONDS)


async def _deployment(connection: asyncpg.Connection, connector_id: int) -> tuple[UUID | None, bool]:
    """The connector's deployment, once the controller has seen to it, and whether it may run; none for a paused one
    that was never active.

    Raises:
        DemoError: the controller refuses the row, or does not come to it.
    """
    deadline = time.monotonic() + _SYNC_SECONDS
    while True:
        status = await connection.fetchrow(
            "SELECT phase, message, deployment_id FROM cai_connector_status WHERE connector_id = $1", connector_id
        )
        if status is not None and status["phase"] in ("synced", "paused"):
            return status["deployment_id"], status["phase"] == "synced"
        if status is not None and status["phase"] in ("invalid", "conflict"):
            raise DemoError(f"The demo's connector is {status['phase']}: {status['message']}")
        if time.monotonic() > deadline:
            raise DemoError(
                f"The controller has made no deployment for connector {connector_id} in {_SYNC_SECONDS:.0f} s: "
                "logs/controller.log in CAI_DATA_DIR says why."
            )
        await asyncio.sleep(_POLL_SECONDS)


async def _run(client: PrefectClient, deployment: UUID, ui: str) -> None:
    """Starts one run and waits for its end.

    Raises:
        DemoError: it ended otherwise than completed.
    """
    run = await client.create_flow_run_from_deployment(deployment)
    say(f"First load:  {ui}/runs/flow-run/{run.id}")
    deadline = time.monotonic() + _RUN_SECONDS
    while run.state is None or not run.state.is_final():
        if time.monotonic() > deadline:
            raise DemoError(f"The run has not ended after {_RUN_SECONDS:.0f} s: {ui}/runs/flow-run/{run.id}")
        await asyncio.sleep(_POLL_SECONDS)
        run = await client.read_flow_run(run.id)
    if not run.state.is_completed():
        raise DemoError(f"The run ended as {run.state.name}: {run.state.message}. See {ui}/runs/flow-run/{run.id}")
    why = "" if run.state.name == "Completed" else f": {run.state.message}"
    say(f"{run.state.name} after {run.total_run_time.total_seconds():.1f} s{why}")


async def _next_run(client: PrefectClient, deployment: UUID) -> datetime | None:
    """When the deployment runs next; None when nothing is scheduled."""
    runs = await client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=1,
    )
    return runs[0].next_scheduled_start_time or runs[0].expected_start_time if runs else None


def _report(counts: dict[str, int], warehouse: Path, dataset: str) -> None:
    width = max(len(table) for table in counts)
    say(f"Landed in {warehouse}, schema {dataset}:")
    for table, rows in counts.items():
        say(f"    {table:<{width}}  {rows:>9,}")
    say(f"    {'':<{width}}  {sum(counts.values()):>9,} rows")


async def demo(settings: Settings, clinic_url: str, ui: str) -> None:
    """Puts the clinic there, makes its connector, waits for its first load and prints what landed.

    Args:
        settings: of this installation.
        clinic_url: ``postgresql://`` URL of the clinic's database.
        ui: address of Prefect's UI, for the links.

    Raises:
        DemoError: no deployment came, or the run failed.
    """
    if rows := fill(clinic_url):
        say(f"The demo's clinic has {rows:,} rows in {len(TABLES)} tables.")
    # At each start: the clinic's port may be another one.
    await SqlAlchemyConnector(connection_info=clinic_url).save(_BLOCK, overwrite=True)
    connection = await asyncpg.connect(settings.resolved_database_url())
    try:
        connector_id = await insert_once(connection, settings.data_dir / "demo.json")
        if connector_id is None:
            say("The demo's connector was deleted and stays so; removing demo.json from CAI_DATA_DIR brings it back.")
            return
        deployment, runs = await _deployment(connection, connector_id)
        row = await connection.fetchrow(
            "SELECT dataset_name, destination FROM cai_connectors WHERE id = $1", connector_id
        )
    finally:
        await connection.close()
    dataset = row["dataset_name"] or f"connector_{connector_id}"
    destination = json.loads(row["destination"]) if row["destination"] else settings.destination
    warehouse = Path(destination["path"]) if destination["type"] == "duckdb" else None
    async with get_client() as client:
        counts = await _landed_when_free(warehouse, dataset) if warehouse else {}
        if not counts and runs and deployment is not None:
            await _run(client, deployment, ui)
            counts = await _landed_when_free(warehouse, dataset) if warehouse else {}
        if warehouse and counts:
            _report(counts, warehouse, dataset)
        if deployment is not None:
            say(f"Deployment:  {ui}/deployments/deployment/{deployment}")
        due = await _next_run(client, deployment) if deployment is not None and runs else None
        if due is not None:
            say(f"Next run:    {due.astimezone():%Y-%m-%d %H:%M %Z}")
    if not runs:
        say(f"Next run:    none, connector {connector_id} is paused: is_active = true in cai_connectors resumes it")


def main() -> None:
    """Entry point: takes its addresses from the environment, as `make run` sets it."""
    ui = os.environ["PREFECT_API_URL"].removesuffix("/api")
    try:
        asyncio.run(demo(Settings(), os.environ["CAI_CLINIC_DATABASE_URL"], ui))
    except DemoError as error:
        say(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
