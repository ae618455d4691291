"""The retry queue: exponential backoff with jitter and a cap, kept in the status rows and nowhere else."""

import random
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from connectors.status import Phase
from deployments.reconciling.retry_queue import RetryQueue, backoff_seconds
from tests.support.control_plane.samples import NOW, known

WAITING = [known(i, Phase.RETRYING, attempts=1, next_attempt_at=NOW + timedelta(seconds=10 * i)) for i in (1, 2, 3)]


def loaded() -> RetryQueue:
    queue = RetryQueue()
    queue.load([*WAITING, known(4)])
    return queue


@given(attempts=st.integers(1, 10_000), seed=st.integers())
def test_a_wait_lies_between_half_and_all_of_the_doubled_base_and_never_beyond_the_cap(
    attempts: int, seed: int
) -> None:
    wait = backoff_seconds(attempts, 5, 900, random.Random(seed))
    full = min(900.0, 5.0 * 2 ** min(attempts - 1, 60))
    assert full / 2 <= wait <= full


def test_connectors_that_failed_together_come_back_apart() -> None:
    rng = random.Random(0)
    assert len({round(backoff_seconds(3, 5, 900, rng), 3) for _ in range(100)}) > 90


def test_what_waits_is_due_when_its_time_has_come() -> None:
    queue = loaded()
    assert len(queue) == 3
    assert queue.due(NOW) == set()
    assert queue.seconds_until_next(NOW) == 10
    assert queue.due(NOW + timedelta(seconds=20)) == {1, 2}
    assert queue.seconds_until_next(NOW + timedelta(seconds=60)) == 0


def test_what_succeeded_or_is_forgotten_waits_no_longer() -> None:
    queue = loaded()
    queue.follow(1, known(1))
    queue.follow(2, None)
    queue.follow(99, None)
    assert queue.due(NOW + timedelta(hours=1)) == {3}


def test_what_failed_again_waits_for_its_new_time() -> None:
    queue = loaded()
    queue.follow(1, replace(WAITING[0], next_attempt_at=NOW + timedelta(seconds=500)))
    assert queue.due(NOW + timedelta(seconds=60)) == {2, 3}


def test_recovery_makes_all_of_it_due() -> None:
    queue = loaded()
    queue.hurry(NOW)
    assert queue.due(NOW) == {1, 2, 3}


def test_an_empty_queue_waits_for_nothing() -> None:
    assert RetryQueue().seconds_until_next(NOW) is None


def test_a_clock_that_goes_back_loses_nothing() -> None:
    queue = loaded()
    assert queue.seconds_until_next(NOW - timedelta(days=1)) == 24 * 3600 + 10
    queue.hurry(NOW - timedelta(days=1))
    assert queue.due(NOW - timedelta(days=1)) == {1, 2, 3}
