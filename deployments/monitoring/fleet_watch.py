"""Watch over the fleet: judges freshness, sends an event of what is new, and shows operations all connectors.

Apart from the cycles, on a slow timer of its own, so that no cycle waits for it and a quiet one stays its one query.
A schedule's finest step is a minute, so judging more often than that would find nothing; each look is one query of the
connectors' tables and one that forgets what nobody waits for, and calls Prefect only when there is something to send
or to show. Whatever happens here, the controller goes on.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from connectors.freshness import Judgement
from connectors.judging.standing import Standing
from connectors.telling.notices import News as Told
from database.connection.engine import DATABASE_ERRORS, Fence
from database.control import notices, probes
from database.store import Store
from deployments.monitoring import heartbeat
from deployments.monitoring.fleet_pages import Entry, entry, fleet, page
from deployments.monitoring.lateness import News, Turn, turn
from deployments.monitoring.silence_recovery import SilenceRecovery
from prefect_api.artifacts import Artifact, Artifacts
from prefect_api.calls import Observe, PrefectCalls
from prefect_api.client import open_client
from prefect_api.errors import ReconcileError, TerminalError
from prefect_api.event_feed import CALL_SECONDS, Events
from prefect_api.names import ALERT, FLEET_KEY, Alert, page_key
from settings import Settings

logger = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
FIRST_LOOK_SECONDS = 10.0
"""The first cycle goes first."""

GRACE = timedelta(seconds=180)
"""How long Prefect has to be back, or the controller to lead, before lateness is sent: until then many are late at
once, for one reason that operations know of, and most of them load meanwhile."""

SENT_SECONDS = 15.0
"""How long a look waits for its events to be taken by Prefect."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was last made of one connector, to be made anew only when it differs."""

    standing: Standing
    judgement: Judgement
    entry: Entry
    page: Artifact


class Watch:
    """One leader's watch."""

    def __init__(
        self,
        *,
        store: Store,
        fence: Fence,
        events: Events,
        artifacts: Artifacts,
        silence_recovery: SilenceRecovery,
        tag: str,
        whom: notices.Whom,
        silent_after: timedelta,
        audit_every: timedelta,
        in_touch: Callable[[], bool],
        judged: Callable[[Collection[Judgement]], None],
        grace: timedelta = GRACE,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`in_touch` says whether Prefect is there, and ours; `judged` takes every look's judgements.

        Every `silent_after` an alert about a silent controller is looked for, and every `audit_every` what Prefect
        shows.
        """
        self._store = store
        self._fence = fence
        self._events = events
        self._artifacts = artifacts
        self._silence_recovery = silence_recovery
        self._tag = tag
        self._whom = whom
        self._silent_after = silent_after
        self._audit_every = audit_every
        self._in_touch = in_touch
        self._judged = judged
        self._grace = grace
        self._clock = clock
        self._good_since: datetime | None = None
        self._silence_asked: datetime | None = None
        self._shown_anew: datetime | None = None
        self._shown: dict[int, _Shown] = {}
        self._fleet: Artifact | None = None

    async def keep(self) -> None:
        """Look again and again, until cancelled."""
        await asyncio.sleep(FIRST_LOOK_SECONDS)
        while True:
            try:
                await self.look()
            except (TerminalError, *DATABASE_ERRORS) as error:
                # The cycles log it. A lease that is merely about to run out may be renewed in time.
                logger.info("The fleet could not be looked at: %s", type(error).__name__)
            except Exception:  # a fault of ours here must not take the control plane down
                logger.exception("A look at the fleet failed as nobody expected; the next one comes.")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Judge, send and show once.

        Raises:
            TerminalError: when this controller may not write any more.
            One of DATABASE_ERRORS: when the database does not answer. Nothing is lost: the next look sees the same.
        """
        await probes.forget(self._store.engine)
        now, answers = self._clock(), self._in_touch()
        self._good_since = (self._good_since or now) if answers else None
        hold = self._good_since is None or now - self._good_since < self._grace
        standings = await self._store.fleet()
        # Ten thousand connectors take seconds of computing at first: not in the event loop.
        turns = await asyncio.to_thread(self._turns, standings, now, hold)
        self._judged([each.judgement for each in turns if each.standing.name is not None])
        await self._send_news(standings, turns, answers)
        if answers:
            await self._ask_prefect(turns, now)

    def _turns(self, standings: Sequence[Standing], now: datetime, hold: bool) -> list[Turn]:
        limit = self._whom.alert_after_failures
        return [turn(each, now, hold=hold, alert_after_failures=limit) for each in standings]

    async def _send_news(self, before: Sequence[Standing], turns: Sequence[Turn], answers: bool) -> None:
        """Send what is new, and remember it as sent once Prefect has it.

        If the process dies in between, the next look sends it again, under the same ids: Prefect takes it once.
        """
        news = [(each, item) for each in turns for item in each.news] if answers else []
        for each, item in news:
            self._emit(each.standing, item)
        if alerts := [noted for each, item in news if (noted := self._noted(each.standing, item)) is not None]:
            await notices.note(self._store.engine, self._fence, alerts, self._whom)
        sent = not news or await self._events.sent(SENT_SECONDS)
        changed = [
            each.standing
            for was, each in zip(before, turns, strict=True)
            if was.promise != each.standing.promise and (not each.news or (answers and sent))
        ]
        kept = [each.promise for each in changed if each.promise is not None and each.name is not None]
        gone = [
            each.standing.connector_id
            for each in turns
            if each.standing.name is None and (not each.news or (answers and sent))
        ]
        await self._store.keep_promises(kept, gone, self._fence)

    def _noted(self, standing: Standing, news: News) -> notices.OneNews | None:
        """What people are told, of what an alert is."""
        if news.alert is None or standing.name is None:
            return None
        what = Told.LATE if news.alert is Alert.BEGIN else Told.RECOVERED
        key = news.id(self._events.instance, standing.connector_id)
        return notices.OneNews(key, standing.connector_id, what, news.message)

    def _emit(self, standing: Standing, news: News) -> None:
        self._events.of_connector(
            news.event,
            standing.connector_id,
            title=standing.name,
            deployment_id=standing.deployment_id,
            payload={"message": news.message, "freshness": news.freshness, "late_since": news.late_since},
            labels={} if news.alert is None else {ALERT: news.alert},
            event_id=news.id(self._events.instance, standing.connector_id),
        )

    async def _ask_prefect(self, turns: Sequence[Turn], now: datetime) -> None:
        """What needs Prefect; a failure there is one line, and the next look tries again."""
        try:
            if self._silence_asked is None or now - self._silence_asked >= self._silent_after:
                await self._silence_recovery.end(now)
                self._silence_asked = now
            if self._shown_anew is None or now - self._shown_anew >= self._audit_every:
                self._artifacts.forget()
                self._shown_anew = now
            await self._artifacts.show(await asyncio.to_thread(self._render, turns))
        except TerminalError:
            raise
        except ReconcileError as error:
            self._shown_anew = None  # what came of the call is unknown
            logger.info("Prefect could not be shown the fleet: %s", error)

    def _render(self, turns: Sequence[Turn]) -> dict[str, Artifact]:
        """Every artifact; made anew is only what differs from the last look."""
        shown: dict[int, _Shown] = {}
        for each in turns:
            standing, judgement = each.standing, each.judgement
            if standing.name is None:
                continue
            last = self._shown.get(standing.connector_id)
            if last is None or (last.standing, last.judgement) != (standing, judgement):
                made = entry(standing, judgement), page(standing, judgement, self._tag)
                last = _Shown(standing, judgement, *made)
            shown[standing.connector_id] = last
        if self._fleet is None or shown != self._shown:
            self._fleet = fleet((each.entry for each in shown.values()), self._tag)
        self._shown = shown
        return {FLEET_KEY: self._fleet, **{page_key(i): each.page for i, each in shown.items()}}


@asynccontextmanager
async def watching(
    settings: Settings,
    *,
    store: Store,
    fence: Fence,
    may_write: Callable[[], None],
    events: Events,
    tag: str,
    in_touch: Callable[[], bool],
    judged: Callable[[Collection[Judgement]], None],
    observe: Observe,
) -> AsyncIterator[None]:
    """Watch over the fleet while inside."""
    silent_after = timedelta(seconds=heartbeat.SILENT_AFTER_BEATS * settings.heartbeat_seconds)
    async with open_client(timeout=CALL_SECONDS) as client:
        prefect = PrefectCalls(client, CALL_SECONDS, may_write, observe)
        artifacts = Artifacts(prefect, tag)
        watch = Watch(
            store=store,
            fence=fence,
            events=events,
            artifacts=artifacts,
            silence_recovery=SilenceRecovery(prefect, events),
            tag=tag,
            whom=notices.Whom(settings.owner_blocks, settings.alert_after_failures),
            silent_after=silent_after,
            audit_every=timedelta(seconds=settings.audit_interval_seconds),
            in_touch=in_touch,
            judged=judged,
        )
        task = asyncio.create_task(watch.keep())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
