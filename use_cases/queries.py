"""Questions about connectors: one, many, why one isn't running, its runs, and what a schedule means.

Nothing is changed here, and nothing is known of SQL: `database` has the statements, `connectors` the judgements.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Self
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.comparisons import TableComparison
from connectors.connector import ConnectorRow, InvalidConnectorError
from connectors.destinations.places import Places, places_of
from connectors.errors import (
    ForbiddenError,
    NoSuchLoadError,
    NotFoundError,
    PrefectUnavailableError,
    ReasonRequiredError,
)
from connectors.freshness import Facts, Freshness, Promise, judge
from connectors.judging.diagnosis import Explanation, Unseen, View, explain
from connectors.limits.ids import is_id
from connectors.loads import Load, LoadRun, TableLoad, Withheld
from connectors.people import LEAST_ROLE, PLATFORM, Act, Actor, NameableSecrets, Person, Verdict, may
from connectors.refusals import Refusal
from connectors.runs import Held, PrefectRuns, Run
from connectors.schedules.cron import Schedule, ScheduleError, parse
from connectors.schedules.crowding import herd_warnings
from connectors.schedules.dates import local, next_runs
from connectors.schedules.warnings import warnings
from connectors.schedules.wording import words
from connectors.sources.fhir import FhirSource
from connectors.status import Status
from database import connectors, fleet, loads
from database.connectors import Filter
from database.control import lease
from database.store import Store
from settings import Settings

PREVIEWED_RUNS = 5

Offers = Callable[[FhirSource], Awaitable[Sequence[Refusal]]]
"""Looks at a source's server, within seconds: what is asked for and not offered; nothing where nobody knows."""


async def _nothing_is_looked_at(_: FhirSource) -> Sequence[Refusal]:
    return ()


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

    @property
    def deployment_id(self) -> UUID | None:
        """Its deployment in Prefect, as far as it is recorded."""
        recorded = self.status.deployment_id if self.status is not None else None
        return recorded or self.row.prefect_deployment_id


@dataclass(frozen=True, slots=True)
class Page:
    """Some connectors in the order of their ids; `after` is the last one's id when there are more."""

    entries: tuple[Entry, ...]
    after: int | None


@dataclass(frozen=True, slots=True)
class LoadPage:
    """Some loads of a connector, the newest first; `before` is the last one's id when there are more."""

    loads: tuple[LoadRun, ...]
    before: int | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a schedule means: in words, its next runs (aware, in its time zone), and what may surprise about it."""

    words: str
    next_runs: tuple[datetime, ...]
    warnings: tuple[str, ...]


class Queries:
    """The questions, of one database. Every method may raise what SQLAlchemy and the driver do when it is down."""

    def __init__(
        self,
        store: Store,
        runs: PrefectRuns,
        *,
        instance: str,
        places: Places | None = None,
        open_credentials: bool = True,
        follow_deployments: Sequence[str] = (),
        reason_required: bool = False,
        offers: Offers = _nothing_is_looked_at,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._engine = store.engine
        self._runs = runs
        self._instance = instance
        self._places = places
        self._open_credentials = open_credentials
        self._follow_deployments = follow_deployments
        self._offers = offers
        self._clock = clock
        self.reason_required = reason_required
        """Whether a change without a reason is refused."""
        self._person = PLATFORM

    @classmethod
    def of(
        cls, settings: Settings, engine: AsyncEngine, runs: PrefectRuns, offers: Offers = _nothing_is_looked_at
    ) -> Self:
        """The use cases of an installation, whichever door opens them."""
        return cls(
            Store(engine),
            runs,
            instance=settings.instance,
            places=places_of(settings),
            open_credentials=settings.credentials is NameableSecrets.OPEN,
            follow_deployments=settings.follow_deployments,
            reason_required=settings.reason_required,
            offers=offers,
        )

    def acting_for(self, person: Person) -> Self:
        """The same use cases, done for somebody: as far as their roles go, and in their name."""
        theirs = copy.copy(self)
        theirs._person = person
        return theirs

    async def ready(self) -> None:
        """Return when the database answers and holds the table; raise what it says otherwise."""
        await connectors.ready(self._engine)

    async def get(self, connector_id: int, act: Act = Act.READ) -> Entry:
        """One connector, for this act. Raises `NotFoundError`, and `ForbiddenError` when the role is too low for it."""
        row = await self._store.row(connector_id) if is_id(connector_id) else None
        if row is None:
            raise NotFoundError(connector_id)
        self._require(act, row)
        return (await self._entries([row]))[0]

    def _require(self, act: Act, row: ConnectorRow) -> None:
        """Return when the person may do this to the row. Raises `NotFoundError`, `ForbiddenError`."""
        verdict = may(self._person, act, row.team)
        if verdict is Verdict.HIDDEN:
            raise NotFoundError(row.id)
        if verdict is Verdict.REFUSED:
            raise ForbiddenError(too_low(act))

    def freshness(self, entry: Entry) -> Freshness:
        """Whether a connector's data is as fresh as its schedule promises."""
        return judge(entry.facts, self._clock()).freshness

    async def page(self, which: Filter, *, limit: int, after: int | None = None) -> Page:
        """The first `limit` connectors that fit, of those with an id above `after`, or of all."""
        which = replace(which, teams=self._person.teams)
        found = await connectors.facts(self._engine, which, limit=limit + 1, after=after)
        ids = [each.connector_id for each in found]
        if which.freshness is not None:
            now = self._clock()
            fitting = (each.connector_id for each in found if judge(each, now).freshness is which.freshness)
            # The dates of a new schedule take a millisecond to compute, of a fleet seconds: not in the event loop.
            ids = await asyncio.to_thread(lambda: list(islice(fitting, limit + 1)))
        shown = ids[:limit]
        entries = tuple(Entry(*each) for each in await fleet.joined(self._engine, shown))
        return Page(entries, shown[-1] if len(ids) > limit else None)

    async def teams(self) -> list[str]:
        """The teams whose connectors the person sees, as far as they have any."""
        return await connectors.teams_of(self._engine, self._person.teams)

    async def _entries(self, rows: Sequence[ConnectorRow]) -> list[Entry]:
        """What is recorded of these connectors: one query a table, however many they are."""
        ids = [row.id for row in rows]
        statuses, last = await self._store.statuses(ids), await self._store.loads(ids)
        promises = await self._store.promises(ids)
        return [Entry(row, statuses.get(row.id), last.get(row.id), promises.get(row.id)) for row in rows]

    async def explain(self, entry: Entry) -> Explanation:
        """Why it isn't running, or when it will: asks Prefect too, and says less when Prefect does not answer."""
        view: View = Unseen.NOT_ASKED
        if entry.deployment_id is not None:
            try:
                held = await self._runs.held(entry.deployment_id)
                view = Unseen.MISSING if held is None else await self._with_rows_of(held)
            except PrefectUnavailableError:
                view = Unseen.UNAVAILABLE
        led = await lease.is_led(self._engine, self._instance)
        last_words = entry.load.message if entry.load is not None else None
        return explain(entry.row, entry.status, view, entry.facts, led=led, now=self._clock(), last_words=last_words)

    async def last_runs(self, connector_id: int, limit: int) -> list[Run]:
        """The runs that were due until now, the newest first. Raises `NotFoundError`, `PrefectUnavailableError`."""
        deployment_id = (await self.get(connector_id)).deployment_id
        return [] if deployment_id is None else await self._with_rows(await self._runs.last(deployment_id, limit))

    async def progress(self, run_id: UUID) -> str:
        """What a run has told of how far it is; empty for nothing yet, or while Prefect does not answer."""
        try:
            return await self._runs.progress(run_id) or ""
        except PrefectUnavailableError:
            return ""

    async def _with_rows_of(self, held: Held) -> Held:
        ended = await self._with_rows(held.ended_runs)
        return replace(held, ended_runs=tuple(ended))

    async def _with_rows(self, runs: Sequence[Run]) -> list[Run]:
        """The same runs with the rows that they have loaded, which the load history knows."""
        rows = await loads.rows_of_runs(self._engine, [run.id for run in runs])
        return [replace(run, rows_loaded=rows.get(run.id)) for run in runs]

    async def load_history(self, connector_id: int, *, limit: int, before: int | None = None) -> LoadPage:
        """The last runs that tried to load, the newest first, of those below `before`. Raises what `get` does."""
        await self.get(connector_id)
        found = await loads.history(self._engine, connector_id, limit=limit + 1, before=before)
        shown = found[:limit]
        return LoadPage(tuple(shown), shown[-1].id if len(found) > limit else None)

    async def load_of_run(self, connector_id: int, run_id: UUID) -> tuple[LoadRun, tuple[TableLoad, ...]]:
        """What one of Prefect's runs has loaded, table by table.

        Raises:
            NoSuchLoadError: it has not begun to load, or was too long ago. And what `get` raises.
        """
        await self.get(connector_id)
        found = await loads.of_run(self._engine, connector_id, run_id)
        if found is None:
            raise NoSuchLoadError
        return found

    async def last_tables(self, connector_id: int) -> tuple[TableLoad, ...]:
        """What the last load that completed did to each table, as far as loads are kept. Raises what `get` does."""
        await self.get(connector_id)
        return await loads.last_tables(self._engine, connector_id)

    async def comparisons(self, connector_id: int) -> list[TableComparison]:
        """How its tables compared with the source when they were last compared: to those who may have it compared.

        Raises what `get` does.
        """
        await self.get(connector_id, Act.RUN)
        return await loads.comparisons_of(self._engine, connector_id)

    async def withheld(self, limit: int) -> list[tuple[Entry, Withheld]]:
        """Deletes that wait for a person, with their connectors, the longest first, as far as the person sees them."""
        found = await loads.withheld(self._engine, self._person.teams, limit=limit)
        rows = await self._store.rows(sorted({each.connector_id for each in found}))
        entries = {entry.row.id: entry for entry in await self._entries(rows)}
        return [(entries[each.connector_id], each) for each in found if each.connector_id in entries]

    async def scheduled(self) -> list[Schedule]:
        """The schedules of all active connectors that have a valid one, as far as the person sees them."""
        found = await connectors.schedules(self._engine, but=0, teams=self._person.teams)
        return await asyncio.to_thread(lambda: list(_parsed(found)))

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
            notes.insert(0, "These times are an example: the connector gets a time of its own (H) once it is saved.")
        others = await connectors.schedules(self._engine, but=connector_id or 0, teams=self._person.teams)
        # Ten thousand connectors take half a second of computing: not in the event loop.
        notes += await asyncio.to_thread(lambda: herd_warnings(schedule, _parsed(others), now))
        shown = tuple(local(run, schedule.timezone) for run in next_runs(schedule, now, PREVIEWED_RUNS))
        return Preview(words(schedule), shown, tuple(notes))


def require_reason(actor: Actor, required: bool) -> None:
    """Return when a change may be made without a reason, or has one. Raises `ReasonRequiredError`."""
    if required and actor.reason is None:
        raise ReasonRequiredError(actor.via)


def too_low(act: Act) -> str:
    """What is said to somebody whose role is too low."""
    return f"You may not {act}: that needs the role {LEAST_ROLE[act]}. Ask an admin of your team for it."


def _parsed(others: Iterable[tuple[str, str, int]]) -> Iterable[Schedule]:
    """The schedules of those connectors that have a valid one."""
    for cron, timezone, connector_id in others:
        try:
            yield parse(cron, timezone, connector_id)
        except ScheduleError:
            continue
