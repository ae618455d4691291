"""The routes of decisions: list what waits for a person, let it through, or refuse it."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BeforeValidator

from api.bodies import plain_digits
from api.decisions.bodies import (
    ApprovedLoadAnswer,
    HeldLoadAnswer,
    HeldLoadsAnswer,
    SchemaChangeAnswer,
    SchemaChangesAnswer,
)
from api.routes import SIGNED_IN, Changing, ConnectorId, Connectors, needs, problems
from connectors.limits.ids import LARGEST_ID
from connectors.loads import Decision
from connectors.people import Act

router = APIRouter(prefix="/api/v1/connectors/{connectorId}", dependencies=[SIGNED_IN], tags=["decisions"])
_REFUSALS = problems(401, 403, 404, 422, 500, 503)

HeldId = Annotated[
    int,
    Path(alias="heldId", ge=1, le=LARGEST_ID, description="The held load's number, in plain digits."),
    BeforeValidator(plain_digits),
]


@router.get("/held-loads", dependencies=[needs(Act.READ)], responses=_REFUSALS)
async def list_held_loads(connector_id: ConnectorId, service: Connectors) -> HeldLoadsAnswer:
    """List the tables whose checks failed, so that the connector's load waits for a person (`on_failure` is `hold`)."""
    return HeldLoadsAnswer(items=[HeldLoadAnswer.of(held) for held in await service.held_loads(connector_id)])


@router.post("/held-loads/{heldId}/approve", dependencies=[needs(Act.CHANGE)], responses=_REFUSALS)
async def approve_held_load(connector_id: ConnectorId, held_id: HeldId, service: Changing) -> ApprovedLoadAnswer:
    """Let a held load through, once, and start a run that loads it.

    The run reads the source again. The checks that have failed are let through, whatever their numbers are by then;
    what fails another check waits anew.
    """
    return ApprovedLoadAnswer.of_run(*await service.decide_load(connector_id, held_id, Decision.APPROVED))


@router.post("/held-loads/{heldId}/refuse", dependencies=[needs(Act.CHANGE)], responses=_REFUSALS)
async def refuse_held_load(connector_id: ConnectorId, held_id: HeldId, service: Changing) -> HeldLoadAnswer:
    """Refuse a held load: each run goes on to fail until the source passes its checks. It can be let through later."""
    held, _ = await service.decide_load(connector_id, held_id, Decision.REFUSED)
    return HeldLoadAnswer.of(held)


ChangeId = Annotated[
    int,
    Path(alias="changeId", ge=1, le=LARGEST_ID, description="The change's number, in plain digits."),
    BeforeValidator(plain_digits),
]


@router.get("/schema-changes", dependencies=[needs(Act.READ)], responses=_REFUSALS)
async def list_schema_changes(connector_id: ConnectorId, service: Connectors) -> SchemaChangesAnswer:
    """List what has changed at the connector's source: columns that are new, gone, retyped, emptied or renamed."""
    return SchemaChangesAnswer(
        items=[SchemaChangeAnswer.of(each) for each in await service.schema_changes(connector_id)]
    )


@router.post("/schema-changes/{changeId}/approve", dependencies=[needs(Act.CHANGE)], responses=_REFUSALS)
async def approve_schema_change(
    connector_id: ConnectorId, change_id: ChangeId, service: Changing
) -> SchemaChangeAnswer:
    """Approve a change: the next run lands the column, and reads a table that merges anew, so that old rows have it.

    A table that appends, and files that were read, get it in old rows by a full refresh, which the run says.
    """
    return SchemaChangeAnswer.of(await service.decide_change(connector_id, change_id, Decision.APPROVED))


@router.post("/schema-changes/{changeId}/refuse", dependencies=[needs(Act.CHANGE)], responses=_REFUSALS)
async def refuse_schema_change(connector_id: ConnectorId, change_id: ChangeId, service: Changing) -> SchemaChangeAnswer:
    """Refuse a change: nothing of it lands, and nobody is asked again. It can be approved later."""
    return SchemaChangeAnswer.of(await service.decide_change(connector_id, change_id, Decision.REFUSED))
