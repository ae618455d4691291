"""Automations in Prefect: those that the control plane lives by, and those that notify people. Descriptions alone."""

from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events import AutomationCore, EventTrigger, Posture, ResourceSpecification
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification

from deployments.monitoring import heartbeat
from deployments.planning.spec import HEARTBEAT_SECONDS
from prefect_api.names import (
    ALERT,
    CONTROLLER_FLOW,
    CONTROLLER_SILENT,
    FLOW_NAME,
    Alert,
    ControllerEvent,
    DeploymentEvent,
    FollowUpEvent,
    FreshnessEvent,
    LoadEvent,
    connector_resource_id,
    controller_resource_id,
    dead_run_automation,
    notification_automation,
    silence_automation,
)
from settings import Settings

MISSED_HEARTBEATS = 3
ENDED = ("Completed", "Failed", "Cancelled", "Crashed", "AwaitingRetry", "Paused", "Suspended")


def automations(settings: Settings, controller_deployment: UUID) -> list[AutomationCore]:
    """The automations that the control plane lives by. Their names are how they are found again."""
    instance = settings.instance
    silent_after = heartbeat.SILENT_AFTER_BEATS * settings.heartbeat_seconds
    return [
        AutomationCore(
            name=silence_automation(instance),
            description=(
                f"No sign of a moving controller for {silent_after:.0f} s (crashed, cancelled, hung, "
                "or never started): starts one, which leaves again when another leads."
            ),
            trigger=EventTrigger(
                expect={ControllerEvent.HEARTBEAT},
                match=ResourceSpecification({"prefect.resource.id": controller_resource_id(instance)}),
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(seconds=silent_after),
            ),
            actions=[
                RunDeployment(source="selected", deployment_id=controller_deployment, parameters={"when_led": "leave"})
            ],
        ),
        AutomationCore(
            name=dead_run_automation(instance),
            description=f"A run whose process gave no sign for {MISSED_HEARTBEATS} heartbeats is marked Crashed.",
            trigger=EventTrigger(
                # Running too: a run that dies before its first heartbeat would never be missed.
                after={"prefect.flow-run.Running", "prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in ENDED)},
                match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
                match_related=ResourceSpecification(
                    {"prefect.resource.role": "flow", "prefect.resource.name": [FLOW_NAME, CONTROLLER_FLOW]}
                ),
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(seconds=MISSED_HEARTBEATS * HEARTBEAT_SECONDS),
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED, message="The run's process gave no sign any more and was given up."
                )
            ],
        ),
    ]


def notifications(settings: Settings, block: UUID | None) -> list[AutomationCore]:
    """The automations that notify people, each once when something begins, and where it ends by itself once then.

    Their names and texts are what people see in Prefect's UI; `tell` in them is part of the name.
    """
    return [
        *(_notification(settings, block, each) for each in _of_connectors(settings)),
        *(_notification(settings, block, each) for each in _of_controller(settings)),
    ]


Described = tuple[str, str, EventTrigger, str]
"""What people are notified of, the automation's description, what triggers it, and the message's text."""

_SAID = "{{ event.resource['prefect.resource.name'] }}: {{ event.payload['message'] }}"


def _notification(settings: Settings, block: UUID | None, described: Described) -> AutomationCore:
    instance = settings.instance
    name, why, trigger, body = described
    action = SendNotification(block_document_id=block or UUID(int=0), subject=f"[{instance}] {name}", body=body)
    name = notification_automation(instance, name)
    return AutomationCore(name=name, description=why, trigger=trigger, actions=[action])


def _once(event: str, resource: str, alert: Alert | None) -> EventTrigger:
    labels = {"prefect.resource.id": resource} | ({} if alert is None else {ALERT: alert.value})
    return EventTrigger(
        expect={str(event)},
        match=ResourceSpecification(labels),
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(seconds=0),
    )


def _of_connectors(settings: Settings) -> list[Described]:
    connectors = connector_resource_id(settings.instance, "*")
    return [
        (
            "connector failing",
            f"A connector's loads have failed {settings.alert_after_failures} times in a row: told once.",
            _once(LoadEvent.FAILED, connectors, Alert.BEGIN),
            _SAID,
        ),
        (
            "connector recovered",
            "A connector that was failing has loaded again: told once.",
            _once(LoadEvent.COMPLETED, connectors, Alert.END),
            _SAID,
        ),
        (
            "connector deletes withheld",
            "More rows are gone at a connector's source than may be deleted unasked: told once.",
            _once(LoadEvent.WITHHELD, connectors, None),
            _SAID,
        ),
        (
            "connector source changed",
            "Columns of a connector's source are new, gone, retyped, emptied or renamed: told once.",
            _once(LoadEvent.CHANGED, connectors, None),
            _SAID,
        ),
        (
            "connector load held",
            "Checks of a connector's rows failed, and its load waits for a person: told once.",
            _once(LoadEvent.HELD, connectors, None),
            _SAID,
        ),
        (
            "connector follow-up failed",
            "Something that should follow a connector's load did not start, or was not taken for a day: told once.",
            _once(FollowUpEvent.FAILED, connectors, None),
            "{{ event.resource['prefect.resource.name'] }}, {{ event.payload['follower'] }}: "
            "{{ event.payload['message'] }}",
        ),
        (
            "connector invalid",
            "A connector's row asks for what cannot be had: told once, and again when it was changed and still does.",
            _once(DeploymentEvent.REJECTED, connectors, None),
            _SAID,
        ),
        (
            "connector overdue",
            "A connector has not loaded for more than twice its interval, or has never loaded: told once.",
            _once(FreshnessEvent.OVERDUE, connectors, Alert.BEGIN),
            _SAID,
        ),
        (
            "connector on time",
            "A connector that was overdue has loaded again, or need not any more: told once.",
            _once(FreshnessEvent.RECOVERED, connectors, Alert.END),
            _SAID,
        ),
    ]


def _of_controller(settings: Settings) -> list[Described]:
    controller = controller_resource_id(settings.instance)
    silent_after = timedelta(seconds=heartbeat.SILENT_AFTER_BEATS * settings.heartbeat_seconds)
    # After one heartbeat the next is expected: so this fires once, and not again and again.
    silent = EventTrigger(
        after={str(ControllerEvent.HEARTBEAT)},
        expect={str(ControllerEvent.HEARTBEAT)},
        match=ResourceSpecification({"prefect.resource.id": controller}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=silent_after,
    )
    return [
        (
            "controller back",
            "A controller whose silence was told gives signs again: told once.",
            _once(ControllerEvent.RECOVERED, controller, Alert.END),
            "{{ event.payload['message'] }}",
        ),
        (
            CONTROLLER_SILENT,
            f"The controller has given no sign for {silent_after.seconds} s: told once.",
            silent,
            f"The controller has given no sign for {silent_after.seconds} s: changes of connectors wait.",
        ),
    ]
