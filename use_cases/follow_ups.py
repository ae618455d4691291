"""Use case of follow-ups: what may not follow a connector is refused as it is saved."""

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from connectors.connector import ConnectorRow, InvalidConnectorError
from connectors.follow_ups import Leader, refused_follow_ups
from database.control import follow_ups


async def refuse_follow_ups(connection: AsyncConnection, row: ConnectorRow, allowed: Sequence[str]) -> None:
    """Return when all that is to follow a connector may, as it stands in this transaction.

    Two that are saved in the same moment don't see each other: the controller looks again before it starts anything.

    Args:
        connection: the transaction that saves the connector.
        row: the connector.
        allowed: patterns of deployments that may be started.

    Raises:
        InvalidConnectorError: with each follow-up that may not.
    """
    said = row.run_policy.get("then") if isinstance(row.run_policy, Mapping) else None
    if not said:
        return
    own = Leader.of(row.id, row.name, row.team, said)
    others = [each for each in await follow_ups.leaders(connection) if each.connector_id != row.id]
    known = await follow_ups.may_follow(connection, row.team)
    if refusals := refused_follow_ups(own, others, known, allowed):
        raise InvalidConnectorError(tuple(refusals))
