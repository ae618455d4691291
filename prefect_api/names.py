"""The words of our events: names, resources and labels, as docs/events.md lists them. Pure.

Controller and runs speak of the same connector by the same resource, so an automation or a person finds all of it
under one id.
"""

from enum import StrEnum

ALERT = "cai.alert"
"""The label by which automations tell people: once when something begins, once when it is over."""


class Alert(StrEnum):
    """The values of the label `cai.alert`."""

    BEGIN = "begin"
    END = "end"


def connector_resource_id(instance: str, connector_id: int | str) -> str:
    """The id by which events speak of a connector; `*` for any."""
    return f"cai.connector.{instance}.{connector_id}"


def connector_resource(instance: str, connector_id: int, name: str | None) -> dict[str, str]:
    """The resource of an event about a connector."""
    return {
        "prefect.resource.id": connector_resource_id(instance, connector_id),
        "prefect.resource.name": name or f"connector {connector_id}",
        "cai.connector-id": str(connector_id),
    }


def controller_resource(instance: str) -> dict[str, str]:
    """The resource of an event about this instance's controller."""
    return {"prefect.resource.id": f"cai.controller.{instance}", "prefect.resource.name": f"controller of {instance}"}
