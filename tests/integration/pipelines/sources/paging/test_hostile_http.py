"""Any combination of what servers do wrong: a reading ends with all rows as they are, or with a sentence.

Hypothesis makes the server and the connector's paginator, right or wrong; each failure prints both.
"""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigurationError, RunError, TransientError
from pipelines.sources.http import waiting
from tests.support.data_plane.page_reading import read
from tests.support.servers.hostile_http import Address, Api, End, Fault, Paging, Total, Writing

SHAPES: list[dict[str, Any] | None] = [
    None,
    None,
    {"type": "auto"},
    {"type": "json_link"},
    {"type": "json_link", "next_url_path": "@odata.nextLink"},
    {"type": "json_link", "next_url_path": "links.next"},
    {"type": "json_link", "next_url_path": "nxt"},
    {"type": "header_link"},
    {"type": "cursor", "cursor_path": "nextPageToken", "cursor_param": "pageToken"},
    {"type": "cursor", "cursor_path": "meta.next_cursor"},
    {"type": "cursor", "cursor_path": "bookmark", "cursor_param": "c"},
    {"type": "cursor", "cursor_path": "bookmark", "cursor_param": "wrong"},
    {"type": "page_number"},
    {"type": "page_number", "base_page": 1},
    {"type": "page_number", "total_path": "total_pages"},
    {"type": "page_number", "page_param": "wrong"},
    {"type": "offset", "limit": 10},
    {"type": "offset", "limit": 7},
    {"type": "offset", "limit": 10, "total_path": "total"},
    {"type": "offset", "limit": 10, "offset_param": "start"},
    {"type": "single_page"},
]

APIS = st.builds(
    Api,
    rows=st.sampled_from([0, 1, 9, 10, 11, 30, 101]),
    size=st.sampled_from([3, 10, 100]),
    cap=st.sampled_from([3, 10, 1000]),
    paging=st.sampled_from(Paging),
    address=st.sampled_from(Address),
    total=st.sampled_from(Total),
    total_off_by=st.sampled_from([0, 0, 0, 0, 5, -5]),
    first_page=st.sampled_from([0, 1]),
    end=st.sampled_from(End),
    writing=st.sampled_from(Writing),
    bare_list=st.sampled_from([False, False, False, True]),
    heeds=st.sampled_from([True, True, True, True, False]),
    circle=st.sampled_from([False, False, False, True]),
    endless=st.sampled_from([False, False, False, True]),
    empty_pages=st.sampled_from([0, 0, 0, 2, 60]),
    lost=st.sampled_from([None, None, None, None, 5]),
    fault=st.sampled_from([None, None, *Fault]),
    fault_at=st.integers(1, 4),
    fault_times=st.sampled_from([1, 1, 9]),
)

SENTENCES = (
    "rows may be missing",
    "gives that one again, or it gives no more",
    "came more than once",
    "landed as",
    "at the border of two pages",
)
"""What a remark says that tells of rows which nobody can be sure of."""


BY_NUMBER = {Paging.PAGE, Paging.OFFSET, Paging.NONE}
"""Ways of paging that an answer says nothing of."""


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def says_nothing(api: Api, shape: dict[str, Any] | None, *, limit: bool) -> bool:
    """Whether nothing in the answers could tell that there is more than the first page, nor does the connector."""
    stated = not api.bare_list and (api.total is not Total.NOWHERE or api.paging not in BY_NUMBER)
    in_headers = api.total in {Total.HEADER, Total.RANGE} or api.paging is Paging.HEADER
    by_number = shape is not None and shape["type"] in {"offset", "page_number"}
    full = api.lost is None and (min(api.size, api.cap) == 100 or (limit and api.cap >= 10))
    alone = shape is not None and shape["type"] == "single_page"
    if by_number:  # an empty page is the end, unless an answer says otherwise
        return not stated and not in_headers and api.empty_pages > 0
    return not stated and not in_headers and (alone or not full)


def is_misled(api: Api, shape: dict[str, Any] | None) -> bool:
    """Whether the connector takes the server's word for the total, which is wrong."""
    return api.total_off_by < 0 and shape is not None and "total_path" in shape


def check(api: Api, shape: dict[str, Any] | None, selector: str | None, *, limit: bool) -> None:
    """One reading."""
    # An answer with another list is an answer, where nobody has said which list it must be.
    assume(api.fault is not Fault.OTHER_LIST or selector is not None)
    note(f"{api} {shape} {selector} limit={limit}")
    fault = None
    try:
        rows, remarks, requests = read(api, shape, data_selector=selector, params={"limit": "10"} if limit else {})
    except RunError as error:
        fault = error
    if fault is not None:
        assert isinstance(fault, ConfigurationError | TransientError)
        assert str(fault).endswith(".")
        assert "Renée" not in str(fault)
        return
    assert len(requests) < 400
    assert "Renée" not in " ".join(remarks)
    told = [sentence for sentence in remarks if any(part in sentence for part in SENTENCES)]
    expected, found = api.all(), {row["id"]: row for row in rows}
    missing = expected.keys() - found.keys()
    if api.total is Total.NOWHERE or api.bare_list or api.total_off_by < 0:
        # Nothing could tell of a row that no page has.
        missing -= {api.lost}
    if not says_nothing(api, shape, limit=limit) and not is_misled(api, shape):
        assert not missing or told, f"{len(missing)} rows are missing without a word"
    assert len(rows) == len(found) or told, "rows came twice without a word"
    assert found.keys() <= expected.keys()
    if api.writing is not Writing.BAD_BYTE:
        for number, row in found.items():
            assert all(is_same(row[name], value) for name, value in expected[number].items()), number


def combinations(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_WAIT", 0.0005)


@combinations(60)
@given(APIS, st.sampled_from(SHAPES), st.sampled_from([None, None, "items", "$.items[*]", "itms"]), st.booleans())
def test_no_combination_of_faults_loses_a_row_without_a_word(
    api: Api, shape: dict[str, Any] | None, selector: str | None, limit: bool
) -> None:
    check(api, shape, selector, limit=limit)


@pytest.mark.soak
@combinations(3000)
@given(APIS, st.sampled_from(SHAPES), st.sampled_from([None, None, "items", "$.items[*]", "itms"]), st.booleans())
def test_no_combination_of_faults_loses_a_row_in_the_long_run(
    api: Api, shape: dict[str, Any] | None, selector: str | None, limit: bool
) -> None:
    check(api, shape, selector, limit=limit)
