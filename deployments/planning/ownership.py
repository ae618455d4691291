"""Ownership of a deployment with one of our names: ours, adoptable, another installation's, or unknown. Pure."""

from collections.abc import Iterable
from enum import StrEnum
from uuid import UUID

from connectors.status import Phase, Reason, Status
from prefect_api.deployment import Observed
from prefect_api.names import MANAGED_BY


class Ownership(StrEnum):
    """Whose a deployment of one of our names is."""

    OURS = "ours"
    ADOPTABLE = "adoptable"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


def ownership(held: Observed, connector_id: int, recorded: Iterable[UUID | None], tag: str) -> Ownership:
    """Whose `held` is. `recorded` are the ids that the row and its status hold.

    Another installation's tag makes it foreign, ours or a recorded id makes it ours; the parameter alone says that an
    older back end made it for this connector.
    """
    managers = _managers(held)
    if managers - {tag}:
        return Ownership.FOREIGN
    if tag in managers or held.id in recorded:
        return Ownership.OURS
    if held.fields.parameters.get("connector_id") == connector_id:
        return Ownership.ADOPTABLE
    return Ownership.UNKNOWN


def _managers(held: Observed) -> set[str]:
    return {own for own in held.fields.tags if own.startswith(MANAGED_BY)}


def conflict(connector_id: int, generation: int, held: Observed, whose: Ownership, tag: str) -> Status:
    """The status of a connector whose deployment is somebody else's."""
    if whose is Ownership.FOREIGN:
        others = sorted(own.removeprefix(MANAGED_BY) for own in _managers(held) - {tag})
        reason, rest = (
            Reason.FOREIGN_DEPLOYMENT,
            f"belongs to the installation {' and '.join(map(repr, others))} on the same Prefect server. It is left "
            "alone. Operations: give one of the two a Prefect server of its own.",
        )
    else:
        reason, rest = (
            Reason.UNKNOWN_DEPLOYMENT,
            "was made by somebody else and runs something else. It is left alone. Operations: delete it in the Prefect "
            "UI if nobody needs it; the connector is then brought in line by itself.",
        )
    message = f"Prefect already holds a deployment named {held.name} that {rest}"
    return Status(connector_id, Phase.CONFLICT, reason, message, observed_generation=generation)
