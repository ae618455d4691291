"""Deployment of ours, as Prefect's API takes and gives it: wanted, observed, and the difference between the two. Pure.

The field list and its spelling in Prefect's API stand here and nowhere else. *Owned fields*: both sides become an
`OwnedFields`, and the difference between two of them is the drift that a patch repairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from prefect_api.names import deployment_name


@dataclass(frozen=True, slots=True)
class ScheduleFields:
    """One schedule of a deployment. `rule` is Prefect's JSON of it without what the server fills in."""

    slug: str | None
    rule: Mapping[str, Any]
    active: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)
    max_scheduled_runs: int | None = None


@dataclass(frozen=True, slots=True)
class OwnedFields:
    """The fields of a deployment that the controller owns: repaired when they differ, and nothing else is."""

    entrypoint: str | None
    path: str | None
    pull_steps: tuple[Mapping[str, Any], ...]
    parameters: Mapping[str, Any]
    parameter_openapi_schema: Mapping[str, Any]
    enforce_parameter_schema: bool
    work_pool_name: str | None
    work_queue_name: str | None
    schedules: tuple[ScheduleFields, ...]
    tags: frozenset[str]
    version: str | None
    description: str | None
    paused: bool
    concurrency_limit: int | None
    collision_strategy: str | None
    job_variables: Mapping[str, Any]


OWNED = tuple(f.name for f in fields(OwnedFields))


@dataclass(frozen=True, slots=True)
class Spec:
    """The deployment that a connector must have."""

    connector_id: int
    fields: OwnedFields
    when: str
    """The schedule in words, as part of a sentence: `every 4 hours, at minute 0 (UTC)`."""

    @property
    def name(self) -> str:
        """The deployment's name."""
        return deployment_name(self.connector_id)


@dataclass(frozen=True, slots=True)
class Observed:
    """A deployment as Prefect holds it. `schedule_ids` are in the order of `fields.schedules`."""

    id: UUID
    name: str
    fields: OwnedFields
    schedule_ids: tuple[UUID, ...]
    active_slots: int = 0
    """Concurrency slots that are taken."""
    limit_id: UUID | None = None
    """The concurrency limit that the slots are of."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One owned field that differs."""

    field: str
    old: Any
    new: Any


class ActionKind(StrEnum):
    """What the controller does to a deployment, as metrics and logs name it."""

    CREATE = "create"
    PATCH = "patch"
    PAUSE = "pause"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Patch:
    """Repair the owned fields that differ, in place."""

    kind: ClassVar = ActionKind.PATCH
    held: Observed
    spec: Spec
    changes: tuple[FieldChange, ...]
    remove_schedules: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """When a listing was asked for, by the server's clock, and the last change that it knew of then. Both aware."""

    at: datetime
    newest: datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """Every deployment of our flow, and whether the pages add up to the count that Prefect gave."""

    deployments: tuple[Observed, ...]
    complete: bool
    asked: Asked | None = None
    """When that was; None where the server does not say."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The deployments of our flow that were changed since a moment, and how many there are of it altogether."""

    deployments: tuple[Observed, ...]
    count: int
    asked: Asked


@dataclass(frozen=True, slots=True)
class Limit:
    """A deployment's concurrency limit."""

    deployment_id: UUID
    limit: int
    active_slots: int


@dataclass(frozen=True, slots=True)
class WorkPool:
    """A work pool as Prefect holds it."""

    name: str
    type: str
    template: Mapping[str, Any]
    """The base job template; empty for the type's own."""


def observed(answer: Mapping[str, Any]) -> Observed:
    """A deployment of Prefect's API (`DeploymentResponse`, as parsed JSON) in our shape.

    Raises:
        KeyError, TypeError, ValueError: when the answer is no whole deployment, such as a body that was cut short.
    """
    schedules = sorted(answer["schedules"], key=lambda schedule: (schedule.get("slug") or "", schedule["id"]))
    limit = answer.get("global_concurrency_limit")
    options = answer.get("concurrency_options")
    owned = OwnedFields(
        entrypoint=answer["entrypoint"],
        path=answer["path"],
        pull_steps=tuple(answer["pull_steps"] or ()),
        parameters=answer["parameters"],
        parameter_openapi_schema=answer["parameter_openapi_schema"] or {},
        enforce_parameter_schema=answer["enforce_parameter_schema"],
        work_pool_name=answer["work_pool_name"],
        work_queue_name=answer["work_queue_name"],
        schedules=tuple(_schedule(schedule) for schedule in schedules),
        tags=frozenset(answer["tags"]),
        version=answer["version"],
        description=answer["description"],
        paused=answer["paused"],
        # `concurrency_limit` itself always reads back null.
        concurrency_limit=None if limit is None else limit["limit"],
        collision_strategy=None if options is None else options["collision_strategy"],
        job_variables=answer["job_variables"],
    )
    ids = tuple(UUID(schedule["id"]) for schedule in schedules)
    return Observed(
        UUID(answer["id"]),
        answer["name"],
        owned,
        ids,
        active_slots=0 if limit is None else limit["active_slots"],
        limit_id=None if limit is None else UUID(limit["id"]),
    )


def _schedule(answer: Mapping[str, Any]) -> ScheduleFields:
    rule = dict(answer["schedule"])
    if rule.get("day_or") is True:
        del rule["day_or"]  # the server's default
    return ScheduleFields(
        slug=answer.get("slug"),
        rule=rule,
        active=answer["active"],
        parameters=answer.get("parameters") or {},
        max_scheduled_runs=answer.get("max_scheduled_runs"),
    )


def drift(spec: Spec, held: Observed) -> tuple[FieldChange, ...]:
    """The owned fields in which `held` differs from `spec`, in the order of `OwnedFields`."""
    return tuple(
        FieldChange(name, getattr(held.fields, name), getattr(spec.fields, name))
        for name in OWNED
        if getattr(held.fields, name) != getattr(spec.fields, name)
    )


def creation(spec: Spec, flow_id: str) -> dict[str, Any]:
    """The body of `POST /deployments/` that makes `spec`. That call is an upsert: only for a name that is free."""
    owned = spec.fields
    return {
        "name": spec.name,
        "flow_id": flow_id,
        **{name: getattr(owned, name) for name in OWNED if name not in _TRANSLATED},
        **_translated(owned, _TRANSLATED),
    }


def patch(spec: Spec, changes: tuple[FieldChange, ...]) -> dict[str, Any]:
    """The body of `PATCH /deployments/{id}` that repairs `changes`; nothing else is sent, so nothing else is touched.

    Pausing is not in it: Prefect's own pause call clears late runs too, which a patch leaves behind.
    """
    names = {change.field for change in changes}
    if names & {"work_pool_name", "work_queue_name"}:
        # Sent alone, the queue's name moves the deployment to the agents' pool of old.
        names |= {"work_pool_name", "work_queue_name"}
    owned = spec.fields
    body = {name: getattr(owned, name) for name in OWNED if name in names and name not in _TRANSLATED}
    body.update(_translated(owned, names & _TRANSLATED))
    if owned.paused:
        body.pop("paused", None)
    if not owned.schedules:
        body.pop("schedules", None)  # an empty list is taken for "unchanged": schedules are removed by their own call
    return body


_TRANSLATED = frozenset({"schedules", "tags", "collision_strategy", "pull_steps"})
"""The owned fields that Prefect's API spells in another shape."""


def _translated(owned: OwnedFields, names: frozenset[str] | set[str]) -> dict[str, Any]:
    shapes: dict[str, tuple[str, Any]] = {
        "schedules": ("schedules", [_schedule_body(schedule) for schedule in owned.schedules]),
        "tags": ("tags", sorted(owned.tags)),
        "collision_strategy": ("concurrency_options", {"collision_strategy": owned.collision_strategy}),
        "pull_steps": ("pull_steps", list(owned.pull_steps) or None),
    }
    return dict(shape for name, shape in shapes.items() if name in names)


def _schedule_body(schedule: ScheduleFields) -> dict[str, Any]:
    return {
        "slug": schedule.slug,
        "schedule": {**schedule.rule, "day_or": True},
        "active": schedule.active,
        "parameters": schedule.parameters,
    }


def obsolete_schedules(spec: Spec, held: Observed) -> tuple[UUID, ...]:
    """The schedules of `held` that a patch cannot bring in line and that are deleted by id first.

    A schedule with a slug is patched in place and keeps its id, on which Prefect's idempotency keys stand. One with
    another slug stays beside it unless it is deleted, and `max_scheduled_runs` cannot be cleared. When any schedule
    has no slug, the patch replaces all of them by itself.
    """
    if any(schedule.slug is None for schedule in held.fields.schedules) and spec.fields.schedules:
        return ()
    wanted = {schedule.slug for schedule in spec.fields.schedules}
    return tuple(
        schedule_id
        for schedule, schedule_id in zip(held.fields.schedules, held.schedule_ids, strict=True)
        if schedule.slug not in wanted or schedule.max_scheduled_runs is not None
    )
