"""Recovery of a silent controller: sends `controller.recovered` once Prefect has notified people of its silence.

Asked of Prefect, whose automation has notified them, and not guessed from a clock of ours: a controller that was
killed, one that hung, and one that moved all along while Prefect could not hear it end the same way, and none is ended
of which nobody was notified. Two small questions every few minutes, whatever the number of connectors.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect_api.calls import CallKind, PrefectCalls, whole
from prefect_api.event_feed import Events
from prefect_api.names import (
    ALERT,
    CONTROLLER_SILENT,
    Alert,
    ControllerEvent,
    controller_resource_id,
    notification_automation,
    silence_automation,
)

LOOK_BACK = timedelta(days=7)
"""Prefect keeps events that long by default."""


class SilenceRecovery:
    """The silence of one instance's controller, as Prefect has seen it."""

    def __init__(self, prefect: PrefectCalls, events: Events) -> None:
        self._prefect = prefect
        self._events = events
        self._ended: str | None = None

    async def end(self, now: datetime) -> None:
        """Send that the controller is back, if people were notified of its silence and it has been heard since.

        May raise what `prefect_api.errors` draws. Should the process die before the event is sent, the next look, or
        the next controller's, sends it; its id is made of the silence's, so it is one event however often it is sent.
        """
        instance = self._events.instance
        names = [notification_automation(instance, CONTROLLER_SILENT), silence_automation(instance)]
        found = await self._ask("/automations/filter", {"automations": {"name": {"any_": names}}})
        with whole():
            automations = {row["name"]: f"prefect.automation.{row['id']}" for row in found}
        automation = next((automations[name] for name in names if name in automations), None)
        if automation is None:
            return
        triggered = await self._last("prefect.automation.triggered", automation, now - LOOK_BACK)
        if triggered is None or triggered["id"] == self._ended:
            return
        beat = await self._last(
            ControllerEvent.HEARTBEAT, controller_resource_id(instance), _time(triggered["occurred"])
        )
        if beat is None or _time(beat["occurred"]) <= _time(triggered["occurred"]):
            return
        event_id = uuid5(NAMESPACE_URL, f"cai:{instance}:{triggered['id']}")
        known = await self._ask("/events/filter", {"filter": {"id": {"id": [str(event_id)]}}, "limit": 1})
        with whole():
            if not known["events"]:
                message = f"The controller gives signs again since {_time(beat['occurred']):%Y-%m-%d %H:%M} UTC."
                payload = {"what": "silent", "message": message}
                self._events.of_controller(ControllerEvent.RECOVERED, payload, {ALERT: Alert.END}, event_id)
        self._ended = triggered["id"]

    async def _last(self, name: str, resource: str, since: datetime) -> dict[str, Any] | None:
        """The last event of this name and resource."""
        wanted = {"event": {"name": [name]}, "resource": {"id": [resource]}, "occurred": {"since": since.isoformat()}}
        answer = await self._ask("/events/filter", {"filter": {**wanted, "order": "DESC"}, "limit": 1})
        with whole():
            return answer["events"][0] if answer["events"] else None

    async def _ask(self, path: str, body: dict[str, Any]) -> Any:
        return await self._prefect.request(CallKind.READ, "POST", path, body)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
