"""`connector-controller`: the long-running flow that keeps Prefect equal to the connectors' table.

Two ways to start it. As a deployment, by a person in the UI or by an automation: the flow run is the controller. In the
foreground, `python -m flows.controller`: the process is the controller and a flow run only shows it in the UI, so the
controller outlives a Prefect that is down, and its flow run is made again when Prefect is back.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress

# Before Prefect is imported: what the controller logs belongs on its run's page too.
# logs.LOGGERS, which can't be imported before this
os.environ.setdefault(
    "PREFECT_LOGGING_EXTRA_LOGGERS", "api,connectors,database,deployments,flows,prefect_api,use_cases"
)
# In the foreground most lines are written outside of the run that shows the controller.
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")

import psycopg2  # type: ignore[import-untyped]
from prefect import flow, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed, Failed
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from database.connection.address import dsn
from database.connection.engine import CONNECT_TIMEOUT_SECONDS, DATABASE_ERRORS
from database.connection.errors import told
from database.connection.session_check import POOLED, is_pooled
from deployments.alive import ALIVE_FILE
from deployments.leadership.controller import Controller
from deployments.leadership.leader import Conclusion, Ending
from deployments.leadership.start_options import StartOptions, WhenLed
from deployments.monitoring.heartbeat import Heartbeat
from deployments.monitoring.metrics import served
from deployments.planning.spec import HEARTBEAT_SECONDS, Platform, job_variables
from flows.dlt_pipeline_flow import run_connector_pipeline
from logs import show_logs
from pipelines.telling import carriers_of
from prefect_api.errors import ReconcileError, WrongInstanceError
from prefect_api.event_feed import Events
from prefect_api.names import CONTROLLER_DEPLOYMENT, CONTROLLER_FLOW
from settings import LogFormat, MissingDatabaseError, Settings

logger = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of each request

REPORT_RETRY_SECONDS = 30.0
"""How long until a flow run that could not be made, or broke, is made again."""

FAREWELL_SECONDS = 10.0
"""How long the end of a foreground controller waits for its flow run to be closed."""


class BadConfigurationError(Exception):
    """The settings are not usable: a sentence for each that operations must mend."""


class Exit:
    """Exit codes of `python -m flows.controller`."""

    GOOD = 0
    NOT_SYNCED = 1
    BAD_CONFIGURATION = 2


def controller_of(settings: Settings) -> Controller:
    """The controller of this installation."""
    platform = Platform(
        instance=settings.instance,
        work_pool=settings.work_pool,
        work_queue=settings.work_queue,
        job_variables=job_variables(str(settings.code_path)),
        parameter_schema=parameter_schema(run_connector_pipeline).model_dump_for_openapi(),
    )
    events = Events(settings.instance)
    heartbeat = Heartbeat(events, settings.data_dir / ALIVE_FILE, settings.heartbeat_seconds)
    return Controller(settings, platform, heartbeat=heartbeat, events=events, carriers=carriers_of(settings))


@flow(name=CONTROLLER_FLOW, persist_result=False)
async def connector_controller(
    when_led: WhenLed = WhenLed.ASK,
    once: bool = False,
    dry_run: bool = False,
    allow_mass_prune: bool = False,
    take_over: bool = False,
) -> State[None]:
    """Keep Prefect's deployments equal to the table of connectors.

    Started by hand while another controller leads, it asks that one for a full cycle and reports what was done.

    Args:
        when_led: When another controller leads: ask it for a cycle and report the result, stand by to lead after it,
            or leave.
        once: Do one full cycle and end.
        dry_run: Print what would be done, and write nothing.
        allow_mass_prune: In the first full cycle, also delete more deployments than the guard allows.
        take_over: Prefect's deployments of this instance belong to another database: take them over.
    """
    settings = Settings()
    show_logs(as_json=settings.log_format is LogFormat.JSON)
    controller = controller_of(settings)
    if dry_run:
        lines = await controller.preview()
        return Completed(message="\n".join(lines) or "Nothing to do.")
    # Run again, as after its node was drained, it finds its parameters as they were: what they allowed may be spent.
    first_try = flow_run.run_count <= 1
    start_options = StartOptions(when_led, once, allow_mass_prune and first_try, take_over and first_try)
    conclusion = await controller.run(start_options, asyncio.Event())
    if conclusion.ending is Ending.EXPIRED:
        await _call_successor()
    return _state(conclusion)


def _state(conclusion: Conclusion) -> State[None]:
    """How a controller's flow run ends."""
    result = conclusion.result
    if result is None:
        return Completed(message=_ENDINGS[conclusion.ending])
    text = "\n".join([f"{result.summary}.", *result.lines])
    return Completed(message=text) if result.ok else Failed(message=text)


_ENDINGS = {
    Ending.STOPPED: "Stopped.",
    Ending.EXPIRED: "Its time is over; its successor goes on.",
    Ending.GAVE_WAY: "A controller in the foreground stood by: it goes on.",
    Ending.LEFT: "Another controller leads: nothing to do.",
    Ending.LOST: "Another controller took the lead.",
}


async def _call_successor() -> None:
    """Start the next run of our deployment. Should that fail, the automation *controller silent* does it."""
    try:
        async with get_client() as client:
            deployment = await client.read_deployment_by_name(f"{CONTROLLER_FLOW}/{CONTROLLER_DEPLOYMENT}")
            await client.create_flow_run_from_deployment(deployment.id, parameters={"when_led": "leave"})
    except ObjectNotFound:
        logger.warning("There is no deployment %s/%s to go on.", CONTROLLER_FLOW, CONTROLLER_DEPLOYMENT)


async def foreground(start_options: StartOptions, settings: Settings, stop: asyncio.Event) -> Conclusion:
    """Run a controller in this process until `stop`, shown in Prefect as a flow run whenever Prefect is there."""
    controller = controller_of(settings)
    if start_options.once:
        return await controller.run(start_options, stop)
    # Not where the controller is a flow run: a worker runs several beside each other, and nobody knows their addresses.
    with served(controller.metrics, settings.metrics_port):
        work = asyncio.create_task(_terms(controller, start_options, stop))
        report = asyncio.create_task(_report(work, settings, stop))
        try:
            return await work
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(report, FAREWELL_SECONDS)


def _stop_on_signals(stop: asyncio.Event) -> None:
    """End in peace on SIGTERM and Ctrl-C: the lease is given back, and a standby leads at once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _terms(controller: Controller, start_options: StartOptions, stop: asyncio.Event) -> Conclusion:
    """One term after the other: this process is its own successor."""
    while True:
        conclusion = await controller.run(start_options, stop)
        if conclusion.ending is not Ending.EXPIRED:
            return conclusion


async def _report(work: "asyncio.Task[Conclusion]", settings: Settings, stop: asyncio.Event) -> None:
    """Show the work as a flow run, made anew when it breaks or has lasted its time; the work never waits for that."""

    @flow(name=CONTROLLER_FLOW, flow_run_name=f"foreground on {socket.gethostname()}", persist_result=False)
    async def shown() -> State[None]:
        _stop_on_signals(stop)  # Prefect's engine has just taken SIGTERM for itself, and would tear the loop apart
        await asyncio.wait({work}, timeout=settings.controller_max_runtime_seconds)
        if not work.done():
            return Completed(message=_ENDINGS[Ending.EXPIRED])
        if work.cancelled() or work.exception() is None:
            return Completed(message=_ENDINGS[Ending.STOPPED])
        return Failed(message=f"Ended by {type(work.exception()).__name__}.")

    while not work.done():
        try:
            # As often as a run on a worker gives signs of life, or the automation *dead run* takes it for dead.
            with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: HEARTBEAT_SECONDS}):
                await shown()
        except Exception as error:  # whatever Prefect's engine raises, the controller goes on
            logger.warning("The controller's flow run could not be reported (%s); it goes on.", type(error).__name__)
            await asyncio.wait({work}, timeout=REPORT_RETRY_SECONDS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flows.controller", description=__doc__)
    parser.add_argument("--once", action="store_true", help="do one full cycle and end")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    parser.add_argument("--allow-mass-prune", action="store_true", help="delete more than the guard allows, once")
    parser.add_argument("--take-over", action="store_true", help="take over deployments of another database")
    parser.add_argument("--when-led", choices=[choice.value for choice in WhenLed], default=WhenLed.STAND_BY.value)
    return parser.parse_args()


def _settings() -> Settings:
    """The settings, as far as they can be judged without asking anybody.

    Raises:
        BadConfigurationError: when they cannot be what is meant.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
        lines = (f"{_variable(detail['loc'])}: {detail['msg']}" for detail in details)
        raise BadConfigurationError("\n".join(lines)) from None
    if PREFECT_API_URL.value() is None:
        # Prefect's client would start a throwaway server of its own, and all would seem to be well.
        raise BadConfigurationError(
            "PREFECT_API_URL is not set: name the Prefect server, such as http://127.0.0.1:4200/api."
        )
    try:
        address = dsn(settings.resolved_database_url())
    except (MissingDatabaseError, ValueError) as error:
        raise BadConfigurationError(str(error)) from None
    _require_session(address)
    return settings


def _require_session(address: str) -> None:
    """Refuse a database behind a pool that shares sessions. One that is away now is waited for elsewhere.

    Raises:
        BadConfigurationError: the controller would hear of no change there.
    """
    with suppress(psycopg2.Error):
        connection = psycopg2.connect(address, connect_timeout=CONNECT_TIMEOUT_SECONDS)
        try:
            connection.autocommit = True
            if is_pooled(connection, address):
                raise BadConfigurationError(POOLED)
        finally:
            connection.close()


def _variable(location: tuple[int | str, ...]) -> str:
    return f"CAI_{str(location[0]).upper()}" if location else "The settings"


async def _main(arguments: argparse.Namespace, settings: Settings) -> int:
    show_logs(as_json=settings.log_format is LogFormat.JSON)
    stop = asyncio.Event()
    _stop_on_signals(stop)
    if arguments.dry_run:
        lines = await controller_of(settings).preview()
        print("\n".join(lines) or "Nothing to do.")
        return Exit.GOOD
    start_options = StartOptions(
        WhenLed(arguments.when_led),
        arguments.once,
        arguments.allow_mass_prune,
        arguments.take_over,
        foreground=not arguments.once,
    )
    conclusion = await foreground(start_options, settings, stop)
    if conclusion.result is None:
        return Exit.GOOD if not arguments.once else Exit.NOT_SYNCED
    print("\n".join([*conclusion.result.lines, f"{conclusion.result.summary}."]))
    return Exit.GOOD if conclusion.result.ok else Exit.NOT_SYNCED


def main() -> int:
    """Entry point of `python -m flows.controller`; returns the exit code (see `Exit`)."""
    arguments = _arguments()
    try:
        return asyncio.run(_main(arguments, _settings()))
    except (BadConfigurationError, WrongInstanceError) as error:
        print(str(error), file=sys.stderr)
        return Exit.BAD_CONFIGURATION
    except ReconcileError as error:
        print(str(error), file=sys.stderr)
        return Exit.NOT_SYNCED
    except DATABASE_ERRORS as error:
        print(f"The database {told(error)}", file=sys.stderr)
        return Exit.NOT_SYNCED


if __name__ == "__main__":
    sys.exit(main())
