"""Rows that move between pages while they are read: those that a page passes over come by another reading."""

from collections.abc import Callable, Generator
from typing import Any

import pytest

from pipelines.errors import ConfigurationError
from pipelines.sources.fhir.pages import by_last_updated
from pipelines.sources.paging.moving import MOST_READINGS, PAGES_WITHOUT_A_NEW_KEY, settled
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import Asked, WebServer


class Readings:
    """Readings of pages, one after another; of the last, as many as are asked for."""

    def __init__(self, *readings: list[list[int]], fell: bool = False) -> None:
        self.readings = readings
        self.fell = fell
        self.count = 0

    def __call__(self) -> Generator[list[Any], None, bool]:
        pages = self.readings[min(self.count, len(self.readings) - 1)]
        self.count += 1
        for page in pages:
            yield [{"userId": number} for number in page]
        return self.fell and self.count == 1


def read(readings: Readings, key: str = "userId", *, merges: bool = True) -> tuple[set[int], int, list[str]]:
    """The keys that came, the number of readings, and the remarks."""
    remarks: list[str] = []
    rows = {row["userId"] for page in settled(readings, [key], "t", remarks.append, merges=merges) for row in page}
    return rows, readings.count, remarks


WHOLE = [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("readings", "count"),
    [
        (Readings(WHOLE), 1),
        (Readings([[1, 1], [2, 2]], WHOLE), 1),  # twice on one page is no movement
        (Readings([[1, 2], [4, 1]], WHOLE), 2),  # 1 moved to the end, and 3 was passed over
        (Readings([[1, 2], [4]], WHOLE, fell=True), 2),  # 1 was deleted, and 3 was passed over
        (Readings([[1, 2], [1, 3], [4]]), 2),  # the same both times: the source has two rows of 1
    ],
)
@pytest.mark.parametrize("key", ["userId", "user_id"])
def test_pages_whose_rows_have_moved_are_read_once_more(readings: Readings, count: int, key: str) -> None:
    readings.count = 0
    rows, read_times, remarks = read(readings, key)
    assert remarks == []
    assert read_times == count
    assert len(rows) == (2 if readings.readings[0] == [[1, 1], [2, 2]] else 4)


def test_rows_that_move_each_time_are_told() -> None:
    rows, count, remarks = read(Readings([[1, 2], [4, 1]], [[1, 2], [4, 2]], [[1, 2], [3, 1]], WHOLE))
    assert (rows, count) == ({1, 2, 3, 4}, MOST_READINGS)
    assert "moved between pages" in remarks[0]


def test_rows_that_moved_are_told_where_they_do_not_merge() -> None:
    _, count, remarks = read(Readings([[1, 2], [4, 1]], WHOLE), merges=False)
    assert (count, len(remarks)) == (1, 1)


def test_rows_without_the_key_are_not_taken_for_one() -> None:
    assert read(Readings(WHOLE), "another")[1:] == (1, [])


def test_pages_without_a_new_key_end() -> None:
    readings = Readings([[1, 2]] * (4 * PAGES_WITHOUT_A_NEW_KEY))
    with pytest.raises(ConfigurationError, match="without end"):
        read(readings)


@pytest.mark.parametrize(
    "paginator", [{"type": "offset", "limit": 5}, {"type": "page_number", "base_page": 0}, {"type": "auto"}]
)
@pytest.mark.parametrize("change", ["update", "delete"])
def test_a_row_that_moves_between_two_pages_hides_no_other(
    platform: Platform, paginator: dict[str, Any], change: str
) -> None:
    rows = [{"id": number, "at": f"2024-01-{number + 1:02}T00:00:00Z"} for number in range(15)]
    asked_for = []

    def answer(asked: Asked) -> Any:
        asked_for.append(asked)
        if len(asked_for) == 2:
            moved = rows.pop(1)
            rows.extend([moved | {"at": "2024-06-01T00:00:00Z"}] if change == "update" else [])
        offset = int(asked.query.get("offset", int(asked.query.get("page", 0)) * 5))
        more = {"next": f"?offset={offset + 5}"} if paginator["type"] == "auto" and offset + 5 < len(rows) else {}
        return {"items": rows[offset : offset + 5], "total": len(rows), **more}

    shape = {"name": "t", "path": "t", "primary_key": "id", "cursor_path": "at", "paginator": paginator}
    with WebServer(answer) as web:
        connector = platform.add({"type": "rest_api", "base_url": web.url, "resources": [shape]})
        platform.run(connector)
    assert platform.duck(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.t") == [(15, 15)]


def _patient(number: int, second: int) -> dict[str, Any]:
    moment = f"2024-01-01T00:00:{second:02}Z"
    return {"resourceType": "Patient", "id": f"p{number}", "meta": {"lastUpdated": moment}}


@pytest.mark.parametrize("sort", [True, False], ids=["sorts", "does not sort"])
def test_a_resource_that_is_updated_among_many_of_one_moment_hides_no_other(platform: Platform, sort: bool) -> None:
    resources = [_patient(number, 5) for number in range(30)]
    asked_for = []
    order: Callable[[dict[str, Any]], str] = lambda item: item["meta"]["lastUpdated"] if sort else ""  # noqa: E731

    def answer(asked: Asked) -> Any:
        asked_for.append(asked)
        if len(asked_for) == 2:
            del resources[3]
            resources.append(_patient(3, 50))
        since = asked.query.get("_lastUpdated", "ge")[2:] if sort else ""
        found = sorted((item for item in resources if item["meta"]["lastUpdated"] >= since), key=order)
        offset = int(asked.query.get("offset", 0))
        more = {"relation": "next", "url": f"Patient?offset={offset + 10}&_count=10"}
        return {
            "resourceType": "Bundle",
            "total": len(found),
            "entry": [None, *({"resource": item} for item in found[offset : offset + 10])],
            "link": [more] if offset + 10 < len(found) else [],
        }

    with WebServer(answer) as web:
        connector = platform.add({"type": "fhir", "base_url": f"{web.url}/fhir", "resource_types": ["Patient"]})
        platform.run(connector)
    found = platform.duck(
        f"SELECT count(*), count(*) FILTER (meta->>'$.lastUpdated' LIKE '%50Z') FROM connector_{connector}.patient"
    )
    assert found == [(30, 1)]


def test_a_path_that_named_a_next_page_once_is_no_longer_told(platform: Platform) -> None:
    pages = [[1], [2]]

    def answer(asked: Asked) -> Any:
        at = int(asked.query.get("page", 0))
        more = {"following": f"?page={at + 1}"} if at + 1 < len(pages) else {}
        return {"items": [{"id": number} for number in pages[at]], **more}

    shape = {"name": "t", "path": "t", "primary_key": "id"}
    paginator = {"type": "json_link", "next_url_path": "following"}
    with WebServer(answer) as web:
        source = {"type": "rest_api", "base_url": web.url, "paginator": paginator, "resources": [shape]}
        connector = platform.add(source)
        last = pages.pop()
        assert "following" in platform.run(connector).remarks[0]
        pages.append(last)
        assert platform.run(connector).remarks == ()
        pages.pop()
        assert platform.run(connector).remarks == ()


def test_pages_of_fhir_that_do_not_merge_are_read_once() -> None:
    told: list[str] = []
    pages = [[_patient(1, 5), _patient(2, 5)], [_patient(4, 5), _patient(1, 6)]]
    bundles = [{"entry": page, "link": [{"relation": "next"}] if page is pages[0] else []} for page in pages]
    found = by_last_updated(
        lambda start: iter(bundles), lambda bundle: bundle["entry"], None, lambda: told.append(""), merges=False
    )
    assert (sum(map(len, found)), len(told)) == (4, 1)
