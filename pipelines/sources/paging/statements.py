"""Statements of an answer about itself: how many rows there are, where the next page is, what went wrong.

Servers say it in some dozen ways, in the body or in headers; all that is usual is known here. Only the answer's
envelope is looked at: objects around the rows, never the rows, which may have a column of any name. Everything here
is pure.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

from pipelines.sources.http.links import related


def names_in(text: str) -> frozenset[str]:
    """The names of a text, apart by spaces."""
    return frozenset(text.split())


_ENVELOPES = names_in(
    "meta metadata pagination paging paginator page pages pageinfo pageable links link cursors cursor "
    "info response responsemetadata data result results hits summary header headers searchinfo d odata "
    "payload content list output resultset collection embedded count counts totals"
)
"""Names (lower case, letters only) of objects that hold what is said about a page, or the page itself."""
_DEPTH = 3

_TOTALS = names_in(
    "total totalcount totalresults totalitems totalelements totalrecords totalsize totalrows totalhits "
    "totalentries totalobjects totaldocs totalresources odatacount inlinecount numfound hydratotalitems "
    "recordsfiltered opensearchtotalresults numbermatched resultstotal fulltotal countall totalnum "
    "totalnumber"
)
_MAYBE_TOTALS = names_in("count resultcount resultscount itemcount recordcount rowcount numresults numitems")
"""Names of totals that others take for the rows of one page."""
_TOTAL_PAGES = names_in("totalpages pagecount pagescount pagestotal numpages numberofpages lastpage totalpagecount")
_MAYBE_TOTAL_PAGES = frozenset({"pages", "maxpage"})
_CURRENT_PAGE = ("currentpage", "pagenumber", "pageno", "pageindex", "pagenum", "number", "page", "current")

_NEXT_LINKS = names_in(
    "next nextlink nexturl nextpage nextpageurl nextpagelink nexthref nexturi nextpageuri odatanextlink "
    "nextrecordsurl nextresultsurl nextresults hydranext"
)
_CURSORS = {
    "nextpagetoken": {"nextPageToken": "pageToken", "next_page_token": "page_token"},
    "nextcursor": {"": "cursor"},
    "nexttoken": {},
    "nextmarker": {"": "marker"},
    "nextcontinuationtoken": {},
    "continuationtoken": {},
    "nextoffset": {"": "offset"},
    "nextpage": {"": "page"},
    "next": {"": "cursor"},
    "after": {"": "after"},
}
"""Names of cursors, and the parameter that takes them, by the way that the name is written; {}: the name itself."""

NO_NEXT_LINKS = names_in(
    "self first prev previous last href url uri link canonical current base up here prevlink prevurl previouslink "
    "previousurl prevpage previouspage firstlink firsturl firstpage lastlink lasturl lastpage selflink selfurl "
    "currenturl currentpage prevpageurl previouspageurl firstpageurl lastpageurl path id odatacontext context "
    "documentation docs help schema request requesturl requesturi deltalink odatadeltalink"
)
"""Names of addresses that are not the next page's."""

_MORE = names_in(
    "hasmore hasnext hasnextpage more moreresults moreavailable morerecords hasmoreresults istruncated truncated "
    "resultstruncated resultsettruncated"
)
_LAST = names_in("last islast islastpage done isdone")
_PARTIAL = names_in("incompleteresults timedout partial partialresults ispartial")

SAID_OF_NOTHING = names_in(
    "kind etag selflink self first prev previous last next nextlink nextpagetoken nextcursor total "
    "totalcount count size limit offset page pages pagesize perpage meta metadata links link pagination "
    "paging cursors cursor hasmore hasnext more took status success ok version timestamp requestid api "
    "apiversion totalresults totalitems totalpages error errors context odatacontext odatacount "
    "odatanextlink odataetag currentpage"
)
"""What an answer may hold that has no row, and so leaves the list out."""

_TOTAL_HEADERS = (
    "X-Total-Count",
    "X-Total",
    "Total-Count",
    "X-WP-Total",
    "X-Pagination-Total-Count",
    "X-Total-Results",
)
_PAGES_HEADERS = ("X-Total-Pages", "X-WP-TotalPages", "X-Pagination-Page-Count", "X-Pagination-Total-Pages")


def plain(name: object) -> str:
    """A name by its letters alone: nextPageToken, next_page_token and NextPageToken are one."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


@dataclass(frozen=True, slots=True)
class Reference:
    """The next page, as an answer names it: an address, or a cursor for a parameter (None: nobody knows which)."""

    path: str
    value: Any
    is_link: bool
    parameter: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """Everything that one answer says of itself."""

    total: int | None = None
    total_at: str = ""
    """Where the total stands, as a path or a header's name."""
    maybe_total: bool = False
    """It might as well count the rows of this page."""
    total_pages: int | None = None
    maybe_pages: bool = False
    current_page: int | None = None
    next: Reference | None = None
    has_more: bool | None = None
    more_at: str = ""
    starts_at_first: bool | None = None
    offset: tuple[str, int] | None = None
    limit: tuple[str, int] | None = None
    partial_at: str = ""
    hint_at: str = ""
    """Where something stands that may name a next page, by a name that nobody knows."""


def stated(body: Any, headers: Mapping[str, str], *, is_row: bool = False) -> Statement:
    """What an answer says of itself. `is_row`: its body is the only row."""
    total, total_at, maybe = _header_total(headers), "its headers", False
    pages = _first(whole(headers.get(name)) for name in _PAGES_HEADERS)
    following: Reference | None = None
    if url := related(headers.get("Link", "")).get("next"):
        following = Reference("Link", url, is_link=True)
    if not isinstance(body, dict) or is_row:
        return Statement(total, total_at, total_pages=pages, next=following)
    fields = list(_fields(body))
    if total is None:
        total, total_at, maybe = _total(fields)
    has_more, more_at = _has_more(fields)
    maybe_pages = False
    if pages is None:
        pages, maybe_pages = _total_pages(fields)
    return Statement(
        total=total,
        total_at=total_at,
        maybe_total=maybe,
        total_pages=pages,
        maybe_pages=maybe_pages,
        current_page=_first(whole(value) for key in _CURRENT_PAGE for _, name, value in fields if name == key),
        next=following or next_in(fields),
        has_more=has_more,
        more_at=more_at,
        starts_at_first=_first(value for _, name, value in fields if name == "first" and isinstance(value, bool)),
        offset=_named(fields, ("offset", "skip", "startat", "start")),
        limit=_named(fields, ("limit", "maxresults", "take", "pagesize", "perpage", "size")),
        hint_at=_first(path for path, name, value in fields if _is_hint(name, value)) or "",
        partial_at=_first(path for path, name, value in fields if name in _PARTIAL and value is True) or "",
    )


Field = tuple[str, str, Any]
"""A path, the name at its end in plain letters, and the value there."""


def _fields(body: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[Field]:
    """All that stands in an answer's envelope, what is further out first."""
    inner: list[tuple[str, Any]] = []
    for key, value in body.items():
        here = f"{path}.{key}" if path else str(key)
        name = plain(key)
        yield here, name, value
        if isinstance(value, dict) and depth < _DEPTH and name in _ENVELOPES:
            inner.append((here, value))
    for here, value in inner:
        yield from _fields(value, here, depth + 1)


def _total(fields: list[Field]) -> tuple[int | None, str, bool]:
    for names in (_TOTALS, _MAYBE_TOTALS):
        for path, name, value in fields:
            # {"pages": {"total": 3}} counts pages.
            if name in names and plain(path.rpartition(".")[0].rpartition(".")[2]) != "pages":
                number = whole(value.get("value") if isinstance(value, dict) else value)
                if number is not None:
                    return number, path, names is _MAYBE_TOTALS
    return None, "", False


def _total_pages(fields: list[Field]) -> tuple[int | None, bool]:
    for names in (_TOTAL_PAGES, _MAYBE_TOTAL_PAGES):
        for _, name, value in fields:
            if name in names and (number := whole(value)) is not None:
                return number, names is _MAYBE_TOTAL_PAGES
    return None, False


def _has_more(fields: list[Field]) -> tuple[bool | None, str]:
    found: tuple[bool | None, str] = None, ""
    for path, name, value in fields:
        said = truth(value)
        if said is None or not (name in _MORE or name in _LAST):
            continue
        more = said if name in _MORE else not said
        if more:
            return True, path
        found = False, path
    return found


def next_in(fields: list[Field]) -> Reference | None:
    """The next page that an envelope names; a link rather than a cursor."""
    for path, name, value in fields:
        if name in {"links", "link"} and isinstance(value, list):
            for link in value:
                relation = link.get("rel") or link.get("relation") if isinstance(link, dict) else None
                if relation == "next" and isinstance(url := link.get("href") or link.get("url"), str) and url:
                    return Reference(f"{path}[?].url", url, is_link=True)
        if name in _NEXT_LINKS:
            inner = value
            if isinstance(value, dict):
                inner = next((value[key] for key in ("href", "url", "uri", "link") if value.get(key)), None)
            if isinstance(inner, str) and is_link(inner):
                return Reference(path, inner, is_link=True)
    for path, name, value in fields:
        if name in _CURSORS and value not in (None, "", False, 0) and isinstance(value, str | int):
            key, within = path.rpartition(".")[2], plain(path.rpartition(".")[0].rpartition(".")[2])
            if name == "after" and within not in {"cursors", "next", "paging"}:
                continue
            if isinstance(value, bool) or (name == "nextpage" and not str(value).isdecimal()):
                continue
            known = _CURSORS[name]
            return Reference(path, value, is_link=False, parameter=known.get(key, known.get("", key)))
        if name == "endcursor" and value:
            return Reference(path, value, is_link=False)
    return None


def is_link(text: str) -> bool:
    """Whether a text is an address, whole or relative, rather than a cursor."""
    return bool(re.match(r"https?://|//|/|\?|\./", text)) or ("?" in text and "=" in text and " " not in text)


_HINT = re.compile(r"next|cursor|token|continu|bookmark|scroll|marker|resum|morepages|after")


def _is_hint(name: str, value: Any) -> bool:
    if name in {"complete", "iscomplete"}:
        return value is False
    if isinstance(value, dict) and name.startswith("next") and not value.keys() & {"href", "url", "uri", "link"}:
        return any(part not in (0, "", False, None, [], {}) for part in value.values())
    return bool(_HINT.search(name)) and isinstance(value, str | int) and value not in (0, "", False) and len(name) < 40


def unknown_link(body: Any, url: str) -> str:
    """Where an address of the same place with another query stands, under a name that nobody knows: it may be that of
    the next page. `url` is the answer's own."""
    own = urlsplit(url)
    for path, name, value in _fields(body) if isinstance(body, dict) else ():
        if not isinstance(value, str) or name in NO_NEXT_LINKS or not is_link(value):
            continue
        there = urlsplit(urljoin(url, value))
        if (
            there.query
            and there.path.rstrip("/") == own.path.rstrip("/")
            and parse_qs(there.query) != parse_qs(own.query)
        ):
            return path
    return ""


def more_counted(body: Any, rows: int) -> str:
    """Where a number above that of the rows stands, under a name that may be that of a total."""
    for path, name, value in _fields(body) if isinstance(body, dict) else ():
        number = whole(value)
        if number is None or number <= rows or not isinstance(value, int):
            continue
        if _COUNTS.search(plain(path)) and not _COUNTS_OTHERS.search(name):
            return path
    return ""


_COUNTS = re.compile(r"total|count|found|matches")
_COUNTS_OTHERS = re.compile(
    r"page|time|took|ms$|seconds|limit|size|bytes|max|quota|remaining|rate|request|shard|cost|credit|unread|code|offset"
    r"|account|country|discount"
)
"""Parts of names that have a count in them and count no rows."""


def _header_total(headers: Mapping[str, str]) -> int | None:
    for name in _TOTAL_HEADERS:
        if (found := whole(headers.get(name))) is not None:
            return found
    # "items 0-9/30", or "0-9/30" as PostgREST writes it.
    span = re.fullmatch(r"(?!bytes\b)(?:[\w-]+ )?(?:\d+-\d+|\*)/(\d{1,15})", headers.get("Content-Range", "").strip())
    return int(span[1]) if span else None


def _named(fields: list[Field], names: tuple[str, ...]) -> tuple[str, int] | None:
    for wanted in names:
        for path, name, value in fields:
            if name == wanted and (number := whole(value)) is not None:
                return path.rpartition(".")[2], number
    return None


def whole(value: Any) -> int | None:
    """A value as the whole number that it is or that its text says; None: it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int):
        return int(value) if value >= 0 else None
    return int(value) if isinstance(value, str) and re.fullmatch(r"\s*\d{1,15}\s*", value) else None


def truth(value: Any) -> bool | None:
    """A value as the true or false that it is or that its text says; None: it says neither."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


def _first(found: Iterator[Any]) -> Any:
    return next((value for value in found if value is not None), None)
