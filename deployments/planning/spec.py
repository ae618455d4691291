"""Spec of a connector's deployment, made of its row and of what this installation's deployments share. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from connectors.connector import Connector, Overlap
from connectors.schedules.wording import words
from prefect_api.deployment import OWNED, OwnedFields, ScheduleFields, Spec
from prefect_api.names import ENTRYPOINT, SCHEDULE_SLUG, connector_tag, managed_by, page_key

UNSCHEDULED_WORDS = "only when started by hand"

CONCURRENCY_LIMIT = 1
"""Runs of a connector at a time."""

HEARTBEAT_SECONDS = 30
"""How often a run says that its process lives: Prefect's shortest. Dead runs are found by its absence."""

ENGINE = (
    "/bin/sh -c '"
    'p=; [ -r /proc/$PPID/cmdline ] && p=$(tr "\\0" "\\n" </proc/$PPID/cmdline | head -n 1); '
    'case "$p" in /*python*) ;; */*python*) p=$(readlink /proc/$PPID/cwd)/$p ;; *) p=python ;; esac; '
    'exec "$p" -m prefect.engine'
    "'"
)
"""The engine of a run, by the interpreter of the worker that starts it.

A worker may be started by its path, with no `python` on its PATH or another one. A process worker is the parent of this
shell, and its command line begins with its interpreter. In a pod, whose first process this is, there is no such parent:
`python` is the image's.
"""


def job_variables(code_path: str) -> dict[str, Any]:
    """The job variables of everything that runs our code on a worker.

    The command is the engine itself: Prefect's default first sets up a workspace, which doubles the time to the first
    line of a run (measured). The entry point is relative to the working directory, so nothing is copied.
    """
    return {
        "command": ENGINE,
        "working_dir": code_path,
        "env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS)},
    }


@dataclass(frozen=True, slots=True)
class Platform:
    """What every deployment of this installation has in common."""

    instance: str
    work_pool: str
    work_queue: str
    job_variables: Mapping[str, Any]
    parameter_schema: Mapping[str, Any]

    @property
    def tag(self) -> str:
        """The tag that says whose a deployment is."""
        return managed_by(self.instance)


def desired_spec(connector: Connector, platform: Platform, *, paused: bool = False) -> Spec:
    """The deployment that `connector` must have on `platform`; `paused` also pauses an active one."""
    schedules: tuple[ScheduleFields, ...] = ()
    if connector.schedule is not None:
        rule = {"cron": connector.schedule.cron, "timezone": connector.schedule.timezone}
        schedules = (ScheduleFields(SCHEDULE_SLUG, rule),)
    when = UNSCHEDULED_WORDS if connector.schedule is None else words(connector.schedule)
    queue = connector.run_policy.overlap is Overlap.QUEUE
    owned = OwnedFields(
        entrypoint=ENTRYPOINT,
        path=None,
        pull_steps=(),
        parameters={"connector_id": connector.id},
        parameter_openapi_schema=platform.parameter_schema,
        enforce_parameter_schema=True,
        work_pool_name=connector.work_pool_name or platform.work_pool,
        work_queue_name=connector.work_queue_name or platform.work_queue,
        schedules=schedules,
        tags=frozenset({connector_tag(connector.id), "scheduled" if schedules else "manual", platform.tag}),
        version=None,
        description=_description(connector, when),
        paused=paused or not connector.is_active,
        concurrency_limit=CONCURRENCY_LIMIT,
        collision_strategy="ENQUEUE" if queue else "CANCEL_NEW",
        job_variables=platform.job_variables,
    )
    return Spec(connector.id, replace(owned, version=spec_version(owned)), when)


def spec_version(owned: OwnedFields) -> str:
    """The hash that a deployment carries as its version and copies onto its runs.

    `paused` is left out, so that pausing and resuming changes no version.
    """
    content = {name: getattr(owned, name) for name in OWNED if name not in {"version", "paused"}}
    text = json.dumps(content, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    return {f.name: getattr(value, f.name) for f in fields(value)}


def _description(connector: Connector, when: str) -> str:
    """Prefect's UI shows it as Markdown, and the link is one of its own pages: it leads wherever the UI is seen."""
    link = f"[How it stands](/artifacts/key/{page_key(connector.id)})"
    parts = [f"**{connector.name}**", connector.description or "", f"Runs {when}.", link]
    return "\n\n".join(part for part in parts if part)
