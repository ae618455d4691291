"""An in-memory Prefect that behaves as the real server does where the controller relies on it or must beware of it.

`Server` holds deployments as the API's own JSON and does what a person can do; `FakePrefect` is the `Gateway` on top
of it. The contract suite of `test_gateway.py` runs on it and on a real server alike, so what is tested with this fake
holds for Prefect. A failure is a subclass that overrides one method.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson

from prefect_api import deployment
from prefect_api.deployment import Asked, Changed, Limit, Listing, Observed, Patch, Spec, WorkPool
from prefect_api.errors import RefusedError, WorkPoolMissingError
from prefect_api.run_calls import PendingRun, ScheduledRun

AGENT_POOL = "default-agent-pool"

_DEFAULTS: Mapping[str, Any] = {
    "description": None,
    "version": None,
    "paused": False,
    "tags": [],
    "parameters": {},
    "parameter_openapi_schema": {},
    "enforce_parameter_schema": True,
    "entrypoint": None,
    "path": None,
    "pull_steps": None,
    "job_variables": {},
    "work_pool_name": None,
    "work_queue_name": None,
    "concurrency_options": None,
    "global_concurrency_limit": None,
}


class Server:
    """Deployments, runs and pools in memory, with the real server's effects, wanted or not."""

    def __init__(self, pools: Sequence[str] = ("default",)) -> None:
        self.pools = {AGENT_POOL, *pools}
        self.made_pools: dict[str, WorkPool] = {}
        self.deployments: dict[UUID, dict[str, Any]] = {}
        self.runs: dict[UUID, dict[str, Any]] = {}
        self.workers: dict[str, list[datetime]] = {}
        self.updated: dict[UUID, datetime] = {}
        """What a deployment's last change is, as the server says it: schedules of their own calls move nothing."""
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def post(self, body: Mapping[str, Any]) -> UUID:
        """`POST /deployments/`: an upsert by name that makes all schedules anew and resets what is not sent."""
        sent = as_json(body)
        self._check_pool(sent.get("work_pool_name"))
        name, schedules = sent["name"], sent.pop("schedules", [])
        number = next((i for i, held in self.deployments.items() if held["name"] == name), None)
        if number is None:
            number = uuid4()
            self.deployments[number] = {"id": str(number), "name": name, **_DEFAULTS}
        else:
            self._drop_runs(number)
        held = self.deployments[number]
        held.update({"parameters": {}, "schedules": []})
        self.updated[number] = self.clock()
        self._set(held, sent)
        for schedule in schedules:
            self._add_schedule(held, schedule)
        return number

    def edit(self, number: UUID, body: Mapping[str, Any]) -> None:
        """`PATCH /deployments/{id}`."""
        sent = as_json(body)
        held = self._held(number)
        self._check_pool(sent.get("work_pool_name"))
        schedules = sent.pop("schedules", None)
        if schedules:
            self._edit_schedules(held, schedules)
        self._set(held, sent)
        self.updated[number] = self.clock()
        self._drop_runs(number)

    def _edit_schedules(self, held: dict[str, Any], sent: list[dict[str, Any]]) -> None:
        existing = {schedule["slug"]: schedule for schedule in held["schedules"]}
        if not existing or None in existing:
            held["schedules"] = []
            for schedule in sent:
                self._add_schedule(held, schedule)
            return
        if any(schedule.get("slug") is None for schedule in sent):
            raise RefusedError("Please provide a slug for each schedule.", 422)
        for schedule in sent:
            if schedule["slug"] in existing:
                # What is null is taken for unchanged, so `max_scheduled_runs` is never cleared.
                existing[schedule["slug"]].update({key: value for key, value in schedule.items() if value is not None})
            else:
                self._add_schedule(held, schedule)

    def remove_schedule(self, number: UUID, schedule_id: UUID) -> None:
        """`DELETE /deployments/{id}/schedules/{id}`."""
        held = self._held(number)
        left = [schedule for schedule in held["schedules"] if schedule["id"] != str(schedule_id)]
        if len(left) == len(held["schedules"]):
            raise RefusedError("Schedule not found.", 404)
        held["schedules"] = left
        self._drop_runs(number)

    def add_schedule(self, number: UUID, body: Mapping[str, Any]) -> None:
        """`POST /deployments/{id}/schedules`."""
        self._add_schedule(self._held(number), as_json(body))

    def pause(self, number: UUID) -> None:
        """`POST /deployments/{id}/pause_deployment`: late runs go as well as future ones."""
        self._held(number)["paused"] = True
        self.updated[number] = self.clock()
        self._drop_runs(number, late_too=True)

    def delete(self, numbers: Sequence[UUID]) -> None:
        """`POST /deployments/bulk_delete`: at most 50; scheduled runs go along."""
        if len(numbers) > 50:
            raise RefusedError("At most 50.", 422)
        for number in numbers:
            if self.deployments.pop(number, None) is not None:
                self._drop_runs(number, late_too=True)

    def schedule(self, number: UUID, count: int = 3) -> None:
        """What the scheduler does now and then, so far as tests need it: `count` runs, the first one a minute ahead."""
        held = self._held(number)
        if held["paused"] or not any(schedule["active"] for schedule in held["schedules"]):
            return
        for minute in range(1, count + 1):
            self.add_run(number, datetime.now(UTC) + timedelta(minutes=minute), "SCHEDULED")

    def add_run(self, number: UUID, due: datetime, state: str, key: str | None = None) -> UUID:
        """A run, in a state; one without a key is the scheduler's own."""
        run = uuid4()
        tags = frozenset(self._held(number)["tags"])
        now = datetime.now(UTC)
        self.runs[run] = {"deployment": number, "at": due, "tags": tags, "state": state, "key": key, "since": now}
        return run

    def observed(self, number: UUID) -> Observed:
        """One deployment in the controller's shape."""
        return deployment.observed(self._held(number))

    def _held(self, number: UUID) -> dict[str, Any]:
        if number not in self.deployments:
            raise RefusedError("Prefect refused it (404): Deployment not found.", 404)
        return self.deployments[number]

    def _check_pool(self, pool: str | None) -> None:
        if pool is not None and pool not in self.pools:
            raise WorkPoolMissingError(f"The work pool {pool!r} does not exist in Prefect: create it.", 404)

    def _set(self, held: dict[str, Any], sent: dict[str, Any]) -> None:
        limit = sent.get("concurrency_limit", ...)
        if limit is None:
            held["global_concurrency_limit"] = None
        elif limit is not ...:
            before = held["global_concurrency_limit"] or {"id": str(uuid4()), "active_slots": 0}
            held["global_concurrency_limit"] = {**before, "limit": limit}
        if "work_queue_name" in sent and "work_pool_name" not in sent:
            held["work_pool_name"] = AGENT_POOL
        if "work_pool_name" in sent and "work_queue_name" not in sent:
            held["work_queue_name"] = "default"
        held.update({key: value for key, value in sent.items() if key in _DEFAULTS})

    def _add_schedule(self, held: dict[str, Any], sent: dict[str, Any]) -> None:
        held["schedules"].append(
            {
                "id": str(uuid4()),
                "slug": sent.get("slug"),
                "schedule": {"day_or": True, "timezone": None, **sent["schedule"]},
                "active": sent.get("active", True),
                "parameters": sent.get("parameters") or {},
                "max_scheduled_runs": sent.get("max_scheduled_runs"),
            }
        )

    def _drop_runs(self, number: UUID, *, late_too: bool = False) -> None:
        now = datetime.now(UTC)
        self.runs = {
            i: run
            for i, run in self.runs.items()
            if run["deployment"] != number or run["state"] != "SCHEDULED" or (run["at"] < now and not late_too)
        }


class FakePrefect:
    """`Gateway` on a `Server`. Counts its writes in `calls`, as the real gateway does."""

    def __init__(self, server: Server | None = None) -> None:
        self.server = server or Server()
        self.calls: Counter[str] = Counter()

    @property
    def writes(self) -> int:
        """How many calls that change something were made."""
        return self.calls.total()

    async def probe(self) -> None:
        """Prefect answers."""

    async def list_deployments(self) -> Listing:
        """Every deployment, by name."""
        rows = sorted(self.server.deployments.values(), key=lambda row: str(row["name"]))
        return Listing(tuple(deployment.observed(row) for row in rows), complete=True, asked=self._asked())

    async def list_changed(self, since: datetime) -> Changed | None:
        """Those that were changed after a moment."""
        asked = self._asked()
        if asked is None:
            return None
        updated = self.server.updated
        fresh = sorted(
            (i for i in self.server.deployments if updated[i] > since), key=lambda i: updated[i], reverse=True
        )
        return Changed(tuple(self.server.observed(i) for i in fresh), len(self.server.deployments), asked)

    def _asked(self) -> Asked | None:
        changes = [self.server.updated[number] for number in self.server.deployments]
        return Asked(self.server.clock(), max(changes)) if changes else None

    async def limits(self) -> list[Limit]:
        """The concurrency limits of all deployments."""
        held = {number: row["global_concurrency_limit"] for number, row in self.server.deployments.items()}
        return [Limit(number, one["limit"], one["active_slots"]) for number, one in held.items() if one is not None]

    async def read_deployments(self, names: Sequence[str]) -> list[Observed]:
        """Those of these names."""
        return [deployment.observed(row) for row in self.server.deployments.values() if row["name"] in names]

    async def read_deployments_by_id(self, ids: Sequence[UUID]) -> list[Observed]:
        """Those of these ids."""
        return [deployment.observed(row) for number, row in self.server.deployments.items() if number in ids]

    async def all_tagged(self, ids: Sequence[UUID], tag: str) -> bool:
        """Whether each of these stands and carries a tag."""
        return all(tag in (self.server.deployments.get(i) or _DEFAULTS)["tags"] for i in ids)

    async def read_pools(self, names: Sequence[str]) -> list[WorkPool]:
        """Those of these names: of processes, unless a person has made them otherwise."""
        made = self.server.made_pools
        return [made.get(name, WorkPool(name, "process", {})) for name in names if name in self.server.pools]

    async def create(self, wanted: Spec) -> UUID:
        """Make one."""
        self.calls["create"] += 1
        return self.server.post(deployment.creation(wanted, "flow"))

    async def patch(self, patch: Patch) -> None:
        """Carry out one patch of a plan, with the bodies that the real gateway sends."""
        self.calls["patch"] += 1
        carry_out_patch(self.server, patch)

    async def pause(self, deployment_id: UUID) -> None:
        """Pause."""
        self.calls["pause"] += 1
        self.server.pause(deployment_id)

    async def delete(self, deployment_ids: Sequence[UUID]) -> None:
        """Delete, 50 a call."""
        for start in range(0, len(deployment_ids), 50):
            self.calls["delete"] += 1
            self.server.delete(deployment_ids[start : start + 50])

    async def scheduled_runs(
        self, *, deployment_ids: Sequence[UUID] | None = None, paused: bool = False
    ) -> list[ScheduledRun]:
        """Automatic runs that have not started: of these deployments, or of paused ones only."""
        held = self.server.deployments
        return [
            ScheduledRun(number, run["deployment"], run["at"], run["tags"])
            for number, run in self.server.runs.items()
            if run["state"] == "SCHEDULED"
            and run["key"] is None
            and (deployment_ids is None or run["deployment"] in deployment_ids)
            and (not paused or (run["deployment"] in held and held[run["deployment"]]["paused"]))
        ]

    async def count_scheduled_runs(self) -> tuple[int, int]:
        """How many runs wait to start, and how many of these have a deployment."""
        waiting = [run["deployment"] for run in self.server.runs.values() if run["state"] == "SCHEDULED"]
        return len(waiting), sum(deployment in self.server.deployments for deployment in waiting)

    async def delete_runs(self, ids: Sequence[UUID]) -> None:
        """Delete runs."""
        self.calls["sweep"] += 1
        for number in ids:
            self.server.runs.pop(number, None)

    async def busy_deployments(self, ids: Sequence[UUID]) -> set[UUID]:
        """Those that have a pending or running run."""
        busy = {"PENDING", "RUNNING", "CANCELLING"}
        return {r["deployment"] for r in self.server.runs.values() if r["state"] in busy} & set(ids)

    async def run_dates(self, deployment_id: UUID, since: datetime, until: datetime) -> set[datetime]:
        """When the runs of a deployment that exist were due, between two moments."""
        runs = (run for run in self.server.runs.values() if run["deployment"] == deployment_id)
        return {run["at"] for run in runs if since <= run["at"] <= until}

    async def create_run(self, deployment_id: UUID, due: datetime, key: str) -> None:
        """Make a run that was due at a moment; one with the same key is made once only."""
        self.calls["run"] += 1
        if all(run.get("key") != key for run in self.server.runs.values()):
            self.server.add_run(deployment_id, due, "SCHEDULED", key)

    async def pending_runs(self, ids: Sequence[UUID]) -> list[PendingRun]:
        """The pending runs of these deployments."""
        pools = {number: held["work_pool_name"] for number, held in self.server.deployments.items()}
        return [
            PendingRun(number, "run", run["deployment"], pools.get(run["deployment"]), run["since"])
            for number, run in self.server.runs.items()
            if run["state"] == "PENDING" and run["deployment"] in ids
        ]

    async def workers_since(self, work_pool: str) -> list[datetime]:
        """Since when each worker of a pool that is alive has been known."""
        return self.server.workers.get(work_pool, [])

    async def crash_run(self, run_id: UUID, message: str) -> None:
        """Mark a run as crashed."""
        self.calls["crash"] += 1
        self.server.runs[run_id]["state"] = "CRASHED"

    async def free_slots(self, limit_id: UUID) -> None:
        """Set a limit's taken slots to none."""
        self.calls["free"] += 1
        for held in self.server.deployments.values():
            limit = held["global_concurrency_limit"]
            if limit is not None and limit["id"] == str(limit_id):
                limit["active_slots"] = 0


def carry_out_patch(server: Server, patch: Patch) -> None:
    """One patch of a plan on a server: obsolete schedules, one PATCH, the pause."""
    number = patch.held.id
    for schedule_id in patch.remove_schedules:
        with suppress(RefusedError):
            server.remove_schedule(number, schedule_id)
    body = deployment.patch(patch.spec, patch.changes)
    if body:
        server.edit(number, body)
    if any(change.field == "paused" for change in patch.changes) and patch.spec.fields.paused:
        server.pause(number)


def as_json(value: Any) -> Any:
    """`value` as Prefect would give it back: tuples and sets as lists."""
    return orjson.loads(orjson.dumps(value, default=list))
