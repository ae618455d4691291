"""The use cases: what a person or a back end can do with connectors, whichever door they come through.

The REST API and the forms in the Prefect UI call these and nothing beneath them, so both say the same sentence. Saving
is one transaction on the table and never asks Prefect: the table's trigger wakes the controller, which does the rest.
If the process dies before the commit, nothing has happened; after it, all has.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from connectors.connector import ConnectorRow, InvalidConnectorError, validate
from connectors.destinations.places import Places, outside
from connectors.diagnosis import Explanation, View, explain
from connectors.errors import (
    ClashError,
    ConstraintError,
    NameTakenError,
    NotFoundError,
    NotRunnableError,
    PrefectUnavailableError,
    StaleError,
)
from connectors.freshness import Facts, Freshness, Promise, judge
from connectors.ids import is_id
from connectors.json_limits import unstorable
from connectors.loads import Load
from connectors.refusals import Refusal
from connectors.runs import PrefectRuns, Run
from connectors.schedules.cron import Schedule, ScheduleError, local, next_runs, parse, warnings, words
from connectors.schedules.crowding import herd_warnings
from connectors.shared_tables import clash, writer_of, writers_of
from connectors.status import Phase, Status
from database import tables
from database.errors import PASSED_BY, Trouble, because_of_others, of_rows, refusal, trouble_of
from database.store import Store

DEFAULTS: Mapping[str, Any] = {
    "description": None,
    "schedule": None,
    "timezone": "UTC",
    "is_active": True,
    "destination": None,
    "dataset_name": None,
    "run_policy": {},
    "work_pool_name": None,
    "work_queue_name": None,
}
"""What a connector has where the user says nothing; `name` and `source` have no default."""

Values = Mapping[str, Any]
"""Columns of `cai_connectors` that users own, by name, with what is to stand in them."""

Versions = Collection[str] | None
"""The versions that the caller has seen, one of which the row must still have; None when it does not care."""

PREVIEWED_RUNS = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """A connector with what the controller and its runs have recorded of it."""

    row: ConnectorRow
    status: Status | None
    load: Load | None = None
    """None: it has never run."""
    promise: Promise | None = None
    """None: the controller has not judged it yet."""

    @property
    def facts(self) -> Facts:
        """What its freshness is judged by."""
        row, phase = self.row, self.status.phase if self.status else None
        return Facts(row.id, row.schedule, row.timezone, row.is_active, phase).recorded(self.load, self.promise)


@dataclass(frozen=True, slots=True)
class Page:
    """Some connectors in the order of their ids; `after` is the last one's id when there are more."""

    entries: tuple[Entry, ...]
    after: int | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which connectors are listed. `text` is looked for in name and description, in either case."""

    is_active: bool | None = None
    phase: Phase | None = None
    freshness: Freshness | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a schedule means: in words, its next runs (aware, in its time zone), and what may surprise about it."""

    words: str
    next_runs: tuple[datetime, ...]
    warnings: tuple[str, ...]


class Service:
    """The use cases on one database. Every method may raise what SQLAlchemy and the driver do when it is down."""

    def __init__(
        self,
        store: Store,
        runs: PrefectRuns,
        *,
        instance: str,
        places: Places | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._engine = store.engine
        self._runs = runs
        self._instance = instance
        self._places = places
        self._clock = clock

    # --- reading -----------------------------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Return when the database answers and holds the table; raise what it says otherwise."""
        async with self._engine.connect() as connection:
            await connection.execute(sa.select(tables.connectors.c.id).limit(1))

    async def get(self, connector_id: int) -> Entry:
        """One connector. Raises `NotFoundError`."""
        row = await self._store.row(connector_id) if is_id(connector_id) else None
        if row is None:
            raise NotFoundError(connector_id)
        return (await self._entries([row]))[0]

    def freshness(self, entry: Entry) -> Freshness:
        """Whether a connector's data is as fresh as its schedule promises."""
        return judge(entry.facts, self._clock()).freshness

    async def page(self, which: Filter, *, limit: int, after: int | None = None) -> Page:
        """The first `limit` connectors that fit, of those with an id above `after`, or of all."""
        connectors = tables.connectors
        query = _FACTS if after is None else _FACTS.where(connectors.c.id > after)
        if which.is_active is not None:
            query = query.where(connectors.c.is_active.is_(which.is_active))
        if which.phase is not None:
            query = query.where(sa.func.coalesce(tables.status.c.phase, Phase.PENDING.value) == which.phase.value)
        if which.text:
            columns = (connectors.c.name, connectors.c.description)
            query = query.where(sa.or_(*(column.icontains(which.text, autoescape=True) for column in columns)))
        query = query.limit(limit + 1) if which.freshness is None else query.where(_MAY_BE[which.freshness])
        async with self._engine.connect() as connection:
            found = [_facts(each) for each in (await connection.execute(query)).mappings()]
        now = self._clock()
        fitting = (each.connector_id for each in found if which.freshness in {None, judge(each, now).freshness})
        # The dates of a schedule that is new take a millisecond to compute, of a fleet seconds: not in the event loop.
        ids = await asyncio.to_thread(lambda: list(islice(fitting, limit + 1)))
        shown = ids[:limit]
        entries = await self._entries(await self._store.rows(shown))
        return Page(tuple(entries), shown[-1] if len(ids) > limit else None)

    async def _entries(self, rows: Sequence[ConnectorRow]) -> list[Entry]:
        """What is recorded of these connectors: one query a table, however many they are."""
        ids = [row.id for row in rows]
        statuses, loads = await self._store.statuses(ids), await self._store.loads(ids)
        promises = await self._store.promises(ids)
        return [Entry(row, statuses.get(row.id), loads.get(row.id), promises.get(row.id)) for row in rows]

    async def explain(self, entry: Entry) -> Explanation:
        """Why it isn't running, or when it will: asks Prefect too, and says less when Prefect does not answer."""
        deployment_id = _deployment_id(entry)
        view: View = "not asked"
        if deployment_id is not None:
            try:
                view = await self._runs.held(deployment_id) or "missing"
            except PrefectUnavailableError:
                view = "unavailable"
        lease = tables.lease
        held = sa.select(sa.exists().where(lease.c.name == self._instance, lease.c.expires_at > sa.func.now()))
        async with self._engine.connect() as connection:
            led = bool(await connection.scalar(held))
        last_words = entry.load.message if entry.load is not None else None
        return explain(entry.row, entry.status, view, entry.facts, led=led, now=self._clock(), last_words=last_words)

    async def last_runs(self, connector_id: int, limit: int) -> list[Run]:
        """The runs that were due until now, the newest first. Raises `NotFoundError`, `PrefectUnavailableError`."""
        deployment_id = _deployment_id(await self.get(connector_id))
        return [] if deployment_id is None else await self._runs.last(deployment_id, limit)

    async def preview(self, cron: str, timezone: str, connector_id: int | None = None) -> Preview:
        """What a schedule means, without saving anything. `connector_id` resolves an `H` as that connector's.

        Raises:
            InvalidConnectorError: with the pointer `/schedule` or `/timezone`.
        """
        try:
            schedule = parse(cron, timezone, connector_id or 0)
        except ScheduleError as error:
            raise InvalidConnectorError((Refusal(f"/{error.field}", str(error)),)) from None
        now = self._clock()
        notes = warnings(schedule, now)
        if connector_id is None and schedule.cron != cron.strip() and not cron.strip().startswith("@"):
            notes.insert(0, "H stands for a time of the connector's own, known once it is saved: this is an example.")
        connectors = tables.connectors
        query = sa.select(connectors.c.schedule, connectors.c.timezone, connectors.c.id).where(
            connectors.c.is_active, connectors.c.schedule.is_not(None), connectors.c.id != (connector_id or 0)
        )
        async with self._engine.connect() as connection:
            others = (await connection.execute(query)).all()
        # Ten thousand connectors take half a second of computing: not in the event loop.
        notes += await asyncio.to_thread(lambda: herd_warnings(schedule, _parsed(others), now))
        shown = tuple(local(run, schedule.timezone) for run in next_runs(schedule, now, PREVIEWED_RUNS))
        return Preview(words(schedule), shown, tuple(notes))

    # --- writing -----------------------------------------------------------------------------------------------------

    async def create(self, values: Values) -> Entry:
        """Save a new connector. Raises `InvalidConnectorError`, `NameTakenError`."""
        complete = _complete(values)
        self._judge(complete, connector_id=0)  # whether an `H` is valid does not depend on the id that there is to be
        async with self._refusals(complete["name"], None), self._engine.begin() as connection:
            statement = sa.insert(tables.connectors).values(**complete).returning(*_COLUMNS)
            row = _kept((await connection.execute(statement)).mappings().first())
            await self._refuse_shared(connection, row)
        return Entry(row, None)

    async def update(self, connector_id: int, values: Values, seen: Versions = None) -> Entry:
        """Change the given columns and leave the rest as it is.

        Deactivating alone is not refused, whatever else is wrong with the row: to stop must always be possible.

        Raises:
            NotFoundError, StaleError, InvalidConnectorError, NameTakenError: and nothing has changed.
        """
        changes = _stripped(values)
        async with self._refusals(changes.get("name"), connector_id), self._engine.begin() as connection:
            row = await _lock(connection, connector_id, seen)
            judged = changes != {"is_active": False}
            if judged:
                self._judge({**_user_values(row), **changes}, connector_id)
            row = await _write(connection, row, changes)
            if judged:
                await self._refuse_shared(connection, row)
        return (await self._entries([row]))[0]

    async def replace(self, connector_id: int, values: Values, seen: Versions = None) -> Entry:
        """Change everything: what is not given gets its default. Raises what `update` does."""
        return await self.update(connector_id, _complete(values), seen)

    async def set_active(self, connector_id: int, is_active: bool, seen: Versions = None) -> Entry:
        """Activate or deactivate. Where the row already says so, the controller looks at once what Prefect says.

        Raises:
            NotFoundError, StaleError: and, when activating, InvalidConnectorError.
        """
        entry = await self.get(connector_id)
        already = entry.row.is_active is is_active
        entry = await self.update(connector_id, {"is_active": is_active}, seen)
        if already:
            if is_active:
                await self._forgive(connector_id)
            await self._hint(connector_id)
        return entry

    async def _forgive(self, connector_id: int) -> None:
        """Undo an auto-pause: what failed until now counts no more."""
        loads = tables.loads
        forgiven = sa.update(loads).where(loads.c.connector_id == connector_id).values(configuration_failures=0)
        async with self._engine.begin() as connection:
            await connection.execute(forgiven)

    async def delete(self, connector_id: int, seen: Versions = None) -> None:
        """Remove the row; the controller then removes the deployment. Raises `NotFoundError`, `StaleError`."""
        async with self._refusals(None, connector_id), self._engine.begin() as connection:
            await _lock(connection, connector_id, seen)
            gone = sa.delete(tables.connectors).where(tables.connectors.c.id == connector_id)
            _kept((await connection.execute(gone.returning(*_COLUMNS))).mappings().first())

    async def retry(self, connector_id: int) -> Entry:
        """Have the controller reconcile a connector now instead of at its next try. Raises `NotFoundError`."""
        entry = await self.get(connector_id)
        await self._hint(connector_id)
        return entry

    async def run(self, connector_id: int, key: str | None = None) -> Run:
        """Start a run now; with a `key` one run, however often it is sent.

        Raises:
            NotFoundError, PrefectUnavailableError: and
            NotRunnableError: it is deactivated or invalid, or Prefect does not hold its deployment (yet).
        """
        entry = await self.get(connector_id)
        if not entry.row.is_active:
            raise NotRunnableError("The connector is deactivated, and a run would load nothing: activate it first.")
        try:
            validate(entry.row)
        except InvalidConnectorError as error:
            raise NotRunnableError(f"The connector is not valid, and a run would fail: {error}") from None
        deployment_id = _deployment_id(entry)
        run = None if deployment_id is None else await self._runs.start(deployment_id, key)
        if run is None:
            await self._hint(connector_id)
            raise NotRunnableError(
                "Prefect does not hold the connector's deployment yet: the controller makes it in a moment; "
                "the connector's status says what it waits for."
            )
        return run

    async def _hint(self, connector_id: int) -> None:
        """Wake the controller for one connector. A lost hint costs nothing but its next audit or try."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_notify(tables.CHANNEL, str(connector_id))))

    def _judge(self, values: Values, connector_id: int) -> None:
        """Refuse what may not be saved. Raises `InvalidConnectorError`."""
        refusals = [refusal for name in _USER_COLUMNS for refusal in unstorable(values[name], name)]
        if refusals:
            raise InvalidConnectorError(tuple(refusals))
        connector = validate(ConnectorRow(id=connector_id, prefect_deployment_id=None, generation=1, **values))
        if self._places is not None and connector.destination is not None:
            sentence = outside(connector.destination, self._places)
            if sentence:
                raise InvalidConnectorError((Refusal(f"/{sentence.partition(' ')[0].replace('.', '/')}", sentence),))

    async def _refuse_shared(self, connection: AsyncConnection, row: ConnectorRow) -> None:
        """Refuse a connector that would write another one's tables. Raises `InvalidConnectorError`.

        Two that are saved in the same moment don't see each other: the run looks again.
        """
        mine = None if self._places is None else writer_of(validate(row), self._places)
        if mine is None or self._places is None:
            return
        connectors = tables.connectors
        dataset = sa.func.coalesce(connectors.c.dataset_name, sa.func.concat("connector_", connectors.c.id))
        query = sa.select(*_COLUMNS).where(dataset == mine.dataset, connectors.c.id != row.id)
        found = [ConnectorRow(**other) for other in (await connection.execute(query)).mappings()]
        refusal = clash(mine, writers_of(found, self._places))
        if refusal is not None:
            raise InvalidConnectorError((refusal,))

    @asynccontextmanager
    async def _refusals(self, name: str | None, own_id: int | None) -> AsyncIterator[None]:
        """Turn what the table's constraints and triggers refuse into a sentence: a back end may have some of its own.

        Raises:
            NameTakenError: another connector has `name`.
            ConstraintError: any other constraint is broken, or a trigger raises.
        """
        try:
            yield
        except DBAPIError as error:
            if not of_rows(error) or trouble_of(error) is Trouble.LOCKED:
                raise
            if name is not None and trouble_of(error) is Trouble.CONSTRAINT and await self._taken(name, own_id):
                raise NameTakenError from error
            kind = ClashError if because_of_others(error) else ConstraintError
            raise kind(refusal(error)) from error

    async def _taken(self, name: str, own_id: int | None) -> bool:
        connectors = tables.connectors
        taken = sa.exists().where(connectors.c.name == name, connectors.c.id != (own_id or 0))
        async with self._engine.connect() as connection:
            return bool(await connection.scalar(sa.select(taken)))


_FACTS = (
    sa.select(
        tables.connectors.c.id.label("connector_id"),
        tables.connectors.c.schedule,
        tables.connectors.c.timezone,
        tables.connectors.c.is_active,
        tables.status.c.phase,
        sa.func.coalesce(tables.loads.c.failures, 0).label("failures"),
        tables.loads.c.last_success_at,
        tables.freshness.c.promised_at,
    )
    .outerjoin(tables.status, tables.status.c.connector_id == tables.connectors.c.id)
    .outerjoin(tables.loads, tables.loads.c.connector_id == tables.connectors.c.id)
    .outerjoin(tables.freshness, tables.freshness.c.connector_id == tables.connectors.c.id)
    .order_by(tables.connectors.c.id)
)
"""What connectors are judged by, in the order of their ids."""

_RUNS = sa.and_(tables.connectors.c.is_active, tables.connectors.c.schedule.is_not(None))
_MAY_BE: Mapping[Freshness, sa.ColumnElement[bool]] = {
    Freshness.INVALID: tables.connectors.c.is_active,
    Freshness.PAUSED: sa.or_(~tables.connectors.c.is_active, tables.status.c.phase == Phase.PAUSED.value),
    Freshness.FAILING: tables.loads.c.failures > 0,
    Freshness.OVERDUE: _RUNS,
    Freshness.LATE: _RUNS,
    Freshness.MANUAL: tables.connectors.c.schedule.is_(None),
    Freshness.ON_TIME: _RUNS,
}
"""What SQL knows of each judgement, so that fewer are left to judge; it does not know the dates of a schedule."""


def _facts(found: sa.RowMapping) -> Facts:
    return Facts(**{**found, "phase": None if found["phase"] is None else Phase(found["phase"])})


_COLUMNS: list[sa.ColumnElement[Any]] = [
    *(tables.connectors.c[field.name] for field in fields(ConnectorRow) if field.name in tables.connectors.c),
    tables.content,
    tables.stamped,
]
_USER_COLUMNS = ("name", "source", *DEFAULTS)


def _user_values(row: ConnectorRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _USER_COLUMNS}


def _complete(values: Values) -> dict[str, Any]:
    """`values` with the defaults for what is not given."""
    return {"name": "", "source": None, **DEFAULTS, **_stripped(values)}


def _stripped(values: Values) -> dict[str, Any]:
    """`values` without the blanks around the name: two connectors that look the same must not be two."""
    changes = dict(values)
    if "name" in changes:
        changes["name"] = changes["name"].strip()
    return changes


async def _lock(connection: AsyncConnection, connector_id: int, seen: Versions) -> ConnectorRow:
    """The row, kept for this transaction: whoever else would change it waits, and then sees what we wrote."""
    if not is_id(connector_id):
        raise NotFoundError(connector_id)
    query = sa.select(*_COLUMNS).where(tables.connectors.c.id == connector_id).with_for_update()
    found = (await connection.execute(query)).mappings().one_or_none()
    if found is None:
        raise NotFoundError(connector_id)
    row = ConnectorRow(**found)
    if seen is not None and row.version not in seen:
        raise StaleError(row.generation)
    return row


async def _write(connection: AsyncConnection, row: ConnectorRow, changes: Values) -> ConnectorRow:
    if not changes:
        return row
    connectors = tables.connectors
    statement = sa.update(connectors).where(connectors.c.id == row.id).values(**changes).returning(*_COLUMNS)
    return _kept((await connection.execute(statement)).mappings().first())


def _kept(found: sa.RowMapping | None) -> ConnectorRow:
    """The row that a statement wrote, or deleted. Raises `ConstraintError` when a trigger has let it pass by."""
    if found is None:
        raise ConstraintError(PASSED_BY)
    return ConnectorRow(**found)


def _deployment_id(entry: Entry) -> UUID | None:
    recorded = entry.status.deployment_id if entry.status is not None else None
    return recorded or entry.row.prefect_deployment_id


def _parsed(rows: Iterable[Any]) -> Iterable[Schedule]:
    """The schedules of those rows that have a valid one."""
    for cron, timezone, connector_id in rows:
        try:
            yield parse(cron, timezone, connector_id)
        except ScheduleError:
            continue
