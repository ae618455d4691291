"""Follow-ups, started: what is to run after a load that has ended, each exactly once.

Prefect makes one run for one key, and the key is the follow-up's: whatever dies between the start and the note of it,
the next try finds the same run. A follow-up that fails harms no load. If the process dies here, the next leader goes
on.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from connectors.errors import PrefectUnavailableError
from connectors.follow_ups import may_start
from database.connection.engine import DATABASE_ERRORS
from database.control import follow_ups, outbox
from database.control.follow_ups import Waiting
from database.control.notices import Whom
from deployments.outgoing import Post, tell
from prefect_api.errors import LeaseLostError
from prefect_api.names import FollowUpEvent
from prefect_api.run_queries import NoPrefect, PrefectClientRuns, open_runs
from settings import Settings

LOOK_SECONDS = 1.0
"""Time after which what could not be done at once, or is due soon, is looked at again. Else the database tells."""

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 2.0, 300.0

GIVEN_UP_AFTER = timedelta(days=1)
"""Time after the load at which a follow-up that could not be started is not tried any more."""

logger = logging.getLogger(__name__)


@asynccontextmanager
async def following(post: Post, settings: Settings) -> AsyncIterator[None]:
    """Start what follows loads, and send what is to be sent, beside the cycles, as long as we lead."""
    task = asyncio.create_task(_follow(post, settings))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        post.close()


async def _follow(post: Post, settings: Settings) -> None:
    """Look as often as the database tells of something, and as often as at the table where it tells nothing."""
    whom = Whom(settings.owner_blocks, settings.alert_after_failures)
    longest = settings.poll_interval_seconds
    async with open_runs() as runs:
        while True:
            post.woken.clear()
            pause = longest
            try:
                seconds = await post.seconds_until_due()
                if seconds is not None:
                    pause = min(longest, max(LOOK_SECONDS, seconds))
                    if seconds <= 0:
                        await turn(post, runs, settings.follow_deployments, whom)
                        await post.turn()
            except LeaseLostError:
                return
            except DATABASE_ERRORS as error:
                # The leader's cycles alert of it.
                logger.debug("Follow-ups wait for the database (%s).", type(error).__name__)
                pause = min(longest, LOOK_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(post.woken.wait(), pause)


async def turn(post: Post, runs: PrefectClientRuns | NoPrefect, allowed: Sequence[str], whom: Whom) -> None:
    """Note what follows the loads that have ended, and start what waits.

    Args:
        post: where what is to be sent goes out.
        runs: of Prefect.
        allowed: patterns of the deployments that may be started.
        whom: who is told of how loads end.

    Raises:
        LeaseLostError: another controller leads.
        One of DATABASE_ERRORS: the database does not answer.
    """
    engine, fence = post.engine, post.fence
    looked = follow_ups.AT_ONCE
    while looked == follow_ups.AT_ONCE:
        expanded = await follow_ups.expand(engine, fence, whom)
        looked = expanded.loads
        for circle in expanded.refused:
            tell(post.events, FollowUpEvent.FAILED, circle, circle.why)
    for each in await follow_ups.waiting(engine):
        try:
            run_id = await _started(each, runs, allowed)
        except Refused as refused:
            logger.warning("What follows connector %s was not started: %s", each.leader_name, refused)
            await follow_ups.note_refused(engine, fence, each.id, str(refused))
            tell(post.events, FollowUpEvent.FAILED, each, str(refused))
        except PrefectUnavailableError:
            delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(each.tries, 10))
            await follow_ups.note_later(engine, fence, each.id, delay)
        else:
            await outbox.note_started(engine, fence, each.id, run_id)


class Refused(Exception):  # noqa: N818  # it is no error of the program
    """A follow-up is not started; the message is a sentence."""


async def _started(each: Waiting, runs: PrefectClientRuns | NoPrefect, allowed: Sequence[str]) -> UUID:
    """The id of the run that was started.

    Raises:
        Refused: it is not started.
        PrefectUnavailableError: it must be tried again.
    """
    if each.leader_name is None:
        raise Refused("the connector that it follows is gone.")
    actor, key = f"follow-up of {each.leader_name}", f"follow-up {each.key}"
    deployment = each.follow_up.deployment
    if deployment is not None:
        if not may_start(deployment, allowed):
            raise Refused(f"{deployment} is none that CAI_FOLLOW_DEPLOYMENTS lets connectors start.")
        run = await runs.start_named(deployment, each.follow_up.parameters, key, actor)
        if run is None:
            raise Refused(f"Prefect has no deployment {deployment}.")
        return run.id
    if each.follower_id is None or each.follower_team not in {None, each.leader_team}:
        raise Refused("it names no connector of the same team, nor one of everybody's.")
    if not each.is_active:
        raise Refused(f"connector {each.follower_id} is deactivated.")
    run = None if each.deployment_id is None else await runs.start(each.deployment_id, key, actor)
    if run is None:
        # It is new, or being mended: the controller makes its deployment.
        if datetime.now(UTC) - each.loaded_at > GIVEN_UP_AFTER:
            raise Refused(f"connector {each.follower_id} has had no deployment for a day.")
        raise PrefectUnavailableError("the deployment is not there yet.")
    return run.id
