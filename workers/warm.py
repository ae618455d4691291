"""The warm worker: a process worker whose runs of this platform are forked instead of started.

A run is still a process of its own, with its own environment, memory and death; what it saves is importing everything,
which is most of what a small load costs. Whatever else comes to its pool (the controller's run, another team's flow,
another command or directory) it starts as Prefect's process worker does, and so it does when no fork server can be
made.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutorContext
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from database.connection.notifications import at_each
from database.control.outbox import RUNS_CHANNEL
from deployments.planning.spec import ENGINE
from prefect_api.names import CONTROLLER_QUEUE, WARM_POOL_TYPE
from settings import ROOT, MissingDatabaseError, Settings
from workers.keeper import Keeper, Wear, become_subreaper
from workers.preload import FLOWS
from workers.remembered import Remembered
from workers.server_process import ForkServerError, ServerProcess
from workers.starter import ForkStarter, learnt_from

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, State

logger = logging.getLogger("prefect.workers.warm")

_LOOK_SECONDS = 0.1
_END_SECONDS = 10.0
"""How long runs may take to end after SIGTERM, before they are killed."""
_STOPPING = (signal.SIGTERM, signal.SIGINT)


_DEPLOYMENT_SECONDS = 2.0
"""Between two looks at a run's deployment: Prefect's own are a request apart."""
_FLOW_SECONDS = 3600.0


class NoHooks:
    """Our flows have no hooks of cancelled and crashed runs; Prefect would load the flow to find that out."""

    async def run_cancellation_hooks(self, flow_run: "FlowRun", state: "State[Any]") -> None:
        """Nothing."""

    async def run_crashed_hooks(self, flow_run: "FlowRun", state: "State[Any]") -> None:
        """Nothing."""


class WarmWorker(ProcessWorker):
    """A worker of the pool type `clinical-ai-warm`."""

    type = WARM_POOL_TYPE
    _description = "Fork runs of connectors from a process that has imported everything."
    _display_name = "Clinical connectors, warm"

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._settings = Settings()
        wear = Wear(self._settings.fork_server_max_age_seconds, self._settings.fork_server_max_megabytes * 2**20)
        self._keeper = Keeper(ROOT, wear)
        self._executors = FlowRunExecutorContext()
        self._stopping: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()
        self._deadline = 0.0

    async def setup(self) -> None:
        """Begin to work: one context of executions for all runs, and the fork server before the first of them."""
        become_subreaper()
        with contextlib.suppress(RuntimeError, ValueError):  # not the main thread: whoever runs it there stops it
            for number in _STOPPING:
                asyncio.get_running_loop().add_signal_handler(number, self._stop_softly)
        # Entered before the runs' task group, so left after it.
        await self._exit_stack.enter_async_context(self._executors)
        if self._work_queues != {CONTROLLER_QUEUE}:  # no run of that queue is forked
            with contextlib.suppress(ForkServerError):
                await self._keeper.server()  # said again, and louder, by the first run
            self._hear()
        await super().setup()
        self._remember()

    def _hear(self) -> None:
        """Look for runs as soon as the platform says that it has started one: between two looks are seconds."""
        with contextlib.suppress(MissingDatabaseError):
            url = self._settings.resolved_database_url()
            self._hearing = asyncio.create_task(at_each(url, RUNS_CHANNEL, self.get_and_submit_flow_runs))

    def _remember(self) -> None:
        """Ask for a run's deployment once, where Prefect's worker asks twice, and for a flow once and never again."""
        client: Any = self.client
        client.read_deployment = Remembered(client.read_deployment, _DEPLOYMENT_SECONDS)
        client.read_flow = Remembered(client.read_flow, _FLOW_SECONDS)

    async def _give_worker_labels_to_flow_run(self, flow_run_id: "UUID") -> None:
        """Nothing: the run's log and its events name the worker, and nobody reads the labels of a run."""

    async def _propose_submitting_state(self, flow_run: "FlowRun") -> None:
        """Nothing: between Pending and Running, a fork takes milliseconds."""

    async def teardown(self, *exc_info: Any) -> None:
        """Stop. What still runs is asked to end; fork servers go by themselves after their last run."""
        if self._hearing is not None:
            self._hearing.cancel()
        self._keeper.close()
        await super().teardown(*exc_info)

    async def get_and_submit_flow_runs(self) -> list["FlowRun"]:
        """Take runs from the pool, unless this worker is about to stop."""
        async with self._looking:
            return [] if self._stopping is not None else await super().get_and_submit_flow_runs()

    def _stop_softly(self) -> None:
        """Take no more runs, wait for those in progress, and only then do what Prefect does at Ctrl-C.

        Asked twice, it waits no longer.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        else:
            self._deadline = 0.0

    async def _stop(self) -> None:
        manager = self._executors.process_manager
        self._deadline = time.monotonic() + self._settings.drain_seconds
        if count := len(manager.flow_run_ids()):
            logger.info("Stopping: waiting up to %.0f s for %d runs.", self._settings.drain_seconds, count)
        await self._until_idle()
        # All at once, and while their ends can still be told: Prefect's own end is one after the other, and silent.
        for flow_run_id in manager.flow_run_ids():
            if (process := manager.get(flow_run_id)) is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.graceful_kill()
        self._deadline = time.monotonic() + _END_SECONDS
        await self._until_idle()
        loop = asyncio.get_running_loop()
        for number in _STOPPING:
            loop.remove_signal_handler(number)
        loop.call_soon(os.kill, os.getpid(), signal.SIGINT)  # not in a task, which would show it as its own failure

    async def _until_idle(self) -> None:
        """Wait until no run is in progress or about to be, or until the deadline, which may come nearer meanwhile."""
        manager = self._executors.process_manager
        while (manager.flow_run_ids() or self._submitting_flow_run_ids) and time.monotonic() < self._deadline:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)

    async def run(
        self,
        flow_run: "FlowRun",
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run a flow run in a process of its own, and wait for its end."""
        status = anyio.TASK_STATUS_IGNORED if task_status is None else task_status
        entrypoint = warm_entrypoint(configuration)
        server = None if entrypoint is None else await self._server()
        if entrypoint is None or server is None:
            return await super().run(flow_run, configuration, status)
        limit = self._settings.run_memory_megabytes
        starter = ForkStarter(
            self._keeper,
            server,
            self._executors.control_channel,
            configuration,
            entrypoint,
            pool=self.work_pool,
            learnt=learnt_from(self.client),
            memory_bytes=None if limit is None else limit * 2**20,
        )
        return await self._execute(flow_run, starter, status)

    async def _server(self) -> ServerProcess | None:
        try:
            return await self._keeper.server()
        except ForkServerError as error:
            logger.warning("%s The run is started as a process worker would start it.", error)
            return None

    async def _execute(
        self, flow_run: "FlowRun", starter: ForkStarter, task_status: anyio.abc.TaskStatus[int]
    ) -> ProcessWorkerResult:
        executor = self._executors.create_executor(flow_run, starter, propose_submitting=False, hook_runner=NoHooks())
        execution: FlowRunExecutionResult | None = None

        async def execute(*, task_status: anyio.abc.TaskStatus[Any] = anyio.TASK_STATUS_IGNORED) -> None:
            nonlocal execution
            execution = await executor.submit(task_status=task_status)

        async with anyio.create_task_group() as tasks:
            process = await tasks.start(execute)
            task_status.started(process.pid)
        if execution is None or execution.status_code is None:
            raise RuntimeError("The flow run's process could not be started.")
        return ProcessWorkerResult(status_code=execution.status_code, identifier=str(execution.handle.pid))


def warm_entrypoint(configuration: ProcessJobConfiguration) -> str | None:
    """The entry point of a run that is forked; None for one that is started as any other.

    Forked is a flow of ours that would be started as our deployments say, from the code that this worker has.
    """
    deployment = getattr(configuration, "_related_objects", {}).get("deployment")
    entrypoint = getattr(deployment, "entrypoint", None)
    directory = configuration.working_dir
    if entrypoint not in FLOWS or configuration.command != ENGINE or directory is None:
        return None
    return entrypoint if Path(directory).resolve() == ROOT else None
