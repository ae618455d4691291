"""Helping: a run that copies parts of another run's load, at the moment of that one (`loading.streaming`).

It takes what nobody has, part by part, and ends when there is none left. It looks after the load while it copies: one
that has ended, was cancelled or died needs no help, and a helper that wrote on would hold its tables. It reads the
connector's row anew and goes by the same rules for secrets, hosts and limits as any run; a row that has changed since
the load began is not helped.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg2  # type: ignore[import-untyped]

from connectors.connector import Connector, ConnectorRow, InvalidConnectorError, validate_for_load
from connectors.credentials import uses_of
from connectors.destinations.postgres import PostgresDestination
from connectors.sources.sql_database import SqlDatabaseSource
from database import runs
from database.control import load_parts
from pipelines.access import tunnels
from pipelines.access.credential_rules import rules_of
from pipelines.access.denied_hosts import DeniedHosts
from pipelines.access.postgres_cancelling import cancel
from pipelines.access.secrets import Secrets
from pipelines.access.source_limits import has_place
from pipelines.connector_lock import Locks, connector_key
from pipelines.error_causes.classification import as_fault
from pipelines.errors import RunError, Step
from pipelines.loading.destinations import address_of
from pipelines.loading.streaming.parts import Part, copy_part
from pipelines.loading.streaming.pump import SourceError
from pipelines.loading.streaming.splitting import part_key
from pipelines.run import destination_of
from pipelines.sources import Context
from pipelines.sources.sql import postgres_reader
from pipelines.sources.sql.reaching import reached
from pipelines.sources.sql.streams.snapshot import Snapshot
from settings import Settings

logger = logging.getLogger("prefect.pipelines")

LOOK_SECONDS = 2.0
"""Between two looks at whether the load goes on."""

OVER = "The load has ended: there is nothing to help with."
NO_PLACE = "The source takes no more loads at once, so the load goes on without this run."


@dataclass(frozen=True, slots=True)
class _Helped:
    """The load that is helped."""

    locks: Locks
    load_id: int
    connector: Connector
    run_id: str | None

    @property
    def goes_on(self) -> bool:
        """Whether it does."""
        return load_parts.goes_on(self.locks.query, self.load_id, connector_key(self.connector.id))


@dataclass(frozen=True, slots=True)
class _Between:
    """The databases between which parts are copied: addresses with logins, and a session where they go."""

    here: str = field(repr=False)
    there: str = field(repr=False)
    writing: Any


def help_load(load_id: int, settings: Settings, run_id: str | None = None) -> str:
    """Copy parts of a load for as long as there are some that nobody has; says what was done, in a sentence.

    Raises:
        RunError: with one sentence that holds no secret.
    """
    secrets = Secrets()
    with secrets.guard(), tunnels.kept(), as_fault(secrets.redact, Step.LOAD):
        url = settings.resolved_database_url()
        secrets.hide(url)
        with Locks.open(url, secrets.redact) as locks:
            row = _row(locks, load_id)
            found = None if row is None else _trusted(row)
            if row is None or found is None:
                return OVER
            secrets.permit(rules_of(locks.query, row.team, settings), uses_of(row.source, row.destination))
            if not has_place(locks, row, found, secrets):
                return NO_PLACE
            return _help(_Helped(locks, load_id, found, run_id), settings, secrets)


def _row(locks: Locks, load_id: int) -> ConnectorRow | None:
    """The connector's row, if it is the one that the load goes by."""
    load = load_parts.load_of(locks.query, load_id)
    row = None if load is None else runs.connector(locks.query, load[0])
    return row if row is not None and load is not None and row.generation == load[1] else None


def _trusted(row: ConnectorRow) -> Connector | None:
    try:
        return validate_for_load(row)
    except InvalidConnectorError:
        return None


def _help(helped: _Helped, settings: Settings, secrets: Secrets) -> str:
    source, destination = helped.connector.source, destination_of(helped.connector, settings)
    if not isinstance(source, SqlDatabaseSource) or not isinstance(destination, PostgresDestination):
        return OVER
    engine = reached(source, Context.of(settings, secrets))
    # As for the load itself: where operations have the platform's own destination is their matter.
    denied = DeniedHosts() if helped.connector.destination is None else DeniedHosts.of(settings)
    there = address_of(destination, secrets, settings.data_dir, denied)
    here = postgres_reader.address(engine.url)
    with contextlib.closing(psycopg2.connect(there, client_encoding="UTF8")) as writing:
        count = rows = 0
        between = _Between(here, there, writing)
        while (copied := _next(helped, between)) is not None:
            count, rows = count + 1, rows + copied
    return f"Copied {count} parts with {rows:,} rows." if helped.goes_on else OVER


def _next(helped: _Helped, between: _Between) -> int | None:
    """Copy a part that nobody has; None: there is none, or the load has ended."""
    query, load_id = helped.locks.query, helped.load_id
    for part in load_parts.open_parts(query, load_id) if helped.goes_on else ():
        with helped.locks.trying(part_key(load_id, part)) as ours:
            if ours and load_parts.is_open(query, load_id, part):
                rows, size = _copied(helped, Part.of(part.number, part.how), between)
                load_parts.is_in(query, load_id, part, rows=rows, size=size, run_id=helped.run_id)
                return rows
    return None


def _copied(helped: _Helped, part: Part, between: _Between) -> tuple[int, int]:
    snapshot, writing = Snapshot(part.shared), between.writing
    snapshot.address = between.here

    def stop() -> None:
        snapshot.cancel()
        cancel(writing, between.there)

    with contextlib.closing(snapshot), _watched(helped, stop):
        try:
            with snapshot.held(), writing, writing.cursor() as cursor:
                return copy_part(part, snapshot, cursor)
        except SourceError as error:
            raise error.__cause__ or error from None


@contextlib.contextmanager
def _watched(helped: _Helped, stop: Callable[[], None]) -> Iterator[None]:
    """While this lasts, look whether the load goes on, and stop what is under way when it does not."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            with contextlib.suppress(RunError):  # what can't be asked is not over; nor does the copying harm anything
                if not helped.goes_on:
                    stop()

    thread = threading.Thread(target=look, name="load goes on", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
