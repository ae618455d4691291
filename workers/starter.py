"""The start of a forked run by Prefect's executor: its protocol `ProcessStarter` (`prefect.runner`)."""

import os
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
from prefect.settings import get_current_settings

from workers.messages import Order
from workers.server_process import ServerProcess

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun
    from prefect.runner._control_channel import ControlChannel
    from prefect.workers.process import ProcessJobConfiguration


class ForkStarter:
    """Starts one run from a fork server."""

    def __init__(
        self,
        server: ServerProcess,
        control: "ControlChannel",
        configuration: "ProcessJobConfiguration",
        entrypoint: str,
        memory_bytes: int | None,
    ) -> None:
        self._server = server
        self._control = control
        self._configuration = configuration
        self._entrypoint = entrypoint
        self._memory_bytes = memory_bytes

    async def start(
        self, flow_run: "FlowRun", task_status: anyio.abc.TaskStatus[Any] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Fork, say what process it is, and wait for its end. Raises what `ServerProcess.fork` does."""
        environment = self._environment(flow_run)
        try:
            run = await self._server.fork(self._order(flow_run, environment))
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
        related = getattr(self._configuration, "_related_objects", {})
        return Order(
            flow_run=flow_run.model_dump(mode="json"),
            entrypoint=self._entrypoint,
            environment=environment,
            directory=str(self._configuration.working_dir),
            memory_bytes=self._memory_bytes,
            related={kind: found.model_dump(mode="json") for kind, found in related.items() if found is not None},
        )
