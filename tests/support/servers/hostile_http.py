"""A web server that does what real ones do wrong, in any combination: an API of rows with faults.

`Api` says how it pages and what is wrong with it; `HostileServer` serves one on a free port of this machine. Bytes are
written by hand, so that an answer can break off anywhere.
"""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.support.servers.listener import Handler, HttpListener


class Paging(StrEnum):
    """How an API names its next page."""

    LINK = "next"
    ODATA = "@odata.nextLink"
    NESTED = "links.next"
    LIST = "links[]"
    HEADER = "Link"
    TOKEN = "nextPageToken"
    CURSOR = "next_cursor"
    ODD_CURSOR = "bookmark"
    PAGES = "total_pages"
    PAGE = "page"
    OFFSET = "offset"
    MORE = "has_more"
    NONE = "none"


class Total(StrEnum):
    """Where an API says how many rows there are."""

    NOWHERE = ""
    TOTAL = "total"
    NESTED = "meta.totalCount"
    COUNT = "count"
    ODATA = "@odata.count"
    HEADER = "X-Total-Count"
    RANGE = "Content-Range"


class Address(StrEnum):
    """How an API writes the address of its next page."""

    ABSOLUTE = "http://host/path?query"
    PATH = "/path?query"
    RELATIVE = "path?query"
    QUERY = "?query"
    NO_SCHEME = "//host/path?query"
    PORT_TWICE = "http://host:1:1/path?query"


class Fault(StrEnum):
    """What goes wrong with one answer."""

    CUT_CHUNK = "cut between chunks"
    CUT_LENGTH = "shorter than Content-Length"
    CUT_JSON = "half of the body, as if it were whole"
    EMPTY = "an empty body"
    HTML = "a maintenance page with 200"
    LOGIN = "a page to log in with 200"
    ERROR = "an error body with 200"
    ERRORS = "a list of errors with 200"
    UNSUCCESSFUL = "success: false with 200"
    UNAVAILABLE = "503"
    LIMITED = "429 with Retry-After"
    GONE = "410"
    RESET = "the connection is reset"
    OTHER_LIST = "an answer without the list"


class Writing(StrEnum):
    """How an API writes its JSON."""

    PLAIN = "plain"
    BOM = "with a byte order mark"
    UTF16 = "UTF-16"
    LATIN1 = "declared Latin-1"
    CONTROL = "raw control characters"
    NAN = "NaN"
    BAD_BYTE = "one bad byte"


class End(StrEnum):
    """What stands past the last page of an API that is asked by number."""

    EMPTY = "an empty list"
    NOT_FOUND = "404"
    NO_CONTENT = "204"
    LAST = "the last page again"


@dataclass(frozen=True)
class Api:
    """An API of rows `{"id": n, "name": ...}` below `/api/visits`."""

    rows: int = 30
    size: int = 10
    """Rows of a page when nobody asks for a size."""
    cap: int = 1000
    """The most rows that it gives, whatever is asked."""
    paging: Paging = Paging.LINK
    address: Address = Address.ABSOLUTE
    total: Total = Total.NOWHERE
    total_off_by: int = 0
    first_page: int = 1
    end: End = End.EMPTY
    writing: Writing = Writing.PLAIN
    bare_list: bool = False
    heeds: bool = True
    """Heeds the parameter by which pages are asked for."""
    circle: bool = False
    """The last page names an earlier one as the next."""
    endless: bool = False
    """The last page comes again and again, each time with a new cursor."""
    empty_pages: int = 0
    """Empty pages, each with a next one, behind the first."""
    lost: int | None = None
    """A row that no page has, though it is counted."""
    data: tuple[dict[str, Any], ...] | None = None
    """Rows of the test's own, in the order of the pages, in place of `rows` made-up ones."""
    fault: Fault | None = None
    fault_at: int = 1
    """The request at which it happens."""
    fault_times: int = 1
    """How often."""

    def row(self, number: int) -> dict[str, Any]:
        if self.data is not None:
            return self.data[number]
        name = f"Renée {number}"
        if self.writing is Writing.CONTROL:
            name = f"Renée\n{number}\x02"
        return {"id": number, "name": name, "value": float("nan") if self.writing is Writing.NAN else number / 2}

    def all(self) -> dict[int, dict[str, Any]]:
        """The rows that there are, by id."""
        return {number: self.row(number) for number in range(self.rows)}


@dataclass
class Answer:
    """What to answer."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    fault: Fault | None = None


class HostileServer(HttpListener):
    """Serves an API as long as the block lasts. `requests` are the paths that were asked, with their queries."""

    def __init__(self, api: Api, extra: Callable[[str, dict[str, str]], Answer | None] | None = None) -> None:
        self.api = api
        self.requests: list[str] = []
        self.extra = extra
        outer = self

        class Answering(Handler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(length)
                outer.requests.append(self.path)
                outer._write(self, outer.answer(self.path))

            do_GET = do_POST = _serve  # noqa: N815

        super().__init__(Answering)
        self.url = self.address

    def answer(self, path: str) -> Answer:
        """The answer to one request."""
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if self.extra is not None and (found := self.extra(parts.path, query)) is not None:
            return found
        for name in ("pageToken", "cursor", "c"):
            if "-e" in query.get(name, ""):
                query[name], _, query["empty"] = query[name].partition("-e")
        api, number = self.api, len(self.requests)
        if api.fault is not None and api.fault_at <= number < api.fault_at + api.fault_times:
            return self._faulty(api.fault, query)
        return self._page(query)

    def _faulty(self, fault: Fault, query: dict[str, str]) -> Answer:
        bodies = {
            Fault.EMPTY: b"",
            Fault.HTML: b"<!DOCTYPE html><html><h1>We are down for maintenance</h1></html>",
            Fault.LOGIN: b'<html><form><input type="password"></form></html>',
            Fault.ERROR: b'{"error": "quota exceeded"}',
            Fault.ERRORS: b'{"errors": [{"message": "no"}], "items": null}',
            Fault.UNSUCCESSFUL: b'{"success": false, "items": []}',
            Fault.OTHER_LIST: b'{"visits": [{"id": 1}], "page": 1}',
        }
        statuses = {Fault.UNAVAILABLE: 503, Fault.LIMITED: 429, Fault.GONE: 410}
        if fault in statuses:
            headers = {"Retry-After": "0"} if fault is Fault.LIMITED else {}
            return Answer(b'{"message": "no"}', statuses[fault], headers)
        if fault in bodies:
            return Answer(bodies[fault])
        page = self._page(query)
        return Answer(page.body, page.status, page.headers, fault)

    def _page(self, query: dict[str, str]) -> Answer:
        api = self.api
        start, size = self._asked_for(query)
        if start is None:
            return Answer(b"", 404) if api.end is End.NOT_FOUND else Answer(b"", 204)
        rows = [api.row(number) for number in range(start, min(start + size, api.rows)) if number != api.lost]
        empty = int(query.get("empty", 0))
        if empty or (start == size and api.empty_pages and "empty" not in query):
            return self._write_page([], start - size if start >= size else 0, size, (empty or api.empty_pages) - 1)
        return self._write_page(rows, start, size, None)

    def _asked_for(self, query: dict[str, str]) -> tuple[int | None, int]:
        """Where the page begins, and how many rows it has. None: it is past the end."""
        api = self.api
        size = min(int(query.get("limit", api.size)), api.cap)
        if not api.heeds:
            return 0, size
        if api.paging is Paging.OFFSET or (api.paging is Paging.MORE and "offset" in query):
            start = int(query.get("offset", 0))
        elif api.paging in {Paging.PAGE, Paging.PAGES}:
            start = (max(int(query.get("page", api.first_page)), api.first_page) - api.first_page) * size
        else:
            given = query.get("start") or query.get("pageToken") or query.get("cursor") or query.get("c") or "0"
            start = int(given.partition("-")[0])
        if start >= api.rows > 0 and api.paging in {Paging.OFFSET, Paging.PAGE, Paging.PAGES}:
            if api.end is End.LAST:
                return (api.rows - 1) // size * size, size
            return (start if api.end is End.EMPTY else None), size
        return start, size

    def _write_page(self, rows: list[dict[str, Any]], start: int, size: int, empty_left: int | None) -> Answer:
        api = self.api
        following = start + size
        more: int | str | None = following if following < api.rows else None
        if more is None and api.circle and following > size:
            more = size
        if more is None and api.endless:
            more = f"{start}-{len(self.requests)}"
        body: dict[str, Any] = {"items": rows}
        headers: dict[str, str] = {}
        self._state_next(body, headers, more, size, empty_left)
        self._state_total(body, headers, start, len(rows))
        written = body["items"] if api.bare_list else body
        content, kind = self._written(written)
        return Answer(content, 200, {"Content-Type": kind, **headers})

    def _state_next(
        self, body: dict[str, Any], headers: dict[str, str], more: int | str | None, size: int, empty_left: int | None
    ) -> None:
        api = self.api
        query = {} if more is None else {"start": str(more)}
        if empty_left is not None:
            query = {"start": str(size), "empty": str(empty_left)}
        url = self._address(query) if query else None
        cursor = f"{size}-e{empty_left}" if empty_left is not None else query.get("start")
        match api.paging:
            case Paging.LINK:
                body["next"] = url
            case Paging.ODATA if url:
                body["@odata.nextLink"] = url
            case Paging.NESTED:
                body["links"] = {"self": "/api/visits", "next": url}
            case Paging.LIST:
                body["links"] = [{"rel": "self", "href": "/api/visits"}]
                body["links"] += [{"rel": "next", "href": url}] if url else []
            case Paging.HEADER if url:
                headers["Link"] = f'<{url}>; rel="next"'
            case Paging.TOKEN if cursor:
                body["nextPageToken"] = cursor
            case Paging.CURSOR:
                body["meta"] = {"next_cursor": cursor}
            case Paging.ODD_CURSOR if cursor:
                body["bookmark"] = cursor
            case Paging.PAGES:
                body["total_pages"] = -(-api.rows // size)
            case Paging.MORE:
                body["has_more"] = more is not None

    def _state_total(self, body: dict[str, Any], headers: dict[str, str], start: int, rows: int) -> None:
        api = self.api
        total = max(0, api.rows + api.total_off_by)
        match api.total:
            case Total.TOTAL | Total.COUNT | Total.ODATA:
                body[api.total.value] = total
            case Total.NESTED:
                body.setdefault("meta", {})["totalCount"] = total
            case Total.HEADER:
                headers["X-Total-Count"] = str(total)
            case Total.RANGE:
                headers["Content-Range"] = f"items {start}-{start + max(rows - 1, 0)}/{total}"

    def _address(self, query: dict[str, str]) -> str:
        text, host = urlencode(query), f"127.0.0.1:{self.port}"
        return {
            Address.ABSOLUTE: f"http://{host}/api/visits?{text}",
            Address.PATH: f"/api/visits?{text}",
            Address.RELATIVE: f"visits?{text}",
            Address.QUERY: f"?{text}",
            Address.NO_SCHEME: f"//{host}/api/visits?{text}",
            Address.PORT_TWICE: f"http://{host}:{self.port}/api/visits?{text}",
        }[self.api.address]

    def _written(self, value: Any) -> tuple[bytes, str]:
        text = json.dumps(value, ensure_ascii=False)
        match self.api.writing:
            case Writing.BOM:
                return text.encode("utf-8-sig"), "application/json"
            case Writing.UTF16:
                return text.encode("utf-16"), "application/json"
            case Writing.LATIN1:
                return text.encode("latin-1"), "application/json; charset=iso-8859-1"
            case Writing.CONTROL:
                return text.replace("\\n", "\n").replace("\\u0002", "\x02").encode(), "application/json"
            case Writing.BAD_BYTE:
                return text.encode().replace("é".encode(), b"\xe9", 1), "application/json"
        return text.encode(), "text/html; charset=utf-8"

    def _write(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.fault is Fault.RESET:
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
            return
        body = answer.body[: len(answer.body) // 2] if answer.fault is Fault.CUT_JSON else answer.body
        handler.send_response(answer.status)
        for key, value in {"Content-Type": "application/json", **answer.headers}.items():
            handler.send_header(key, value)
        half = body[: len(body) // 2]
        if answer.fault is Fault.CUT_CHUNK:
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(half), half))
        elif answer.fault is Fault.CUT_LENGTH:
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(half)
        elif answer.status == 204:
            handler.end_headers()
            return
        else:
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            return
        handler.wfile.flush()
        handler.close_connection = True
