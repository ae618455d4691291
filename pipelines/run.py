"""One run of one connector: read the row, extract, normalise, load, say what landed.

The order is what makes it exact: the connector's lock first, then whatever a run before left half done is removed, and
only then is anything read. Each run has a working directory of its own, so nothing of a dead run is ever picked up from
a disk; what counts is the state that dlt keeps in the destination.
"""

import contextlib
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from connectors.connector import Connector, ConnectorRow, InvalidConnectorError, Overlap, RunPolicy, validate_for_load
from connectors.credentials import uses_of
from connectors.destinations import Destination
from connectors.destinations.duckdb import DuckdbDestination
from connectors.limits.ids import is_id, refusal
from connectors.refusals import from_pydantic
from connectors.runs import Options
from connectors.sources.checks import checks_of
from connectors.sources.fhir import FhirSource
from connectors.sources.write_rules import normalised
from database import runs
from pipelines.access import tunnels
from pipelines.access.credential_rules import rules_of
from pipelines.access.secrets import Secrets
from pipelines.access.source_limits import waits_for_source
from pipelines.connector_lock import Locks, connector_key
from pipelines.error_causes.classification import as_fault
from pipelines.errors import ConfigurationError, Step, TimeLimitError
from pipelines.host import Listeners, PlainHost, RunHost
from pipelines.load_history import Started, Told, count_the_dead, recorded
from pipelines.loading.job import Job
from pipelines.loading.other_writers import refuse_other_writers
from pipelines.loading.summary import Summary
from pipelines.missed_run import reason_to_skip
from pipelines.protection.stored import profile_of
from pipelines.sources.exports import asked_before
from pipelines.sources.left_exports import end_left_export
from settings import Settings

logger = logging.getLogger("prefect.pipelines")
"""Below `prefect`, so that the lines reach the flow run's page."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing was to be done, and why."""

    message: str
    connector_name: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing was loaded, for the source has not made the rows, or can't be asked yet. Another run looks at that
    moment (aware)."""

    message: str
    at: datetime
    key: str
    """Names that look: it is asked for once."""


def run_connector(
    connector_id: int,
    options: Options,
    settings: Settings,
    host: RunHost | None = None,
    listeners: Listeners | None = None,
) -> Skipped | Waiting | Summary:
    """Run a connector once; without a host, in a plain process, and without listeners telling nobody.

    Raises:
        RunError: with one sentence that holds no secret.
    """
    if not is_id(connector_id):
        raise ConfigurationError(refusal(connector_id))
    host, listeners = host or PlainHost(), listeners or Listeners()
    secrets = Secrets()
    with secrets.guard(), as_fault(secrets.redact, Step.PREPARE):
        url = settings.resolved_database_url()
        secrets.hide(url)
        with Locks.open(url, secrets.redact) as locks:
            row = _turn(locks, connector_id, host)
            if isinstance(row, Skipped):
                listeners.tell(Told("skipped", connector_id, row.message, row.connector_name))
                return row
            # Of a part, too: a run that lives and has lost the turn must find out that it isn't alone.
            count_the_dead(locks, row, listeners.tell)
            found = _trusted(row)
            options = _asked(locks, found, options)
            with contextlib.ExitStack() as stack:
                afterwards = stack.enter_context(contextlib.ExitStack())
                started = _started(host, settings, options)
                record = stack.enter_context(recorded(locks, row, _policy(found), started, listeners.tell))
                if record.sees_left_export:
                    afterwards.callback(end_left_export, locks.query, settings)
                if isinstance(found, ConfigurationError):
                    raise found
                stack.enter_context(as_fault(secrets.redact, Step.PREPARE))
                secrets.permit(rules_of(locks.query, row.team, settings), uses_of(row.source, row.destination))
                refuse_other_writers(locks, found, settings, full_refresh=options.full_refresh)
                directory = stack.enter_context(working_directory(settings.data_dir / "runs" / str(connector_id)))
                given = (destination_of(found, settings), options, settings, secrets, locks, directory)
                job = Job(
                    found,
                    *given,
                    report=listeners.report,
                    names=names_of_source(found),
                    profile=profile_of(locks.query, found.source, row.team),
                    load_id=record.load_id,
                    helped=host.helped,
                )
                outcome = _when_it_may(job, row, host, limited=record.sees_limits)
                if isinstance(outcome, Waiting):
                    host.come_again(outcome.at, outcome.key, options)
                    record.waiting(outcome.message)
                else:
                    outcome = record.noted(outcome)
                    record.succeeded(outcome)
                return outcome


def _started(host: RunHost, settings: Settings, options: Options) -> Started:
    """What is noted of the run."""
    about = (host.run_id, host.actor, settings.code_version, options.asked)
    return Started(*about, traced=settings.openlineage_url is not None, is_whole=options.of_everything)


def _asked(locks: Locks, found: Connector | ConfigurationError, options: Options) -> Options:
    """What the run is asked for: of an export that is under way, what it was begun for."""
    if isinstance(found, Connector) and isinstance(found.source, FhirSource) and found.source.exports:
        before = asked_before(locks.query, found.id, options)
        return replace(before, ignore_quiet_hours=options.ignore_quiet_hours)
    return options


def _when_it_may(job: Job, row: ConnectorRow, host: RunHost, *, limited: bool) -> Waiting | Summary:
    """Load, unless the source may not be asked yet."""
    wait = waits_for_source(job.locks, row, job.connector, job.options, job.secrets, limited=limited)
    return _in_time(job, host) if wait is None else Waiting(wait.message, wait.at, wait.key)


def _in_time(job: Job, host: RunHost) -> Waiting | Summary:
    limit = job.connector.run_policy.timeout_seconds
    try:
        with host.within(limit):
            return load(job, host)
    except TimeoutError:
        raise TimeLimitError(
            f"The run took longer than run_policy.timeout_seconds ({limit:g} s) and was ended."
        ) from None


def _active_row(locks: Locks, connector_id: int) -> ConnectorRow | Skipped:
    """The connector's row as it stands now, unless it asks for no load."""
    row = runs.connector(locks.query, connector_id)
    if row is None:
        return Skipped(f"Connector {connector_id} was deleted: nothing was loaded.")
    if not row.is_active:
        message = f"Connector {connector_id} is deactivated, so nothing was loaded: activate it first."
        return Skipped(message, row.name)
    return row


def _trusted(row: ConnectorRow) -> Connector | ConfigurationError:
    """What can be loaded, or why not: that is raised where it is recorded."""
    try:
        return validate_for_load(row)
    except InvalidConnectorError as error:
        return ConfigurationError(str(error))


def _policy(found: Connector | ConfigurationError) -> RunPolicy:
    return found.run_policy if isinstance(found, Connector) else RunPolicy()


def _turn(locks: Locks, connector_id: int, host: RunHost) -> ConnectorRow | Skipped:
    """Wait for the run before, as the row says, unless this one isn't wanted. The row is as it stands after that."""
    row = _active_row(locks, connector_id)
    if isinstance(row, Skipped):
        return row
    found = _trusted(row)
    policy = _policy(found)
    if host.due is not None:
        schedule = found.schedule if isinstance(found, Connector) else None
        now = datetime.now(UTC)
        missed = reason_to_skip(policy.missed_runs, schedule, host.due, now, host.newer_run_exists)
        if missed is not None:
            return Skipped(missed, row.name)
    key = connector_key(connector_id)
    if policy.overlap is not Overlap.SKIP:
        locks.wait(key, lambda: logger.info("Waiting for the run before this one of connector %s.", connector_id))
    elif not locks.take(key):
        message = f"Another run of connector {connector_id} is still going, and its overlap is 'skip'."
        return Skipped(message, row.name)
    # It may have waited for hours: what counts is what the row asks for now.
    return _active_row(locks, connector_id)


@contextlib.contextmanager
def working_directory(parent: Path) -> Iterator[Path]:
    """A directory of this run alone. Needs the connector's lock: what dead runs of it left is removed first.

    A run that lost its lock removes only its own at its end: the others are those of the run that took over.
    """
    shutil.rmtree(parent, ignore_errors=True)
    directory = parent / uuid.uuid4().hex
    directory.mkdir(parents=True, mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            parent.rmdir()


def load(job: Job, host: RunHost) -> Waiting | Summary:
    """Extract, normalise and load, each as one step that may be tried again by itself."""
    from pipelines.access import postgres_sessions  # noqa: PLC0415  # dlt costs seconds: a skipped run has none
    from pipelines.loading.comparing.sweeping import wants_sweep  # noqa: PLC0415
    from pipelines.loading.measures.table_loads import columns_of  # noqa: PLC0415
    from pipelines.loading.pipeline import LoadPipeline  # noqa: PLC0415

    seconds: dict[str, float] = {}
    pipeline = LoadPipeline(job, seconds)

    def do(step: Step, work: Callable[[], None]) -> None:
        started = time.monotonic()
        with as_fault(job.secrets.redact, step, lambda: job.names):
            try:
                work()
            finally:
                seconds[step.value] = seconds.get(step.value, 0.0) + time.monotonic() - started

    policy = job.connector.run_policy
    with tunnels.kept(), postgres_sessions.kept(), contextlib.closing(pipeline):
        if job.options.reconcile is not None:
            wanted = job.options.reconcile
            host.in_step(Step.VERIFY, policy, lambda: do(Step.VERIFY, lambda: pipeline.verify(wanted)))
            return pipeline.comparison().redacted(job.secrets.redact)
        host.in_step(Step.EXTRACT, policy, lambda: do(Step.EXTRACT, pipeline.extract))
        if (waits := pipeline.waits) is not None:
            return Waiting(job.secrets.redact(str(waits)), waits.at, waits.key)
        postgres_sessions.close_readers()
        if checks_of(job.connector.source):
            host.in_step(Step.CHECK, policy, lambda: do(Step.CHECK, pipeline.check))
        host.in_step(Step.NORMALIZE, policy, lambda: do(Step.NORMALIZE, pipeline.normalize))
        host.in_step(Step.LOAD, policy, lambda: do(Step.LOAD, pipeline.load))
        if job.connector.source.histories():
            host.in_step(Step.HISTORY, policy, lambda: do(Step.HISTORY, pipeline.follow))
        if wants_sweep(job.connector, job.options):
            host.in_step(Step.SWEEP, policy, lambda: do(Step.SWEEP, pipeline.sweep))
        verify = job.connector.source.verify
        if verify is not None and not (job.options.partial or job.options.row_limit):
            host.in_step(Step.VERIFY, policy, lambda: do(Step.VERIFY, lambda: pipeline.verify(verify)))
        pipeline.finish()
    summary = pipeline.summary()
    if job.settings.openlineage_url is not None:
        summary = replace(summary, columns=columns_of(pipeline.pipeline.default_schema, summary.rows))
    return summary.redacted(job.secrets.redact)


def names_of_source(connector: Connector) -> set[str]:
    """The names of tables and columns in a connector's source: those that a sentence about an error may show."""
    found: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, str):
            found.add(value)
            found.add(normalised(value))
        elif isinstance(value, dict):
            for key, item in value.items():
                if key in NAMING:
                    look(item)
        elif isinstance(value, list | tuple):
            for item in value:
                look(item)

    look(connector.source.model_dump(mode="json"))
    return found


NAMING = {
    "tables", "resources", "resource_types", "content", "forms", "name", "table", "columns", "primary_key",
    "cursor_column", "cursor_path", "mask", "types",
}  # fmt: skip
"""The keys of a source under which tables and columns are named."""


def destination_of(connector: Connector, settings: Settings) -> Destination:
    """The connector's destination, or the platform's.

    Raises:
        ConfigurationError: when CAI_DEFAULT_DESTINATION is wrong, or can't hold this connector's dataset.
    """
    if connector.destination is not None:
        return connector.destination
    adapter: TypeAdapter[Destination] = TypeAdapter(Destination)
    try:
        destination = adapter.validate_python(settings.destination)
    except ValidationError as error:
        sentence = from_pydantic(error, "CAI_DEFAULT_DESTINATION")[0].message
        raise ConfigurationError(sentence) from None
    if isinstance(destination, DuckdbDestination) and (clash := destination.clash(connector.dataset)):
        raise ConfigurationError(clash)
    return destination
