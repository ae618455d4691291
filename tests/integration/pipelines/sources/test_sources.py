"""Rules that all kinds of sources share: a backfill's time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pipelines.errors import ConfigurationError
from pipelines.sources import Window
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import WebServer


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (None, datetime(2024, 1, 1, tzinfo=UTC), "backfill_to needs backfill_from"),
        (datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 1), "must be before backfill_to"),  # noqa: DTZ001
        (datetime(2999, 1, 1, tzinfo=UTC), None, "and in the past"),
    ],
)
def test_a_backfill_of_no_time_is_refused_before_anything_is_asked(
    platform: Platform, start: datetime | None, end: datetime | None, words: str
) -> None:
    with WebServer(lambda asked: []) as web:
        resource = {"name": "visits", "path": "v", "primary_key": "id", "cursor_path": "at"}
        connector = platform.add({"type": "rest_api", "base_url": web.url, "resources": [resource]})
        with pytest.raises(ConfigurationError, match=words):
            platform.run(connector, backfill_from=start, backfill_to=end)
        assert not web.asked


def test_moments_of_a_backfill_are_utc_whatever_their_zone() -> None:
    start = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert Window(start, datetime(2024, 1, 1, 11)).bounds() == (  # noqa: DTZ001
        datetime(2024, 1, 1, 10, tzinfo=UTC),
        datetime(2024, 1, 1, 11, tzinfo=UTC),
    )
