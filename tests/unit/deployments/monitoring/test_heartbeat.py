"""The sign that the loop moves, which must never be what stops it."""

import logging
from pathlib import Path

import pytest

from deployments.monitoring.heartbeat import Heartbeat
from prefect_api.event_feed import Events


def test_a_file_that_cannot_be_touched_is_told_once_and_stops_no_loop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    events = Events("clinical-ai")
    in_the_way = tmp_path / "data"
    in_the_way.write_text("a file where the directory would be")
    alive = in_the_way / "controller.alive"
    beat = Heartbeat(events, alive, every_seconds=60)
    for _ in range(3):
        beat(leading=True)
    assert len(events) == 1, "Prefect hears of the loop all the same"
    assert [record.levelname for record in caplog.records] == ["WARNING"]

    in_the_way.unlink()
    beat(leading=True)
    assert alive.exists()
    alive.unlink()
    in_the_way.rmdir()
    in_the_way.write_text("again")
    beat(leading=False)
    assert len(caplog.records) == 2, "another trouble is told anew"
