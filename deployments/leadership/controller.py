"""Controller: leads when it may, and until then asks, stands by or leaves, as its start options say.

It holds no state that a crash could lose: the rows say what must be, the status rows what was tried, Prefect what is.
"""

import asyncio
import contextlib
import logging
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from database.connection.engine import DATABASE_ERRORS, open_engine
from database.connection.notifications import listen
from database.control.cycle_requests import CHANNEL as CONTROLLER_CHANNEL
from database.control.cycle_requests import GIVE_WAY, Requests
from database.control.outbox import CHANNEL as FOLLOW_UPS_CHANNEL
from database.control.outbox import Carry, Kind
from database.runs import CHANNEL as CONNECTORS_CHANNEL
from database.store import Store
from deployments.follow_ups import following
from deployments.leadership.inbox import Inbox
from deployments.leadership.instance_claim import claim, wait_for_claim
from deployments.leadership.leader import BeatsHeart, Conclusion, Ending, Leader
from deployments.leadership.lease import Lease
from deployments.leadership.start_options import StartOptions, WhenLed
from deployments.monitoring.alerts import SEND_TIMEOUT_SECONDS, Alerts
from deployments.monitoring.database_health import DatabaseHealth
from deployments.monitoring.fleet_counts import count_fleet
from deployments.monitoring.fleet_watch import watching
from deployments.monitoring.metrics import Metrics
from deployments.outgoing import Post
from deployments.planning.spec import Platform
from deployments.reconciling.reconciler import Options, Reconciler, assemble
from deployments.reconciling.server_health import ServerHealth
from prefect_api.client import open_client
from prefect_api.concurrency_limit import AdaptiveLimiter
from prefect_api.deployment_calls import open_gateway
from prefect_api.errors import LeaseLostError, WrongInstanceError
from prefect_api.event_feed import CALL_SECONDS, Events, sending
from prefect_api.names import ControllerEvent
from settings import Settings

logger = logging.getLogger(__name__)

GIVE_WAY_SECONDS = 1.0
"""How long the lease is left to the one that was given way to, before it is asked."""


class Controller:
    """One controller on one database and one Prefect server."""

    def __init__(
        self,
        settings: Settings,
        platform: Platform,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        heartbeat: BeatsHeart,
        events: Events,
        metrics: Metrics | None = None,
        carriers: Mapping[Kind, Carry] | None = None,
    ) -> None:
        """`heartbeat` is called as long as the loop moves; `events` takes what goes to Prefect's event feed.

        `transport` carries the requests to Prefect's deployment API, `carriers` what is sent after loads. `metrics`
        counts for whoever scrapes it.
        """
        self._events = events
        self.metrics = metrics if metrics is not None else Metrics(events)
        self._settings = settings
        self._platform = platform
        self._gateway = partial(
            open_gateway,
            timeout_seconds=max(1.0, settings.lease_ttl_seconds / 3),
            connections=settings.apply_concurrency,
            observe=self.metrics.called,
            transport=transport,
        )
        self._carriers = carriers or {}
        self._heartbeat = heartbeat
        self._url = settings.resolved_database_url()
        self._rng = random.Random()  # noqa: S311 - jitter
        self._inbox = Inbox()
        self._open_alerts: set[str] = set()
        """Alerts that went to Prefect's feed and are not over, over all terms, where no rows of alerts are kept."""

    async def run(self, start_options: StartOptions, stop: asyncio.Event) -> Conclusion:
        """Lead, stand by, ask or leave, as the start options say, until `stop`.

        Raises:
            WrongInstanceError: when Prefect's deployments belong to another database; in the foreground operations are
                alerted, and it waits until they are ours.
            MissingDatabaseError: when no database is configured.
        """
        engine = open_engine(self._url)
        store, requests = Store(engine), Requests(engine)
        lease = Lease(
            engine,
            name=self._settings.instance,
            holder=f"{socket.gethostname()}:{os.getpid()}",
            ttl_seconds=self._settings.lease_ttl_seconds,
        )
        alerts = self._alerts(engine)
        self._database = DatabaseHealth(alerts, self._settings.alert_after_seconds, engine)
        channels = (CONNECTORS_CHANNEL, CONTROLLER_CHANNEL, FOLLOW_UPS_CHANNEL)
        listener = asyncio.create_task(listen(self._url, channels, self._inbox.hear, self._inbox.look))
        try:
            async with open_client(timeout=CALL_SECONDS) as client, sending(self._events, client):
                while True:
                    taken = await self._obtain(lease, requests, start_options, stop)
                    if taken is not None:
                        return taken
                    try:
                        conclusion = await self._lead(lease, store, requests, start_options, stop)
                    except WrongInstanceError:
                        if not start_options.foreground:
                            raise
                        await self._wait_for_claim(store, stop)
                        continue
                    if conclusion.ending is Ending.GAVE_WAY and start_options.unanswered:
                        logger.info("Gave way before there was a full cycle; the next leader is asked for it.")
                        await asyncio.sleep(GIVE_WAY_SECONDS)
                        continue
                    if conclusion.ending is not Ending.LOST or start_options.once:
                        return conclusion
                    logger.warning("The lease was lost; standing by.")
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
            await self._database.alerts.drain(SEND_TIMEOUT_SECONDS)
            await engine.dispose()

    async def preview(self) -> list[str]:
        """The plan of a full cycle as lines of text; nothing is written anywhere and no lease is needed.

        Raises:
            ServerUnavailableError: when Prefect does not answer.
        """
        engine = open_engine(self._url)
        try:
            nobody = Lease(engine, name="", holder="", ttl_seconds=30)
            async with self._reconciler(nobody, Store(engine), StartOptions(), self._alerts(engine)) as reconciler:
                return await reconciler.preview()
        finally:
            await engine.dispose()

    async def _obtain(
        self, lease: Lease, requests: Requests, start_options: StartOptions, stop: asyncio.Event
    ) -> Conclusion | None:
        """Wait for the lease; None once it is ours, else how it ended instead.

        Who asks, asks at once and waits for whichever comes first, the answer or the lease. Who leaves must know that
        the leader lives: a lease that a dead one left differs from it by its expiry, which only a live one moves.
        """
        asks = start_options.once or start_options.when_led is WhenLed.ASK
        request: int | None = None
        first_seen: object = None
        while not stop.is_set():
            self._heartbeat(leading=False)
            try:
                if await lease.acquire():
                    if request is not None:
                        # Left behind, it would lend its permissions to some later leader's cycle.
                        await requests.withdraw(request)
                    logger.info("Leading as instance %s (token %s).", self._settings.instance, lease.token)
                    return None
                self.metrics.led_by_another(True)
                if start_options.foreground and start_options.when_led is WhenLed.STAND_BY:
                    # Again and again: a notification may be lost, and whoever leads next must hear it too.
                    await requests.notify(GIVE_WAY)
                if asks and request is None:
                    logger.info("Another controller leads; it is asked for a cycle.")
                    request = await requests.ask(allow_mass_prune=start_options.allow_mass_prune)
                if request is not None and (result := await requests.answer_of(request)) is not None:
                    return Conclusion(Ending.ANSWERED, result)
                if request is not None:
                    await requests.remind(request)
                expiry = await lease.expires_at()
                if start_options.when_led is WhenLed.LEAVE and expiry != (first_seen := first_seen or expiry):
                    return Conclusion(Ending.LEFT)
            except DATABASE_ERRORS as error:
                if start_options.once:
                    raise  # somebody waits for the exit code
                self.metrics.led_by_another(False)
                await self._database.failed(error)
            else:
                self._database.answered()
            await self._inbox.wait(1.0 if asks else self._settings.poll_interval_seconds, stop)
        if request is not None:
            with contextlib.suppress(*DATABASE_ERRORS):
                await requests.withdraw(request)
        return Conclusion(Ending.STOPPED)

    async def _wait_for_claim(self, store: Store, stop: asyncio.Event) -> None:
        async with self._gateway() as gateway:
            await wait_for_claim(gateway, store, self._settings.instance, stop, lambda: self._heartbeat(leading=False))

    def _alerts(self, engine: AsyncEngine) -> Alerts:
        return Alerts(self._settings.alert_urls, self._settings.instance, self._events, engine, self._open_alerts)

    @asynccontextmanager
    async def _reconciler(
        self, lease: Lease, store: Store, start_options: StartOptions, alerts: Alerts
    ) -> AsyncIterator[Reconciler]:
        """A reconciler on an open gateway that writes only while the lease lasts."""
        settings = self._settings
        async with self._gateway(may_write=lease.check) as gateway:
            server = ServerHealth(alerts, settings.server_backoff_max_seconds, settings.alert_after_seconds, self._rng)
            reconciler = assemble(
                store=store,
                gateway=gateway,
                claim=partial(claim, gateway, store, settings.instance, alerts, start_options),
                progress=lambda: self._heartbeat(leading=True),
                platform=self._platform,
                options=Options(settings.max_prune_fraction, settings.retry_base_seconds, settings.retry_max_seconds),
                fence=lease.fence,
                alerts=alerts,
                server=server,
                limiter=AdaptiveLimiter(settings.apply_concurrency, time.monotonic),
                clock=lambda: datetime.now(UTC),
                rng=self._rng,
                events=self._events,
                metrics=self.metrics,
            )
            try:
                yield reconciler
            finally:
                # While the lease is ours still: whoever leads next finds what went out.
                await alerts.drain(SEND_TIMEOUT_SECONDS)

    async def _lead(
        self, lease: Lease, store: Store, requests: Requests, start_options: StartOptions, stop: asyncio.Event
    ) -> Conclusion:
        """Lead until stopped, expired or no longer in possession of the lease, which is given back at the end."""
        keeper = asyncio.create_task(lease.keep())
        stopper = asyncio.create_task(stop.wait())
        scraped = bool(self._settings.metrics_port)
        watcher = asyncio.create_task(count_fleet(store.engine, self.metrics, scraped=scraped))
        self.metrics.leads(lambda: lease.held)
        alerts = self._alerts(store.engine)
        try:
            async with (
                self._reconciler(lease, store, start_options, alerts) as reconciler,
                contextlib.AsyncExitStack() as watched,
            ):
                leader = Leader(
                    self._settings,
                    reconciler,
                    start_options=start_options,
                    lease=lease,
                    requests=requests,
                    inbox=self._inbox,
                    heartbeat=self._heartbeat,
                    database=self._database,
                    alerts=alerts,
                )
                if not start_options.once:
                    self._events.of_controller(ControllerEvent.STARTED, {"token": lease.token})
                    await watched.enter_async_context(self._watching(lease, store, reconciler))
                    post = Post(store.engine, lease.fence, self._events, self._carriers, self._inbox.loads)
                    await watched.enter_async_context(following(post, self._settings))
                worker = asyncio.create_task(leader.once() if start_options.once else leader.lead())
                try:
                    await asyncio.wait({worker, keeper, stopper}, return_when=asyncio.FIRST_COMPLETED)
                    if worker.done():
                        return worker.result()
                    return Conclusion(Ending.LOST if keeper.done() else Ending.STOPPED)
                finally:
                    # A cycle that is cut off here is finished by the next one; so it is after a crash.
                    worker.cancel()
                    await asyncio.gather(worker, return_exceptions=True)
        except LeaseLostError:
            return Conclusion(Ending.LOST)
        finally:
            for task in (beside := (keeper, stopper, watcher)):
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            self.metrics.leads_no_more()
            with contextlib.suppress(*DATABASE_ERRORS):
                await lease.release()
                await requests.notify("free")
            if not start_options.once:
                self._events.of_controller(ControllerEvent.HANDED_OVER)

    def _watching(
        self, lease: Lease, store: Store, reconciler: Reconciler
    ) -> contextlib.AbstractAsyncContextManager[None]:
        return watching(
            self._settings,
            store=store,
            fence=lease.fence,
            may_write=lease.check,
            events=self._events,
            tag=self._platform.tag,
            in_touch=lambda: reconciler.in_touch,
            judged=self.metrics.judged,
            observe=self.metrics.called,
        )
