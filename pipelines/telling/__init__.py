"""Telling others of loads: what the controller sends for connectors, and by which way (`cai_follow_ups`)."""

from collections.abc import Mapping

from database.control.outbox import Carry, Kind, Outgoing
from settings import Settings


def carriers_of(settings: Settings) -> Mapping[Kind, Carry]:
    """Who delivers what. Each is imported when there is something for it: most controllers send nothing."""

    def post(item: Outgoing) -> None:
        from pipelines.telling import webhooks  # noqa: PLC0415

        webhooks.post(item, settings)

    def send(item: Outgoing) -> None:
        from pipelines.telling import notices  # noqa: PLC0415

        notices.send(item, settings)

    def trace(item: Outgoing) -> None:
        from pipelines.telling import lineage  # noqa: PLC0415

        lineage.post(item, settings)

    lineages = {} if settings.openlineage_url is None else {Kind.LINEAGE: trace}
    return {Kind.WEBHOOK: post, Kind.NOTICE: send, **lineages}
