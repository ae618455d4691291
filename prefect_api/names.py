"""Names of ours in Prefect: flows, deployments, tags, artifacts, variables, events, resources and labels. Pure.

They are public: people filter by them and automations stand on them (docs/events.md). Controller and runs speak of the
same connector by the same resource, so an automation or a person finds all of it under one id.
"""

import re
from enum import StrEnum

from connectors.limits.ids import parse_number

FLOW_NAME = "run_connector_pipeline"
ENTRYPOINT = "flows/dlt_pipeline_flow.py:run_connector_pipeline"
SCHEDULE_SLUG = "main"

CONTROLLER_FLOW = "connector-controller"
CONTROLLER_DEPLOYMENT = "controller"
CONTROLLER_QUEUE = "controller"
CONTROLLER_ENTRYPOINT = "flows/controller.py:connector_controller"

WARM_POOL_TYPE = "clinical-ai-warm"
"""The type of work pools whose workers fork runs from a process that has imported everything (`workers/`)."""

PROBE_FLOW = "probe-source"
PROBE_DEPLOYMENT = "probe"
PROBE_ENTRYPOINT = "flows/probe.py:probe_source"
PARTS_FLOW = "load-parts"
PARTS_ENTRYPOINT = "flows/parts.py:load_parts"

FORM_DEPLOYMENT = "form"
FORMS = ("create", "update", "activate", "deactivate", "delete", "test", "decide")

ALL_OF_OURS = "connector-"
"""What the names of our deployments, and the keys of our artifacts, begin with."""

MANAGED_BY = "managed-by:"

_DEPLOYMENT = re.compile(r"connector-(-?[0-9]{1,19})-pipeline")


def deployment_name(connector_id: int) -> str:
    """The one name that a connector's deployment has: it is the lock against making two."""
    return f"connector-{connector_id}-pipeline"


def connector_id_of(name: str) -> int | None:
    """The connector that a deployment's name speaks of; None when it is no name of ours.

    A row may have been numbered below 1: a name of that is seen, so that its deployment can be removed.
    """
    match = _DEPLOYMENT.fullmatch(name)
    return None if match is None else parse_number(match[1])


def probe_deployment(work_pool: str | None) -> str:
    """The deployment that looks at sources from a work pool; None: the platform's own, which bootstrap makes."""
    return PROBE_DEPLOYMENT if work_pool is None else f"{PROBE_DEPLOYMENT}-{work_pool}"


def form_entrypoint(what: str) -> str:
    """The entrypoint of one of `FORMS`."""
    return f"flows/connector_forms.py:{what}_connector"


def managed_by(instance: str) -> str:
    """The tag that says whose a deployment is."""
    return f"{MANAGED_BY}{instance}"


def connector_tag(connector_id: int) -> str:
    """The tag of a connector's deployment and runs."""
    return f"connector-{connector_id}"


def owner_variable(instance: str) -> str:
    """The Prefect Variable that says whose database an instance's deployments belong to."""
    return f"cai_instance_{instance}"


FLEET_KEY = "connector-fleet"
"""The key of the artifact about all connectors."""


def page_key(connector_id: int) -> str:
    """The key of the artifact about one connector."""
    return f"connector-{connector_id}"


def form_page_key(connector_id: int) -> str:
    """The key of what a form shows of a connector; `page_key` is the controller's own."""
    return f"{page_key(connector_id)}-form"


def source_test_page_key(connector_id: int) -> str:
    """The key of what a test of a connector's source has found."""
    return f"{page_key(connector_id)}-test"


def deleted_page_key(connector_id: int) -> str:
    """The key of a connector's definition as it was before it was deleted."""
    return f"{page_key(connector_id)}-deleted"


def load_page_key(connector_id: int) -> str:
    """The key of the summaries of a connector's loads."""
    return f"{page_key(connector_id)}-load"


def is_fleet_page(key: str) -> bool:
    """Whether an artifact's key is one that the controller writes: the fleet's, or a connector's page."""
    return key == FLEET_KEY or re.fullmatch(r"connector--?\d+", key) is not None


class ControllerEvent(StrEnum):
    """Events about an instance's controller."""

    STARTED = "controller.started"
    HEARTBEAT = "controller.heartbeat"
    DEGRADED = "controller.degraded"
    RECOVERED = "controller.recovered"
    HANDED_OVER = "controller.handed-over"


class DeploymentEvent(StrEnum):
    """Events about a connector's deployment."""

    CREATED = "connector.deployment.created"
    UPDATED = "connector.deployment.updated"
    PAUSED = "connector.deployment.paused"
    RESUMED = "connector.deployment.resumed"
    DELETED = "connector.deployment.deleted"
    ADOPTED = "connector.deployment.adopted"
    REJECTED = "connector.deployment.rejected"
    """A row has become invalid, or was changed and still is."""
    FAILED = "connector.deployment.failed"


class LoadEvent(StrEnum):
    """Events about the end of a connector's run."""

    COMPLETED = "connector.load.completed"
    FAILED = "connector.load.failed"
    SKIPPED = "connector.load.skipped"
    WITHHELD = "connector.load.withheld"
    """More rows are gone at the source than may be deleted unasked."""
    CHANGED = "connector.load.changed"
    """Columns of the source are not what they were, which nobody has heard of."""
    HELD = "connector.load.held"
    """Checks failed, and a person may let the load through."""


class FreshnessEvent(StrEnum):
    """Events about a connector's freshness."""

    LATE = "connector.freshness.late"
    OVERDUE = "connector.freshness.overdue"
    RECOVERED = "connector.freshness.recovered"


class FollowUpEvent(StrEnum):
    """Events about what follows a connector's loads."""

    FAILING = "connector.follow-up.failing"
    """It was not taken, and is tried again."""
    FAILED = "connector.follow-up.failed"
    """It did not start, or was not taken, and is not tried any more."""


ALERT = "cai.alert"
"""The label by which automations notify people: once when something begins, once when it is over."""


STARTED_BY = "cai.started-by"
"""The label of a run that says who started it, where somebody did by our API or forms."""


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


def controller_resource_id(instance: str) -> str:
    """The id by which events speak of an instance's controller."""
    return f"cai.controller.{instance}"


def controller_resource(instance: str) -> dict[str, str]:
    """The resource of an event about an instance's controller."""
    return {
        "prefect.resource.id": controller_resource_id(instance),
        "prefect.resource.name": f"controller of {instance}",
    }


def silence_automation(instance: str) -> str:
    """The name of the automation that starts another controller when this one gives no sign."""
    return f"{instance}: controller silent"


def dead_run_automation(instance: str) -> str:
    """The name of the automation that marks runs as crashed whose process gives no sign."""
    return f"{instance}: dead run"


def notification_automation(instance: str, what: str) -> str:
    """The name of an automation that notifies people of something."""
    return f"{instance}: tell {what}"


CONTROLLER_SILENT = "controller silent"
"""What people are notified of when a controller gives no sign."""
