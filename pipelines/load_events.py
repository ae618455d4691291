"""Telling Prefect how a load ended, as an event on its run, its deployment and its connector.

By Prefect's own client of events, which a run uses anyway and which relates them to run, flow and deployment. Names
and labels are in docs/events.md.
"""

import logging

from prefect.events import emit_event

from pipelines.load_history import Tell, Told
from prefect_api.names import ALERT, Alert, connector_resource

logger = logging.getLogger("prefect.pipelines")


def teller(instance: str, alert_after_failures: int) -> Tell:
    """A way to tell Prefect. A failure that is one too many, and the success after it, carry a label for automations.

    Args:
        instance: this installation's name.
        alert_after_failures: how many failures in a row people are told of.
    """

    def tell(told: Told) -> None:
        resource = connector_resource(instance, told.connector_id, told.connector_name)
        if told.outcome == "failed" and told.failures == alert_after_failures:
            resource[ALERT] = Alert.BEGIN
        if told.outcome == "completed" and told.failures >= alert_after_failures:
            resource[ALERT] = Alert.END
        payload = {"message": told.message, "rows": told.rows, "kind": told.kind, "failures": told.failures}
        try:
            emit_event(f"connector.load.{told.outcome}", resource=resource, payload=payload | {"seconds": told.seconds})
        except Exception as error:  # whatever Prefect raises, the load is done
            logger.warning("How this load ended could not be told: %s.", type(error).__name__)

    return tell
