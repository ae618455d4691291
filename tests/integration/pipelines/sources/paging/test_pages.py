"""Pages: all rows come, or a sentence says what is missing. Each test has the input of a server that somebody met."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from pipelines.errors import ConfigurationError, RunError, TransientError
from pipelines.sources.http import waiting
from pipelines.sources.paging.verdicts import MOST_EMPTY_PAGES
from tests.support.data_plane.page_reading import read
from tests.support.servers.hostile_http import Address, Answer, Api, End, Fault, Paging, Total, Writing


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_WAIT", 0.001)


def ids(rows: list[Any]) -> list[int]:
    return [row["id"] for row in rows]


# --- the next page is found (line 8, 17) ----------------------------------------------------------------------------


@pytest.mark.parametrize("address", Address)
@pytest.mark.parametrize("paging", [Paging.LINK, Paging.ODATA, Paging.NESTED, Paging.LIST, Paging.HEADER])
def test_a_link_is_followed_wherever_it_stands_and_however_it_is_written(paging: Paging, address: Address) -> None:
    rows, remarks, _ = read(Api(paging=paging, address=address))
    assert (ids(rows), remarks) == (list(range(30)), [])


@pytest.mark.parametrize(
    "header",
    [
        "<?start=15>; REL=NEXT",
        '<?start=0>; rel="first", <?start=15&names=a,b>; title="a, b; c"; rel="next last"',
        "</api;v=1/visits?start=0>;rel=self,<?start=15>;rel=next",
    ],
)
@pytest.mark.parametrize("paginator", [None, {"type": "header_link"}])
def test_a_link_header_is_read_as_it_may_be_written(header: str, paginator: Any) -> None:
    def extra(_: str, query: dict[str, str]) -> Answer:
        start = int(query.get("start", 0))
        rows = json.dumps([{"id": number} for number in range(start, start + 15)]).encode()
        return Answer(rows, headers={} if start else {"Link": header})

    assert ids(read(Api(), paginator, extra)[0]) == list(range(30))


@pytest.mark.parametrize("paging", [Paging.TOKEN, Paging.CURSOR])
def test_a_cursor_whose_parameter_is_known_is_followed(paging: Paging) -> None:
    assert ids(read(Api(paging=paging))[0]) == list(range(30))


@pytest.mark.parametrize("takes", ["page", "cursor"])
@pytest.mark.parametrize("step", [1, 100])
@pytest.mark.parametrize("last", [None, 2])
def test_a_number_as_the_next_is_that_of_a_page_or_a_cursor(takes: str, step: int, last: int | None) -> None:
    def extra(path: str, query: dict[str, str]) -> Answer:
        number = (int(query.get(takes, 1)) - 1) // step
        rows = [{"id": number * 10 + at} for at in range(10)]
        following = 1 + (number + 1) * step if number < 2 else last and 1 + step
        return Answer(json.dumps({"items": rows, "next": following}).encode())

    if last is None:
        rows, remarks, _ = read(Api(), None, extra)
        assert (ids(rows), remarks) == (list(range(30)), [])
        return
    with pytest.raises(ConfigurationError, match="names the same next page again and again"):  # 2, 3, 2, ...
        read(Api(), None, extra)


def test_a_link_whose_name_holds_a_point_is_a_path() -> None:
    shape = {"type": "json_link", "next_url_path": "@odata.nextLink"}
    assert ids(read(Api(paging=Paging.ODATA), shape)[0]) == list(range(30))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("shape", [None, {"type": "page_number"}, {"type": "page_number", "total_path": "total_pages"}])
def test_pages_by_number_are_all_read_whatever_the_first_is_called(first: int, end: End, shape: Any) -> None:
    rows, _, _ = read(Api(paging=Paging.PAGES, first_page=first, end=end), shape)
    assert ids(rows) == list(range(30))


@pytest.mark.parametrize("end", End)
def test_a_page_0_that_an_api_refuses_is_asked_for_as_page_1(end: End) -> None:
    def extra(path: str, query: dict[str, str]) -> Answer | None:
        return Answer(b'{"detail": "Invalid page."}', 404) if query.get("page") == "0" else None

    rows, _, _ = read(Api(paging=Paging.PAGE, end=end), {"type": "page_number"}, extra)
    assert ids(rows) == list(range(30))


def test_a_page_0_that_is_empty_is_no_end() -> None:
    def extra(path: str, query: dict[str, str]) -> Answer | None:
        return Answer(b'{"items": []}') if query.get("page") == "0" else None

    assert ids(read(Api(paging=Paging.PAGE), {"type": "page_number"}, extra)[0]) == list(range(30))


@pytest.mark.parametrize("paging", [Paging.PAGE, Paging.PAGES])
def test_a_first_page_that_is_passed_over_is_noticed(paging: Paging) -> None:
    shape = {"type": "page_number", "base_page": 1}
    with pytest.raises(ConfigurationError, match=r"base_page|has 3 pages, and 2 came"):
        read(Api(paging=paging, first_page=0), shape)
    assert ids(read(Api(paging=paging, first_page=1), shape)[0]) == list(range(30))


# --- offsets (line 9) ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [End.EMPTY, End.NOT_FOUND, End.NO_CONTENT])
@pytest.mark.parametrize("more", [{}, {"total_path": "total"}])
def test_an_offset_goes_on_behind_what_was_delivered(end: End, more: dict[str, Any]) -> None:
    api = Api(rows=10, cap=3, paging=Paging.OFFSET, end=end, total=Total.TOTAL if more else Total.NOWHERE)
    rows, remarks, requests = read(api, {"type": "offset", "limit": 10, **more})
    assert (ids(rows), remarks) == (list(range(10)), [])
    assert len(requests) <= 5


def test_a_maximum_of_the_connectors_own_is_no_missing_row() -> None:
    api = Api(paging=Paging.OFFSET, total=Total.TOTAL)
    assert len(read(api, {"type": "offset", "limit": 10, "maximum_offset": 20})[0]) == 20


# --- what a server says of itself (line 8, 10) -----------------------------------------------------------------------


@pytest.mark.parametrize("total", [total for total in Total if total])
@pytest.mark.parametrize("shape", [None, {"type": "single_page"}])
def test_fewer_rows_than_the_source_has_fail(total: Total, shape: Any) -> None:
    with pytest.raises(ConfigurationError, match="there are 30 rows of visits, and 10 came, with no way to the next"):
        read(Api(paging=Paging.NONE, total=total), shape)
    assert len(read(Api(paging=Paging.NONE, total=total), shape, check_complete=False)[0]) == 10


@pytest.mark.parametrize("total", [total for total in Total if total])
def test_a_row_that_no_page_has_is_missed(total: Total) -> None:
    with pytest.raises(ConfigurationError, match="there are 30 rows of visits, and 29 came, on 3 pages"):
        read(Api(total=total, lost=17))


@pytest.mark.parametrize(
    ("shape", "paging", "advice"),
    [
        ({"type": "json_link", "next_url_path": "nxt"}, Paging.LINK, '"json_link", "next_url_path": "next"'),
        ({"type": "json_link", "next_url_path": "nxt"}, Paging.ODATA, '"next_url_path": "@odata.nextLink"'),
        ({"type": "cursor", "cursor_path": "nxt"}, Paging.TOKEN, '"nextPageToken", "cursor_param": "pageToken"'),
        ({"type": "header_link", "links_next_key": "nxt"}, Paging.HEADER, '"header_link"'),
        ({"type": "single_page"}, Paging.PAGES, '"page_number"'),
        (None, Paging.MORE, "page_number, offset or cursor"),
        ({"type": "json_link", "next_url_path": "nxt"}, Paging.MORE, "page_number, offset or cursor"),
    ],
)
def test_a_next_page_that_nobody_goes_to_is_told_with_the_paginator_to_set(
    shape: Any, paging: Paging, advice: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(Api(paging=paging), shape)
    assert advice in str(caught.value)


def test_a_full_page_without_a_next_one_is_told() -> None:
    _, remarks, _ = read(Api(paging=Paging.NONE), params={"limit": 10})
    assert len(remarks) == 1
    assert "one page of 10 rows, which is full" in remarks[0]
    assert read(Api(paging=Paging.NONE, rows=9), params={"limit": 10})[1] == []
    assert read(Api(paging=Paging.NONE), {"type": "single_page"}, params={"limit": 10})[1] == []


def test_a_total_that_moves_meanwhile_may_pass() -> None:
    def extra(path: str, query: dict[str, str]) -> Answer | None:
        return Answer(b'{"items": [{"id": 99}], "total": 29, "next": null}') if query.get("start") == "20" else None

    with pytest.raises(TransientError, match="they changed while they were read"):
        read(Api(total=Total.TOTAL), None, extra)


@pytest.mark.parametrize(
    "more",
    [
        {"following": "?page=2"},
        {"meta": {"more_url": "/api/visits?page=2"}},
        {"record_total": 30},
        {"meta": {"totals": {"visits": 30}}},
    ],
)
def test_a_sign_of_more_by_a_name_that_nobody_knows_is_told(more: dict[str, Any]) -> None:
    body = {"items": [{"id": 1}, {"id": 2}], **more}
    rows, remarks, _ = read(Api(), None, lambda path, query: Answer(json.dumps(body).encode()))
    assert (ids(rows), len(remarks)) == ([1, 2], 1)
    assert "rows may be missing" in remarks[0]


@pytest.mark.parametrize(
    "more",
    [
        {"self": "?page=1", "last": "?page=1", "links": {"self": "?page=1", "prev": "?page=0"}, "page_total": 30},
        {"docs_url": "https://docs.example.org/visits?v=2", "took_count_ms": 30, "account": 55},
        {"meta": {"count": {"total": 2}}},
    ],
)
def test_what_is_no_sign_of_more_is_not_told(more: dict[str, Any]) -> None:
    body = {"items": [{"id": 1}, {"id": 2}], **more}
    assert read(Api(), None, lambda path, query: Answer(json.dumps(body).encode()))[1] == []


@pytest.mark.parametrize(
    "shape",
    [
        {"type": "json_link", "next_url_path": "nxet"},
        {"type": "cursor", "cursor_path": "meta.nxet", "cursor_param": "c"},
        {"type": "header_cursor", "cursor_key": "X-Nxet", "cursor_param": "c"},
        {"type": "header_link", "links_next_key": "nxet"},
    ],
)
def test_a_path_that_has_never_named_a_next_page_is_told(shape: dict[str, Any]) -> None:
    remarks = read(Api(), shape, lambda path, query: Answer(b'{"items": [{"id": 1}]}'))[1]
    assert "nxet" in remarks[0].lower()
    assert "rows may be missing" in remarks[0]
    known = {"next": True}
    assert read(Api(), shape, lambda path, query: Answer(b'{"items": [{"id": 1}]}'), way=known)[1] == []


LINK, CURSOR = {"type": "json_link", "next_url_path": "nxet"}, {"type": "cursor", "cursor_path": "nxet"}


@pytest.mark.parametrize(
    ("shape", "at", "value", "second"),
    [
        (LINK, "forward", "/api/visits/page/2", "visits/page/2"),
        (LINK, "info.more", "./page-2", "page-2"),
        ({**CURSOR, "cursor_param": "at"}, "position", "abc", "at=abc"),
        ({**CURSOR, "cursor_param": "at"}, "state.resume", 17, "at=17"),
    ],
)
def test_a_next_page_that_the_paginators_path_misses_fails_with_its_place(
    shape: dict[str, Any], at: str, value: Any, second: str
) -> None:
    outer, _, inner = at.rpartition(".")

    def answer(path: str, query: dict[str, str]) -> Answer:
        found = {"items": [{"id": 1}, {"id": 2}], "docs": "/api/docs", "status": "ok", "count": 2}
        if second in path or second in urlencode(query):
            return Answer(json.dumps({**found, "items": [{"id": 3}]}).encode())
        return Answer(json.dumps({**found, **({outer: {inner: value}} if outer else {inner: value})}).encode())

    with pytest.raises(ConfigurationError, match="'nxet' names nothing in the answer") as caught:
        read(Api(), shape, answer)
    assert "brings more rows of visits: correct the path" in str(caught.value)


@pytest.mark.parametrize("shape", [LINK, {**CURSOR, "cursor_param": "at"}])
@pytest.mark.parametrize("volatile", [False, True])
def test_what_names_no_next_page_fails_nothing(shape: dict[str, Any], volatile: bool) -> None:
    served: list[int] = []

    def answer(path: str, query: dict[str, str]) -> Answer:
        served.append(1)
        if "error" in path or query.get("at") == "no":
            return Answer(b"no such page", 500)
        row = {"id": 1, "served": len(served)} if volatile else {"id": 1}
        body = {"items": [row], "profile": "/api/visits?view=1", "form": "/api/error", "one": "no", "logout": "/api/x"}
        return Answer(json.dumps(body).encode())

    rows, remarks, requests = read(Api(), shape, answer)
    assert ids(rows) == [1]
    assert "nothing stands at the paginator's 'nxet'" in remarks[0] or "may be the next one's" in remarks[0]
    assert not any("/api/x" in request for request in requests)


@pytest.mark.parametrize(
    "link", ["/visits?page=2", "api/visits?page=2", "?page=2", "visits?page=2", "/api/visits?page=2"]
)
def test_a_link_as_seen_from_where_the_api_begins_is_followed(link: str) -> None:
    def answer(path: str, query: dict[str, str]) -> Answer:
        second = query.get("page") == "2"
        return Answer(json.dumps({"items": [{"id": 2 if second else 1}], "next": None if second else link}).encode())

    rows, remarks, requests = read(Api(), None, answer)
    assert (ids(rows), remarks) == ([1, 2], [])
    assert all("/api/visits" in request for request in requests)


# --- the word of an error (line 11) ----------------------------------------------------------------------------------


def says(body: bytes, paginator: Any = None, **question: Any) -> list[Any]:
    return read(Api(), paginator, lambda path, query: Answer(body), **question)[0]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error": "quota exceeded"}', TransientError),
        (b'{"error": {"code": 17, "message": "no such thing"}}', ConfigurationError),
        (b'{"errors": [{"message": "canary"}]}', ConfigurationError),
        (b'{"errors": [{"message": "canary"}], "data": null}', ConfigurationError),
        (b'{"items": [{"id": 1}], "error": "canary"}', ConfigurationError),
        (b'{"success": false, "items": []}', ConfigurationError),
        (b'{"status": "error", "message": "canary"}', ConfigurationError),
        (b'{"message": "canary"}', ConfigurationError),
        (b'[{"error": "canary"}]', ConfigurationError),
        (b'{"errorMessage": "canary"}', ConfigurationError),
        (b'{"errorCode": 17, "items": []}', ConfigurationError),
        (b'"canary"', ConfigurationError),
        (b'{"items": [{"id": 1}], "incomplete_results": true}', TransientError),
        (b'{"items": [{"id": 1}], "truncated": true}', ConfigurationError),
        (b'{"items": [], "status": 500}', ConfigurationError),
        (b'{"code": 401, "message": "canary", "data": null}', ConfigurationError),
        (b'{"items": [], "hasErrors": true}', ConfigurationError),
        (b'{"result": "fail", "items": []}', ConfigurationError),
        (b'{"items": [], "message": "Search failed"}', ConfigurationError),
        (b'{"code": 1, "msg": "failed", "data": []}', ConfigurationError),
        (b'{"code": 1, "msg": "failed", "data": null}', ConfigurationError),
        (b'{"items": [], "message": "Upstream timed out for canary"}', TransientError),
        (b'{"items": [], "messages": [{"level": "ERROR", "text": "canary"}]}', ConfigurationError),
        (b'{"items": [], "status": "REQUEST_DENIED"}', ConfigurationError),
        (b'{"items": [], "meta": {"status": 401, "msg": "canary"}}', ConfigurationError),
        (b'{"status": {"code": -1, "message": "canary"}, "items": []}', ConfigurationError),
        (b'{"errcode": 40001, "errmsg": "canary"}', ConfigurationError),
    ],
)
@pytest.mark.parametrize("selector", [None, "$", "items"])
def test_an_error_with_status_200_is_no_answer(body: bytes, kind: type[RunError], selector: str | None) -> None:
    if selector == "$" and b"items" in body:
        selector = "$.items"
    with pytest.raises(RunError) as caught:
        says(body, data_selector=selector)
    assert selector == "items" or isinstance(caught.value, kind)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"items": [{"id": 1}], "error": null, "errors": [], "success": true}',
        b'{"items": [{"id": 1}], "error": {"code": 0, "message": "OK"}}',
        b'{"items": [{"id": 1}], "error": "none", "status": "ok"}',
        b'[{"id": 1, "error": "fell out of bed"}]',
        b'{"id": 1, "error": "fell out of bed", "message": "x"}',
        b'{"id": 1, "status": 500, "message": "x"}',
        b'{"items": [{"id": 1}], "status": 500, "complete": true, "truncated": false}',
    ],
)
def test_a_row_or_an_answer_without_an_error_is_read(body: bytes) -> None:
    assert ids(says(body)) == [1]


@pytest.mark.parametrize("selector", ["itms", "$.itms", "itms[*]", "items[*].visit", "data.items"])
def test_a_selector_that_finds_nothing_fails(selector: str) -> None:
    with pytest.raises(ConfigurationError, match="finds nothing in the answer of") as caught:
        read(Api(), data_selector=selector)
    assert "Its list stands at 'items'" in str(caught.value)


@pytest.mark.parametrize(
    ("selector", "body"),
    [
        ("items", b'{"items": [], "total": 0}'),
        ("items", b'{"items": null}'),
        ("$.items[*]", b'{"items": []}'),
        ("items[*].visit", b'{"items": []}'),
        ("items[?(@.kind=='a')]", b'{"items": [{"kind": "b"}]}'),
        ("items", b'{"kind": "list", "etag": "x"}'),
        (None, b'{"items": [], "total": 0}'),
        (None, b"[]"),
        (None, b"{}"),
        (None, b'{"total": 0, "next": null}'),
        (None, b'{"items": [], "message": "ok"}'),
        (None, b'{"items": [], "code": 0, "status": "success", "errors": {}}'),
        (None, b'{"items": [], "message": "No errors, and could not find any visits"}'),
        (None, b'{"items": [], "status": "ZERO_RESULTS", "resultCode": "00"}'),
        (None, b'{"items": [], "status": "expired", "params": {"status": "failed"}}'),
        (None, b'{"items": [], "messages": [{"type": "info", "text": "Invalid rows are left out"}]}'),
        (None, b'{"id": 7, "message": "Invalid consent", "code": 1234, "status": "rejected", "visits": []}'),
        (None, b'{"code": 0, "msg": "ok", "data": null}'),
        ("items", b'{"message": "No records found"}'),
        (None, b'{"message": "No records found"}'),
    ],
)
def test_an_empty_list_is_an_answer(selector: str | None, body: bytes) -> None:
    rows, remarks, _ = read(Api(), None, lambda path, query: Answer(body), data_selector=selector)
    assert (rows, remarks) == ([], [])


def test_what_may_mean_a_failure_is_told_and_what_only_repeats_the_question_is_not() -> None:
    _, remarks, _ = read(Api(), None, lambda path, query: Answer(b'{"items": [], "message": "Canary, please upgrade"}'))
    assert len(remarks) == 1
    assert "has no rows and says something at 'message', which may mean that it failed" in remarks[0]
    assert "Canary" not in remarks[0]
    assert says(b'{"items": [], "message": "Search failed"}', check_complete=False) == []
    assert says(b'{"items": [], "status": "failed"}', params={"status": "failed"}) == []


def test_a_later_page_that_says_that_it_failed_is_no_end() -> None:
    def extra(path: str, query: dict[str, str]) -> Answer | None:
        return Answer(b'{"items": [], "message": "Search failed"}') if query.get("offset") == "10" else None

    with pytest.raises(ConfigurationError, match="is an error, at 'message', though its status is 200"):
        read(Api(paging=Paging.OFFSET), {"type": "offset", "limit": 10, "total_path": None}, extra)


@pytest.mark.parametrize(("value", "is_none"), [(b'""', True), (b"false", True), (b'"none"', False), (b"true", False)])
def test_a_text_in_the_place_of_rows_is_no_row(value: bytes, is_none: bool) -> None:
    body = b'{"items": %s}' % value
    if is_none:  # as PHP and XML write an empty list
        assert says(body, data_selector="items") == []
        return
    with pytest.raises(ConfigurationError, match="finds nothing in the answer of"):
        says(body, data_selector="items")


@pytest.mark.parametrize("body", [b'{"items": []}', b'{"status": "pending"}', b"[]"])
def test_what_is_not_ready_yet_is_no_answer(body: bytes) -> None:
    with pytest.raises(TransientError, match="is not ready yet"):
        read(Api(), None, lambda path, query: Answer(body, 202))
    assert ids(read(Api(), None, lambda path, query: Answer(b'[{"id": 1}]', 202))[0]) == [1]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(b'[{"id": 1}]', 206), "its status 206 says that it is a part"),
        (Answer(b'{"items": [{"id": 1}], "next": {"page": 2}}'), "'next' of the answer may name a next one"),
        (Answer(b'{"items": [{"id": 1}], "complete": false}'), "'complete' of the answer may name a next one"),
    ],
)
def test_what_may_be_a_part_is_told(answer: Answer, told: str) -> None:
    rows, remarks, _ = read(Api(), None, lambda path, query: answer)
    assert (ids(rows), len(remarks)) == ([1], 1)
    assert told in remarks[0]


@pytest.mark.parametrize("status", [400, 403])
def test_a_limit_that_is_spent_may_pass_whatever_its_status(status: int) -> None:
    with pytest.raises(TransientError, match="answered 429"):
        read(Api(), None, lambda path, query: Answer(b'{"error": "Too many requests"}', status))


def test_several_lists_are_told() -> None:
    body = b'{"patients": [{"id": 1}], "visits": [{"id": 2}]}'
    rows, remarks, _ = read(Api(), None, lambda path, query: Answer(body))
    assert ids(rows) == [1]
    assert "has 2 lists" in remarks[0]


# --- broken answers (line 14, 15) ------------------------------------------------------------------------------------

PASSING = [
    Fault.CUT_CHUNK,
    Fault.CUT_LENGTH,
    Fault.CUT_JSON,
    Fault.EMPTY,
    Fault.HTML,
    Fault.UNAVAILABLE,
    Fault.LIMITED,
    Fault.RESET,
]


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("at", [1, 2])
def test_an_answer_that_breaks_off_once_is_asked_for_again(fault: Fault, at: int) -> None:
    rows, remarks, requests = read(Api(fault=fault, fault_at=at))
    assert (ids(rows), remarks, len(requests)) == (list(range(30)), [], 4)


@pytest.mark.parametrize("fault", PASSING)
def test_one_that_breaks_off_each_time_may_pass(fault: Fault) -> None:
    with pytest.raises(TransientError) as caught:
        read(Api(fault=fault, fault_at=2, fault_times=99))
    assert "postgresql" not in str(caught.value)


@pytest.mark.parametrize("writing", [writing for writing in Writing if writing is not Writing.BAD_BYTE])
def test_rows_are_read_however_they_are_written(writing: Writing) -> None:
    api = Api(writing=writing)
    rows, remarks, _ = read(api)
    assert [str(row) for row in rows] == [str(row) for row in api.all().values()]
    assert remarks == []


def test_a_bad_byte_stops_nothing_and_is_told() -> None:
    rows, remarks, _ = read(Api(writing=Writing.BAD_BYTE))
    assert (ids(rows), rows[0]["name"], rows[1]["name"]) == (list(range(30)), "Ren\ufffde 0", "Renée 1")
    assert "bytes that are no UTF-8" in remarks[0]


def test_no_content_is_no_row() -> None:
    assert read(Api(), None, lambda path, query: Answer(b"", 204))[0] == []


# --- no end (line 19) ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paging", [Paging.LINK, Paging.HEADER, Paging.TOKEN, Paging.CURSOR])
def test_pages_in_a_circle_end(paging: Paging) -> None:
    with pytest.raises(ConfigurationError, match="same next page again and again"):
        read(Api(paging=paging, circle=True))


@pytest.mark.parametrize("paging", [Paging.LINK, Paging.TOKEN])
def test_the_last_page_under_ever_new_cursors_ends(paging: Paging) -> None:
    with pytest.raises(ConfigurationError, match="it would never end"):
        read(Api(paging=paging, endless=True))


@pytest.mark.parametrize("empty", [3, MOST_EMPTY_PAGES + 5])
def test_empty_pages_with_a_next_one_end(empty: int) -> None:
    if empty > MOST_EMPTY_PAGES:
        with pytest.raises(ConfigurationError, match="empty pages of visits in a row"):
            read(Api(empty_pages=empty))
    else:
        assert ids(read(Api(empty_pages=empty))[0]) == list(range(30))


@pytest.mark.parametrize("paginator", [{"type": "page_number"}, {"type": "offset", "limit": 10}])
def test_a_parameter_that_is_not_heeded_ends(paginator: Any) -> None:
    api = Api(paging=Paging.OFFSET, heeds=False)
    with pytest.raises(ConfigurationError, match="the same rows for each page"):
        read(api, paginator)
    assert len(read(Api(paging=Paging.OFFSET, heeds=False, rows=10, total=Total.TOTAL), paginator)[0]) == 10


# --- addresses (line 17) and waiting ---------------------------------------------------------------------------------


def test_a_server_that_asks_for_patience_is_waited_for_and_beyond_that_told() -> None:
    with pytest.raises(TransientError, match="It asks to be asked again in 20 minutes"):
        read(Api(), None, lambda path, query: Answer(b"", 429, {"Retry-After": "1200"}))


def test_what_is_wrong_with_a_request_is_told_without_what_it_quotes() -> None:
    body = b'{"detail": "Invalid value for parameter limit: canary"}'
    with pytest.raises(ConfigurationError, match="It says: Invalid value for parameter limit") as caught:
        read(Api(), None, lambda path, query: Answer(body, 400), params={"limit": 1})
    assert "canary" not in str(caught.value)


def test_a_next_page_that_is_named_for_ever_ends_with_the_last_row() -> None:
    def extra(path: str, query: dict[str, str]) -> Answer | None:
        start = int(query.get("start", 0))
        rows = ", ".join(f'{{"id": {number}}}' for number in range(start, min(start + 10, 30)))
        return Answer(f'{{"items": [{rows}], "total": 30, "next": "?start={start + 10}"}}'.encode())

    rows, remarks, requests = read(Api(), None, extra)
    assert (ids(rows), remarks, len(requests)) == (list(range(30)), [], 4)


@pytest.mark.parametrize("more", [{"has_more_path": "mehr"}, {"stop_after_empty_page": True}])
def test_a_cursor_that_is_given_for_ever_ends_where_the_connector_says(more: dict[str, Any]) -> None:
    def extra(path: str, query: dict[str, str]) -> Answer | None:
        start = int(query.get("cursor", 0))
        rows = ", ".join(f'{{"id": {number}}}' for number in range(start, min(start + 10, 30)))
        following = "true" if start < 20 else "false"
        return Answer(f'{{"items": [{rows}], "mehr": {following}, "next_cursor": "{start + 10}"}}'.encode())

    rows, remarks, _ = read(Api(), {"type": "cursor", "cursor_path": "next_cursor", **more}, extra)
    assert (ids(rows), remarks) == (list(range(30)), [])


@pytest.mark.parametrize("body", [b'{"errors": [{"message": "x"}], "items": null}', b'{"items": null, "page": 2}'])
def test_an_object_behind_pages_that_are_lists_is_no_row(body: bytes) -> None:
    api = Api(paging=Paging.HEADER, bare_list=True)
    with pytest.raises(RunError, match=r"is an error, at 'errors'|has no place for rows"):
        read(api, None, lambda path, query: Answer(body) if query.get("start") == "10" else None)
