"""The start of a forked run by Prefect's executor: its protocol `ProcessStarter` (`prefect.runner`)."""

import os
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
from prefect.settings import get_current_settings

from workers.keeper import Keeper
from workers.messages import Order
from workers.server_process import ServerProcess

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, WorkPool
    from prefect.runner._control_channel import ControlChannel
    from prefect.workers.process import ProcessJobConfiguration


_ASKED_BY_THE_WORKER = {"PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false"}
"""A run's client would ask the server for its version, as its worker's has."""


def learnt_from(client: Any) -> dict[str, str]:
    """Settings by which a run's clients need not ask what its worker's client has been told.

    The first request that changes something asks for a token against forgery; a server that wants none says so. One
    that begins to want them takes nothing from the worker either, until both are started anew.
    """
    wants_none = getattr(getattr(client, "_client", None), "enable_csrf_support", True) is False
    return _ASKED_BY_THE_WORKER | ({"PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false"} if wants_none else {})


class ForkStarter:
    """Starts one run from a fork server, or from the one that its keeper has by then."""

    def __init__(
        self,
        keeper: Keeper,
        server: ServerProcess,
        control: "ControlChannel",
        configuration: "ProcessJobConfiguration",
        entrypoint: str,
        *,
        pool: "WorkPool",
        learnt: dict[str, str],
        memory_bytes: int | None,
    ) -> None:
        """`learnt` are settings that spare the run questions (`learnt_from`)."""
        self._keeper = keeper
        self._server = server
        self._control = control
        self._configuration = configuration
        self._entrypoint = entrypoint
        self._pool = pool
        self._learnt = learnt
        self._memory_bytes = memory_bytes

    async def start(
        self, flow_run: "FlowRun", task_status: anyio.abc.TaskStatus[Any] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Fork, say what process it is, and wait for its end. Raises what `Keeper.fork` does."""
        environment = self._environment(flow_run)
        try:
            run = await self._keeper.fork(self._order(flow_run, environment), self._server)
        except BaseException:
            self._control.unregister(flow_run.id)
            raise
        task_status.started(run)
        await run.wait()

    def _environment(self, flow_run: "FlowRun") -> dict[str, str]:
        """What `EngineCommandStarter` tells the engine's process."""
        told: dict[str, str | None] = {
            **os.environ,
            **self._configuration.env,
            **get_current_settings().to_environment_variables(exclude_unset=True),
            **self._learnt,
            "PREFECT__FLOW_RUN_ID": str(flow_run.id),
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
        }
        try:
            port, token = self._control.register(flow_run.id)
            told |= {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        except RuntimeError:
            pass  # there is no listener: a cancelled run is ended by its signal alone
        return {name: value for name, value in told.items() if value is not None}

    def _order(self, flow_run: "FlowRun", environment: dict[str, str]) -> Order:
        return Order(
            flow_run=flow_run.model_dump(mode="json"),
            entrypoint=self._entrypoint,
            environment=environment,
            directory=str(self._configuration.working_dir),
            memory_bytes=self._memory_bytes,
            related=self._related(flow_run),
        )

    def _related(self, flow_run: "FlowRun") -> dict[str, dict[str, Any]]:
        known = getattr(self._configuration, "_related_objects", {})
        found: dict[str, dict[str, Any]] = {}
        for kind in ("flow", "deployment"):
            if (held := known.get(kind)) is not None:
                tags = list(getattr(held, "tags", []))
                found[f"{kind}.{held.id}"] = {"id": str(held.id), "name": held.name, "tags": tags}
        if flow_run.work_queue_id and flow_run.work_queue_name:
            queue = str(flow_run.work_queue_id)
            found[f"work-queue.{queue}"] = {"id": queue, "name": flow_run.work_queue_name}
        found[f"work-pool.{self._pool.name}"] = {"id": str(self._pool.id), "name": self._pool.name}
        return found
