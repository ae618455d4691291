"""Cursors of REST APIs: rows that change within one value, come late, or are written in other zones and formats."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.errors import ConfigurationError
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import Asked, WebServer


class Api:
    """Gives all its rows, or those from `since` on, compared as texts: as an API that knows only its own format."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = list(rows)

    def __call__(self, asked: Asked) -> Any:
        since = asked.query.get("since")
        return [row for row in self.rows if since is None or str(row["at"]) >= since]


def source(url: str, **keys: Any) -> dict[str, Any]:
    resource = {"name": "visits", "path": "v", "cursor_path": "at", "paginator": {"type": "single_page"}, **keys}
    return {"type": "rest_api", "base_url": url, "resources": [resource]}


def test_a_row_that_changes_again_within_one_value_lands(platform: Platform) -> None:
    api = Api({"id": 1, "at": "2024-01-01", "v": "morning"})
    with WebServer(api) as web:
        connector = platform.add(source(web.url, primary_key="id"))
        platform.run(connector)
        api.rows = [{"id": 1, "at": "2024-01-01", "v": "evening"}]
        assert platform.run(connector).total_rows == 1
        assert platform.run(connector).total_rows == 0
    assert platform.duck(f"SELECT v FROM connector_{connector}.visits") == [("evening",)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.500Z"),
        ("2024-10-27T02:59:00+02:00", "2024-10-27T02:10:00+01:00"),
        ("2016-12-31T23:59:59Z", "2016-12-31T23:59:60Z"),
        ("9", "10"),
        (9, 10),
        ("2024-01-01 00:00:00", "2024-01-01T00:00:01Z"),
    ],
)
@pytest.mark.parametrize("disposition", ["append", "merge"])
def test_the_newer_value_lands_however_it_is_written(
    platform: Platform, first: Any, second: Any, disposition: str
) -> None:
    api = Api({"id": 1, "at": first})
    with WebServer(api) as web:
        connector = platform.add(source(web.url, primary_key="id", write_disposition=disposition, lag=0))
        platform.run(connector)
        api.rows.append({"id": 2, "at": second})
        platform.run(connector)
        api.rows.append({"id": 3, "at": second})
        platform.run(connector)
        again = platform.run(connector).total_rows
    assert disposition == "merge" or again == 0
    assert platform.duck(f"SELECT id FROM connector_{connector}.visits ORDER BY 1") == [(1,), (2,), (3,)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["12/31/2023", "01/02/2024"], "neither a moment"),
        (["2024-01-01", 5], "different kinds"),
        ([True], "no order"),
        ([{"a": 1}], "no order"),
    ],
)
def test_what_cannot_be_ordered_is_refused(platform: Platform, values: list[Any], words: str) -> None:
    with WebServer(Api(*({"id": number, "at": value} for number, value in enumerate(values)))) as web:
        connector = platform.add(source(web.url, primary_key="id"))
        with pytest.raises(ConfigurationError, match=words) as refused:
            platform.run(connector)
    assert "2023" not in str(refused.value)  # no value of any row


def test_texts_that_sort_land_when_the_connector_says_so(platform: Platform) -> None:
    api = Api({"id": 1, "at": "01HQ"})
    with WebServer(api) as web:
        connector = platform.add(
            source(web.url, primary_key="id", cursor_type="text", cursor_param="since", write_disposition="append")
        )
        platform.run(connector)
        api.rows += [{"id": 2, "at": "01HR"}, {"id": 0, "at": "01HA"}]
        assert platform.run(connector).total_rows == 1
    assert web.asked[-1].query["since"] == "01HQ"


@pytest.mark.parametrize(
    ("at", "since"),
    [
        ("2024-01-0{}", "2024-01-04"),
        ("2024-01-0{} 00:00:00", "2024-01-04 00:00:00"),
        ("2024-01-0{}T02:00:00+02:00", "2024-01-04T02:00:00+02:00"),
        ("2024010{}T000000Z", "20240104T000000Z"),
    ],
)
def test_a_backfill_asks_in_the_cursors_own_format_and_brings_those_days(
    platform: Platform, at: str, since: str
) -> None:
    api = Api(*({"id": day, "at": at.format(day), "v": "old"} for day in range(1, 10)))
    with WebServer(api) as web:
        connector = platform.add(source(web.url, primary_key="id", cursor_param="since"))
        platform.run(connector)
        for row in api.rows:
            row["v"] = "new"
        window = {"backfill_from": datetime(2024, 1, 4, tzinfo=UTC), "backfill_to": datetime(2024, 1, 6, tzinfo=UTC)}
        assert platform.run(connector, **window).total_rows == 2
        assert web.asked[-1].query["since"] == since
    found = platform.duck(f"SELECT id FROM connector_{connector}.visits WHERE v = 'new' ORDER BY 1")
    assert found == [(4,), (5,)]


def test_an_appended_row_that_comes_late_or_twice_lands_as_often_as_it_is_there(platform: Platform) -> None:
    row = {"at": "2024-01-01T00:10:00Z", "v": 1.5, "nested": {"b": [1, None], "a": "x"}, "none": None}
    api = Api(row, row)
    with WebServer(api) as web:
        connector = platform.add(source(web.url, cursor_param="since"))
        assert platform.run(connector).total_rows == 2
        assert platform.run(connector).total_rows == 0
        api.rows += [row, {**row, "at": "2024-01-01T00:06:00Z"}, {**row, "at": "2024-01-01T00:01:00Z"}]
        assert platform.run(connector).total_rows == 2
        assert platform.run(connector).total_rows == 0
        api.rows.append({**row, "added": "later"})
        assert platform.run(connector).total_rows == 1
        for old in api.rows:
            old.setdefault("added", "for all")
        assert platform.run(connector).total_rows == 0
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visits") == [(5,)]


def test_another_address_brings_what_is_there(platform: Platform) -> None:
    old, new = Api({"id": 1, "at": "2024-01-09"}), Api({"id": 2, "at": "2023-01-01"}, {"id": 1, "at": "2024-01-09"})
    with WebServer(old) as first, WebServer(new) as second:
        connector = platform.add(source(first.url, primary_key="id"))
        platform.run(connector)
        with platform.connection.cursor() as cursor:
            moved = json.dumps(source(second.url, primary_key="id"))
            cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (moved, connector))
        assert "(base_url changed)" in platform.run(connector).sentence
        assert platform.run(connector).remarks == ()
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visits") == [(2,)]
