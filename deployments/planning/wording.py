"""Wording of a plan: the lines of the log, of `--dry-run` and of a cycle's report."""

from collections.abc import Mapping
from typing import Any

from connectors.status import Status
from deployments.planning.plan import Create, Decision, Delete, Pause
from prefect_api.deployment import Patch, ScheduleFields
from prefect_api.names import deployment_name


def describe(decision: Decision, known: Mapping[int, Status]) -> list[str]:
    """One decision as lines of text, each with the connector's id; none when nothing is to be done."""
    who = f"connector {decision.connector_id}"
    match decision.action:
        case Create(spec=spec):
            return [f"{who}: create {spec.name}, runs {spec.when}"]
        case Patch(held=held, changes=changes):
            before = known.get(decision.connector_id)
            adopted = [] if before is not None and before.deployment_id == held.id else [f"{who}: adopt {held.id}"]
            return adopted + [f"{who}: {c.field}: {_shown(c.old)} -> {_shown(c.new)}" for c in changes]
        case Pause():
            return [f"{who}: pause"]
        case Delete():
            return [f"{who}: delete {deployment_name(decision.connector_id)}"]
        case None:
            return []


def _shown(value: Any) -> str:
    """A field's value as short text. Large ones, such as a parameter schema, are cut: the log is for people."""
    if isinstance(value, tuple) and all(isinstance(item, ScheduleFields) for item in value):
        text = ", ".join(_schedule(item) for item in value) or "no schedule"
    elif isinstance(value, frozenset):
        text = ", ".join(sorted(value)) or "none"
    else:
        text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _schedule(schedule: ScheduleFields) -> str:
    rule = schedule.rule
    text = f"{rule['cron']!r} {rule.get('timezone')}" if "cron" in rule else repr(dict(rule))
    return text if schedule.active else f"{text} (switched off)"
