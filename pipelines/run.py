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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from connectors.connector import Connector, ConnectorRow, InvalidConnectorError, Overlap, RunPolicy, validate_for_load
from connectors.credentials import uses_of
from connectors.destinations import Destination
from connectors.destinations.duckdb import DuckdbDestination
from connectors.limits.ids import is_id, refusal
from connectors.refusals import from_pydantic
from connectors.sources.write_rules import normalised
from database import runs
from pipelines.access.credential_rules import rules_of
from pipelines.access.secrets import Secrets
from pipelines.connector_lock import Locks, connector_key
from pipelines.errors import ConfigurationError, Step, TimeLimitError, as_fault
from pipelines.load_history import Started, Tell, Told, count_the_dead, nobody, recorded
from pipelines.loading.other_writers import refuse_other_writers
from pipelines.loading.summary import Summary
from pipelines.missed_run import Due, reason_to_skip
from settings import Settings

InStep = Callable[[Step, RunPolicy, Callable[[], None]], None]
"""Runs a step: given its name, the connector's policy and what to do. Prefect's tasks are one, a plain call another."""

logger = logging.getLogger("prefect.pipelines")
"""Below `prefect`, so that the lines reach the flow run's page."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the one who starts a run may ask of it."""

    full_refresh: bool = False
    tables: tuple[str, ...] = ()
    row_limit: int | None = None
    backfill_from: datetime | None = None
    backfill_to: datetime | None = None
    due: Due | None = None
    """Set for a run that Prefect's scheduler made: it may have been missed."""
    newer_exists: Callable[[Due], bool] = lambda _: False
    """Asks Prefect whether a newer run of the same deployment is due, runs or has run."""
    run_id: UUID | None = None
    """Prefect's id of the run, for whoever looks at the record of the load."""
    actor: str | None = None
    """Who or what started the run; None: nobody says."""
    tell: Tell = nobody
    """Told how the load ended."""
    report: Callable[[float, str], None] = lambda _progress, _sentence: None
    """Told how far the run is, every few seconds."""

    @property
    def partial(self) -> bool:
        """Whether the run looks at a part of the source only, so that a cursor must not move."""
        return self.backfill_from is not None or self.backfill_to is not None

    @property
    def of_everything(self) -> bool:
        """Whether the run says how the connector does; one of a part, asked for by hand, does not."""
        return not (self.partial or self.tables or self.row_limit)

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked beside the connector's own settings, as JSON has it."""
        asked = {
            "full_refresh": self.full_refresh,
            "tables": list(self.tables),
            "row_limit": self.row_limit,
            "backfill_from": self.backfill_from and self.backfill_from.isoformat(),
            "backfill_to": self.backfill_to and self.backfill_to.isoformat(),
        }
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing was to be done, and why."""

    message: str
    connector_name: str | None = None


def plainly(step: Step, policy: RunPolicy, work: Callable[[], None]) -> None:
    """A step without Prefect: just done, no retry."""
    del step, policy
    work()


def without_limit(seconds: float | None) -> contextlib.AbstractContextManager[None]:
    """No limit of time."""
    del seconds
    return contextlib.nullcontext()


def run_connector(
    connector_id: int,
    options: Options,
    settings: Settings,
    in_step: InStep = plainly,
    within: Callable[[float | None], contextlib.AbstractContextManager[None]] = without_limit,
) -> Skipped | Summary:
    """Run a connector once.

    `within` limits a block to so many seconds by raising TimeoutError in it.

    Raises:
        RunError: with one sentence that holds no secret.
    """
    if not is_id(connector_id):
        raise ConfigurationError(refusal(connector_id))
    secrets = Secrets()
    with secrets.guard(), as_fault(secrets.redact, "prepare"):
        url = settings.resolved_database_url()
        secrets.hide(url)
        with Locks.open(url, secrets.redact) as locks:
            row = _turn(locks, connector_id, options)
            if isinstance(row, Skipped):
                options.tell(Told("skipped", connector_id, row.message, row.connector_name))
                return row
            # Of a part, too: a run that lives and has lost the turn must find out that it isn't alone.
            count_the_dead(locks, row, options.tell)
            found = _trusted(row)
            with contextlib.ExitStack() as stack:
                started = Started(
                    options.run_id, options.actor, settings.code_version, options.asked, options.of_everything
                )
                record = stack.enter_context(recorded(locks, row, _policy(found), started, options.tell))
                if isinstance(found, ConfigurationError):
                    raise found
                connector = found
                stack.enter_context(as_fault(secrets.redact, "prepare"))
                secrets.permit(rules_of(locks.query, row.team, settings), uses_of(row.source, row.destination))
                refuse_other_writers(locks, connector, settings, full_refresh=options.full_refresh)
                directory = stack.enter_context(working_directory(settings.data_dir / "runs" / str(connector_id)))
                run = Run(
                    connector, options=options, settings=settings, secrets=secrets, locks=locks, directory=directory
                )
                limit = connector.run_policy.timeout_seconds
                try:
                    with within(limit):
                        summary = run.go(in_step)
                except TimeoutError:
                    raise TimeLimitError(
                        f"The run took longer than run_policy.timeout_seconds ({limit:g} s) and was ended."
                    ) from None
                record.succeeded(summary)
                return summary


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


def _turn(locks: Locks, connector_id: int, options: Options) -> ConnectorRow | Skipped:
    """Wait for the run before, as the row says, unless this one isn't wanted. The row is as it stands after that."""
    row = _active_row(locks, connector_id)
    if isinstance(row, Skipped):
        return row
    found = _trusted(row)
    policy = _policy(found)
    if options.due is not None:
        schedule = found.schedule if isinstance(found, Connector) else None
        now = datetime.now(UTC)
        missed = reason_to_skip(policy.missed_runs, schedule, options.due, now, options.newer_exists)
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


class Run:
    """One run that holds its connector's lock. Not a dataclass: Prefect looks for futures inside those."""

    def __init__(
        self,
        connector: Connector,
        *,
        options: Options,
        settings: Settings,
        secrets: Secrets,
        locks: Locks,
        directory: Path,
    ) -> None:
        self.connector = connector
        self.options = options
        self.settings = settings
        self.secrets = secrets
        self.locks = locks
        self.directory = directory
        self.destination = destination_of(connector, settings)
        self.seconds: dict[str, float] = {}
        self.names = names_of_source(connector)

    def tell_of_the_file(self) -> None:
        """Said once when the run must wait for a DuckDB file."""
        logger.info("Waiting for another connector to finish with the DuckDB file.")

    def go(self, in_step: InStep) -> Summary:
        """Extract, normalise and load, each as one step that may be tried again by itself."""
        from pipelines.access import postgres_sessions  # noqa: PLC0415  # dlt costs seconds: a skipped run has none
        from pipelines.loading.pipeline import Engine  # noqa: PLC0415

        engine = Engine(self)
        policy = self.connector.run_policy
        with postgres_sessions.kept():
            in_step("extract", policy, lambda: self._do("extract", engine.extract))
            postgres_sessions.close_readers()
            in_step("normalize", policy, lambda: self._do("normalize", engine.normalize))
            in_step("load", policy, lambda: self._do("load", engine.load))
        return engine.summary().redacted(self.secrets.redact)

    def _do(self, step: Step, work: Callable[[], None]) -> None:
        started = time.monotonic()
        with as_fault(self.secrets.redact, step, lambda: self.names):
            try:
                work()
            finally:
                self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - started


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
