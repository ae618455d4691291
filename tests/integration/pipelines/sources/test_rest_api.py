"""REST APIs: paging, credentials, increments, nested and changing values, errors."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.errors import ConfigurationError, TransientError
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import Answer, Asked, WebServer


def source(url: str, auth: Any = None, paginator: Any = None, **resource: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "rest_api", "base_url": url + "/api"}
    made["resources"] = [{"name": "visits", "path": "visits", **resource}]
    if auth:
        made["auth"] = auth
    if paginator:
        made["paginator"] = paginator
    return made


ROWS: list[dict[str, Any]] = [
    {"id": number, "seen": f"2024-01-01T00:{number // 60:02}:{number % 60:02}Z", "who": {"n": number}}
    for number in range(250)
]


def _slice(asked: Asked, start: int, size: int = 100) -> list[dict[str, Any]]:
    return ROWS[start : start + size]


def _by_offset(asked: Asked) -> Any:
    return {"items": _slice(asked, int(asked.query["offset"]), int(asked.query["limit"]))}


def _by_page(asked: Asked) -> Any:
    return {"items": _slice(asked, int(asked.query["page"]) * 100)}


def _by_link(asked: Asked) -> Any:
    start = int(asked.query.get("start", 0))
    following = f"/api/visits?start={start + 100}" if start + 100 < len(ROWS) else None
    return {"items": _slice(asked, start), "next": following}


def _by_header(asked: Asked) -> Any:
    start = int(asked.query.get("start", 0))
    host = asked.headers["host"]
    link = f'<http://{host}/api/visits?start={start + 100}>; rel="next"'
    return Answer(_slice(asked, start), headers={"Link": link} if start + 100 < len(ROWS) else {})


def _by_cursor(asked: Asked) -> Any:
    start = int(asked.query.get("after", 0))
    following = str(start + 100) if start + 100 < len(ROWS) else None
    return {"items": _slice(asked, start), "cursors": {"next": following}}


def _by_header_cursor(asked: Asked) -> Any:
    start = int(asked.query.get("cursor", 0))
    return Answer(_slice(asked, start), headers={"next": str(start + 100)} if start + 100 < len(ROWS) else {})


@pytest.mark.parametrize(
    ("answer", "paginator"),
    [
        (_by_offset, {"type": "offset", "limit": 100}),
        (_by_page, {"type": "page_number"}),
        (_by_link, {"type": "json_link"}),
        (_by_header, {"type": "header_link"}),
        (_by_header, {"type": "auto"}),
        (_by_header, None),
        (_by_cursor, {"type": "cursor", "cursor_param": "after"}),
        (_by_header_cursor, {"type": "header_cursor"}),
        (lambda asked: ROWS, {"type": "single_page"}),
    ],
)
def test_every_way_of_paging_brings_every_row_once(platform: Platform, answer: Any, paginator: Any) -> None:
    with WebServer(answer) as server:
        connector = platform.add(source(server.url, paginator=paginator, primary_key="id"))
        assert platform.run(connector).rows == {"visits": 250}
    ((rows, ids, kind, nested),) = platform.duck(
        f"SELECT count(*), count(DISTINCT id), any_value(typeof(seen)), sum((who->>'n')::int) "
        f"FROM connector_{connector}.visits"
    )
    assert (rows, ids, kind, nested) == (250, 250, "TIMESTAMP WITH TIME ZONE", sum(range(250)))


def test_a_cursor_asks_only_for_what_is_newer(platform: Platform) -> None:
    rows = list(ROWS[:10])
    with WebServer(lambda asked: [row for row in rows if row["seen"] >= asked.query["since"]]) as server:
        connector = platform.add(
            source(
                server.url, {}, {"type": "single_page"}, primary_key="id", cursor_path="seen", cursor_param="since",
                initial_value="2024-01-01T00:00:00Z", write_disposition="append", lag=5,
            )
        )  # fmt: skip
        assert platform.run(connector).total_rows == 10
        rows += ROWS[10:15]
        assert platform.run(connector).total_rows == 5
        assert platform.run(connector).total_rows == 0
        assert server.asked[-1].query["since"] == "2024-01-01T00:00:09Z"
        rows += ROWS[15:20]
        summary = platform.run(connector)
        assert (summary.total_rows, summary.new_columns.get("visits", [])) == (5, [])
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visits") == [(20,)]


AUTHS = [
    ({"type": "bearer", "token": {"env": "CAI_SECRET_T"}}, {"authorization": "Bearer s3cret"}),
    (
        {"type": "http_basic", "username": "u", "password": {"env": "CAI_SECRET_T"}},
        {"authorization": "Basic " + base64.b64encode(b"u:s3cret").decode()},
    ),
    ({"type": "api_key", "api_key": {"env": "CAI_SECRET_T"}, "name": "X-Key"}, {"x-key": "s3cret"}),
    (
        {"type": "api_key", "api_key": {"env": "CAI_SECRET_T"}, "name": "k", "location": "cookie"},
        {"cookie": "k=s3cret"},
    ),
]


@pytest.mark.parametrize(("auth", "expected"), AUTHS)
def test_credentials_reach_the_source(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, auth: Any, expected: dict[str, str]
) -> None:
    monkeypatch.setenv("CAI_SECRET_T", "s3cret")
    with WebServer(lambda asked: [{"id": 1}]) as server:
        platform.run(platform.add(source(server.url, auth, {"type": "single_page"})))
        assert {**server.asked[0].headers, **expected} == server.asked[0].headers


def test_an_oauth2_token_is_asked_for_and_used(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_T", "s3cret")

    def answer(asked: Asked) -> Any:
        if asked.path == "/token":
            assert b"client_secret=s3cret" in asked.body
            return {"access_token": "t0ken", "expires_in": 3600}
        return [{"id": 1, "ok": asked.headers.get("authorization") == "Bearer t0ken"}]

    with WebServer(answer) as server:
        auth = {
            "type": "oauth2_client_credentials", "access_token_url": server.url + "/token",
            "client_id": "me", "client_secret": {"env": "CAI_SECRET_T"},
        }  # fmt: skip
        connector = platform.add(source(server.url, auth, {"type": "single_page"}))
        platform.run(connector)
    assert platform.duck(f"SELECT ok FROM connector_{connector}.visits") == [(True,)]


def test_credentials_never_leave_for_another_host(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_T", "s3cret")
    with WebServer(lambda asked: []) as thief:
        with WebServer(lambda asked: {"items": [{"id": 1}], "next": thief.url + "/api/visits"}) as server:
            auth = {"type": "bearer", "token": {"env": "CAI_SECRET_T"}}
            connector = platform.add(source(server.url, auth, {"type": "json_link"}))
            with pytest.raises(ConfigurationError, match="credentials are not sent there"):
                platform.run(connector)
        assert not thief.asked


def test_credentials_do_not_follow_a_redirect_to_another_host(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAI_SECRET_T", "s3cret")
    with WebServer(lambda asked: []) as thief:

        def answer(asked: Asked) -> Any:
            # The slash at the end, as many servers want it, on their own host; then off to another.
            to = "/api/visits/" if asked.path == "/api/visits" else thief.url
            return Answer({}, 302, {"Location": to})

        with WebServer(answer) as server:
            auth = {"type": "api_key", "api_key": {"env": "CAI_SECRET_T"}, "name": "X-Key"}
            connector = platform.add(source(server.url, auth, {"type": "single_page"}))
            with pytest.raises(ConfigurationError, match="credentials are not sent there"):
                platform.run(connector)
            assert [asked.path for asked in server.asked] == ["/api/visits", "/api/visits/"]
        assert not thief.asked


@pytest.mark.parametrize(
    "paginator", [{"type": "json_link"}, {"type": "cursor", "cursor_path": "next", "cursor_param": "p"}]
)
def test_a_server_that_turns_in_a_circle_is_left(platform: Platform, paginator: Any) -> None:
    with WebServer(lambda asked: {"items": [{"id": 1}], "next": "/api/visits?p=2"}) as server:
        with pytest.raises(ConfigurationError, match="same next page"):
            platform.run(platform.add(source(server.url, {}, paginator, data_selector="items")))
        assert len(server.asked) < 6


def test_types_that_change_between_pages_and_runs_lose_nothing(platform: Platform) -> None:
    pages = [
        [{"id": 1, "v": 1, "late": None}, {"id": 2, "v": 2, "late": None}],
        [{"id": 3, "v": 2.5, "late": "x"}],
        [{"id": 4, "v": "high", "late": 7}, {"id": 5, "v": 3, "list": [1]}],
    ]
    with WebServer(lambda asked: pages[int(asked.query["page"])] if int(asked.query["page"]) < 3 else []) as server:
        connector = platform.add(source(server.url, {}, {"type": "page_number"}, primary_key="id"))
        platform.run(connector)
        platform.run(connector)
    found = platform.duck(
        "SELECT id, coalesce(v::text, v__v_double::text, v__v_text), late, list::text "
        f"FROM connector_{connector}.visits ORDER BY id"
    )
    assert found == [
        (1, "1", None, None),
        (2, "2", None, None),
        (3, "2.5", "x", None),
        (4, "high", "7", None),
        (5, "3", None, "[1]"),
    ]


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, ConfigurationError, "did not accept the credentials"),
        (403, ConfigurationError, "forbids this"),
        (404, ConfigurationError, "there is nothing"),
        (422, ConfigurationError, "did not accept the request"),
        (503, TransientError, "overloaded or down"),
        (429, TransientError, "overloaded or down"),
    ],
)
def test_an_error_of_the_source_says_what_to_do(
    platform: Platform, status: int, kind: type[Exception], words: str
) -> None:
    with WebServer(lambda asked: Answer({"error": "no"}, status)) as server:
        connector = platform.add(source(server.url, {}, {"type": "single_page"}))
        with pytest.raises(kind, match=words):
            platform.run(connector)


def test_an_answer_that_is_no_json_is_said_to_be_none(platform: Platform) -> None:
    with WebServer(lambda asked: Answer(b"<html>login</html>")) as server:
        connector = platform.add(source(server.url, {}, {"type": "single_page"}))
        with pytest.raises(ConfigurationError, match="is no JSON"):
            platform.run(connector)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": "quota exceeded"}, TransientError),
        ({"success": False, "items": []}, ConfigurationError),
        ({"visits": []}, ConfigurationError),
    ],
)
def test_a_replaced_table_is_not_emptied_on_the_word_of_an_error(
    platform: Platform, body: Any, kind: type[Exception]
) -> None:
    answers: list[Any] = [{"items": ROWS[:3]}, body, {"items": []}, {"items": ROWS[:2]}]
    with WebServer(lambda asked: answers[0]) as server:
        connector = platform.add(
            source(server.url, {}, {"type": "single_page"}, write_disposition="replace", data_selector="items")
        )
        assert platform.run(connector).total_rows == 3
        answers.pop(0)
        with pytest.raises(kind):
            platform.run(connector)
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visits") == [(3,)]


def test_rows_that_may_be_missing_are_told_in_the_runs_sentence(platform: Platform) -> None:
    with WebServer(lambda asked: ROWS[:100]) as server:
        found = platform.run(platform.add(source(server.url, primary_key="id")))
    assert found.total_rows == 100
    assert "visits came on one page of 100 rows, which is full" in " ".join(found.remarks)


def test_a_row_limit_stops_reading(platform: Platform) -> None:
    with WebServer(_by_offset) as server:
        connector = platform.add(source(server.url, {}, {"type": "offset", "limit": 10}, primary_key="id"))
        assert platform.run(connector, row_limit=15).total_rows == 15
        assert len(server.asked) == 2


def test_the_first_rows_of_a_backfill_are_of_its_time(platform: Platform) -> None:
    keys = {"primary_key": "id", "cursor_path": "seen"}
    window = {"backfill_from": datetime(2024, 1, 1, 0, 1, tzinfo=UTC), "backfill_to": datetime(2024, 1, 1, 0, 2)}  # noqa: DTZ001
    with WebServer(_by_offset) as server:  # which heeds no time
        connector = platform.add(source(server.url, {}, {"type": "offset", "limit": 10}, **keys))
        assert platform.run(connector, **window, row_limit=15).total_rows == 15
        assert len(server.asked) == 8
        found = platform.duck(f"SELECT min(id), max(id) FROM connector_{connector}.visits")
        assert found == [(60, 74)]
        assert platform.run(connector).total_rows == 250  # the cursor stayed where it was


def test_a_backfill_by_a_cursor_that_holds_no_moments_is_refused(platform: Platform) -> None:
    with WebServer(lambda asked: ROWS) as server:
        connector = platform.add(
            source(server.url, {}, {"type": "single_page"}, primary_key="id", cursor_path="id", initial_value=0)
        )
        with pytest.raises(ConfigurationError, match="a backfill needs a cursor that holds moments"):
            platform.run(connector, backfill_from=datetime(2024, 1, 1, tzinfo=UTC))


def test_a_token_that_is_not_given_is_told_by_its_own_address(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAI_SECRET_T", "s3cret")
    with WebServer(lambda asked: Answer({}, 404 if asked.path == "/token" else 200)) as server:
        auth = {
            "type": "oauth2_client_credentials", "access_token_url": server.url + "/token",
            "client_id": "me", "client_secret": {"env": "CAI_SECRET_T"},
        }  # fmt: skip
        with pytest.raises(ConfigurationError, match=r"there is nothing: check source\.auth\.access_token_url"):
            platform.run(platform.add(source(server.url, auth, {"type": "single_page"})))
