"""One judgement of whether Prefect is there: ever rarer probes, one alert when it lasts and one when it is over."""

import logging
import random
from datetime import timedelta

import pytest

from deployments.monitoring.alerts import Alerts
from deployments.reconciling.server_health import ServerHealth
from tests.support.control_plane.samples import NOW


@pytest.fixture
def health() -> ServerHealth:
    return ServerHealth(Alerts([], "clinical-ai"), 60, 120, random.Random(1))


def test_a_server_that_was_never_missed_may_be_tried_and_has_not_recovered(health: ServerHealth) -> None:
    assert health.may_try(NOW)
    assert health.answered(NOW) is False


def test_probes_of_a_dead_server_grow_ever_rarer_up_to_the_cap(health: ServerHealth) -> None:
    now, waits = NOW, []
    for _ in range(12):
        health.failed(now, "refused")
        assert health.next_probe_at is not None
        assert not health.may_try(now)
        waits.append((health.next_probe_at - now).total_seconds())
        now = health.next_probe_at
        assert health.may_try(now)
    assert 0.5 <= waits[0] <= 1
    assert all(30 <= wait <= 60 for wait in waits[7:])


def test_operations_are_told_once_when_it_lasts_and_once_when_it_is_over(
    health: ServerHealth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for second in (0, 30, 119, 120, 150, 3600):
        health.failed(NOW + timedelta(seconds=second), "refused")
        assert len(caplog.messages) == (1 if second >= 120 else 0)
    assert health.answered(NOW + timedelta(seconds=3660)) is True
    assert health.answered(NOW + timedelta(seconds=3661)) is False
    assert [message.split(":")[0] for message in caplog.messages] == ["ALERT server", "RECOVERED server"]
    assert "61.0 minutes" in caplog.messages[1]


def test_a_short_outage_tells_nobody(health: ServerHealth, caplog: pytest.LogCaptureFixture) -> None:
    health.failed(NOW, "refused")
    health.answered(NOW + timedelta(seconds=100))
    health.failed(NOW + timedelta(seconds=130), "refused")
    assert caplog.messages == []


def test_after_a_recovery_probes_are_frequent_again(health: ServerHealth) -> None:
    for _ in range(10):
        health.failed(NOW, "refused")
    health.answered(NOW)
    health.failed(NOW, "refused")
    assert health.next_probe_at is not None
    assert health.next_probe_at - NOW <= timedelta(seconds=1)


def test_a_clock_that_is_set_back_keeps_prefect_from_nobody(
    health: ServerHealth, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(8):
        health.failed(NOW, "refused")
    earlier = NOW - timedelta(hours=1)
    assert health.seconds_until_try(earlier) == 0
    assert health.may_try(earlier)
    health.failed(earlier, "refused")
    assert not health.may_try(earlier)
    health.failed(earlier + timedelta(seconds=120), "refused")
    assert caplog.messages  # though by the clock of before it began only in an hour
