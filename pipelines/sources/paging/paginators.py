"""Ways from one page to the next: dlt's paginators, with what they take for granted put right.

dlt goes on by the limit that it asked for, whatever was delivered; begins with page 0 where a server begins with page
1; and follows a next page only where it guesses its name. Nothing here is kept: a run that dies begins with the first
page.
"""

from collections.abc import Mapping
from typing import Any

from dlt.sources.helpers.rest_client import paginators
from dlt.sources.helpers.rest_client.paginators import BasePaginator, RangePaginator, SinglePagePaginator
from requests import Request, Response

from connectors.sources.http import PageNumberPaginator, Paginator, PlainPaginator
from pipelines.errors import ConfigurationError
from pipelines.sources.http.links import next_address, related
from pipelines.sources.paging.selecting import compiled, values_at
from pipelines.sources.paging.statements import Reference, Statement, stated, whole
from pipelines.sources.paging.unnamed_pages import Candidate, cursors_in, links_in

__all__ = [
    "Cursor",
    "Link",
    "Numbered",
    "Offset",
    "RangePaginator",
    "SinglePagePaginator",
    "Stated",
    "detected",
    "paginator_of",
]


class Offset(paginators.OffsetPaginator):
    """By offset and limit: on by as many rows as came, since servers cap the limit."""

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Goes on behind the rows of this answer."""
        self.value_step = len(data) if data else self.limit
        super().update_state(response, data)


class Numbered(paginators.PageNumberPaginator):
    """By the number of the page. `may_begin_at_one`: the base is a guess, and the server's first page may be 1."""

    def __init__(self, *, may_begin_at_one: bool, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.may_begin_at_one = may_begin_at_one

    def begin_at_one(self) -> None:
        """The server counts from 1: there is one page more than a count from 0 has."""
        self.may_begin_at_one = False
        self.base_index = 1
        self.current_value = max(self.current_value, 1)

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Goes on to the next number, up to the number of pages that the answer states."""
        super().update_state(response, data)
        said = stated(response.json(), response.headers)
        pages = None if said.maybe_pages else said.total_pages
        if pages is not None and not self.may_begin_at_one and self.current_value >= pages + self.base_index:
            self._has_next_page = False


class _Followed(BasePaginator):
    """By an address, as seen from the answer that names it."""

    def __init__(self) -> None:
        super().__init__()
        self._url = ""

    def _go_to(self, url: Any, response: Response) -> None:
        if isinstance(url, dict):
            url = url.get("href") or url.get("url")
        if url is not None and url is not False and not isinstance(url, str):
            raise ConfigurationError(
                "What stands at the paginator's path is no address: a cursor, or the number of a page, needs the "
                "paginator cursor."
            )
        self._has_next_page = bool(url)
        self._url = next_address(str(response.url), url) if url else ""

    def update_request(self, request: Request) -> None:
        """Asks there, with the parameters that stand in the address."""
        if self._url:
            request.url = self._url
            request.params = {}


class Link(_Followed):
    """By an address in the body. `names_nothing`: its path, as long as no answer has it."""

    def __init__(self, next_url_path: str) -> None:
        super().__init__()
        self._path = self.names_nothing = next_url_path
        compiled(next_url_path)

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Finds the address."""
        found = values_at(self._path, response.json())
        self.names_nothing = "" if found else self.names_nothing
        self._go_to(next(iter(found), None), response)

    def candidates(self, response: Response, rows: list[Any]) -> list[Candidate]:
        """What else in an answer may be the address."""
        return links_in(response.json(), rows, str(response.url))

    def aim_at(self, candidate: Candidate, response: Response) -> None:
        """Ask there next."""
        self._go_to(candidate.value, response)


class HeaderLink(_Followed):
    """By an address in the Link header."""

    def __init__(self, links_next_key: str) -> None:
        super().__init__()
        self._key = links_next_key.lower()
        self.names_nothing = links_next_key if links_next_key != "next" else ""

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Finds the address."""
        links = related(response.headers.get("Link", ""))
        self.names_nothing = "" if self._key in links else self.names_nothing
        self._go_to(links.get(self._key), response)


class Stated(_Followed):
    """By whatever the answer names as its next page: an address, or a cursor whose parameter is known."""

    def __init__(self, *, links_only: bool = False, parameters: tuple[str, ...] = ()) -> None:
        """`parameters`: those that may take the cursor, the likeliest first; none: the one that goes with its name."""
        super().__init__()
        self._links_only = links_only
        self._parameters = parameters
        self._reference: Reference | None = None
        self._not_heeded: tuple[str, ...] = ()

    @property
    def may_take_another(self) -> bool:
        """Whether there is a parameter left to try."""
        return len(self._parameters) > 1

    def take_another(self) -> None:
        """The server does not heed the parameter: the next one is tried."""
        self._not_heeded += self._parameters[:1]
        self._parameters = self._parameters[1:]

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Finds the address or the cursor."""
        said = stated(response.json(), response.headers)
        self._reference = following = said.next
        if following is None or following.is_link:
            self._go_to(following.value if following else None, response)
        else:
            self._has_next_page = not self._links_only and said.has_more is not False and bool(following.parameter)

    def update_request(self, request: Request) -> None:
        """Asks for it."""
        following = self._reference
        if following is not None and not following.is_link and following.parameter:
            params: Any = request.params or {}
            params = {name: value for name, value in params.items() if name not in self._not_heeded}
            parameter = next(iter(self._parameters), following.parameter)
            request.params = {**params, parameter: following.value}
        super().update_request(request)


class HeaderCursor(paginators.HeaderCursorPaginator):
    """By a cursor in a header. `names_nothing`: its name, as long as no answer has it."""

    def __init__(self, cursor_key: str = "next", **keywords: Any) -> None:
        super().__init__(cursor_key=cursor_key, **keywords)
        self.names_nothing = cursor_key

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Finds the cursor."""
        self.names_nothing = "" if self.cursor_key in response.headers else self.names_nothing
        super().update_state(response, data)


class Cursor(paginators.JSONResponseCursorPaginator):
    """By a cursor in the body, also one whose name holds a point."""

    def __init__(self, cursor_path: str, **keywords: Any) -> None:
        super().__init__(cursor_path=cursor_path, **keywords)
        self._plain_path = self.names_nothing = cursor_path

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Finds the cursor."""
        super().update_state(response, data)
        found = values_at(self._plain_path, response.json())
        self.names_nothing = "" if found else self.names_nothing
        if self._next_reference is None and found and found[0] and not (self.stop_after_empty_page and not data):
            self._next_reference = found[0]

    def candidates(self, response: Response, rows: list[Any]) -> list[Candidate]:
        """What else in an answer may be the cursor."""
        return cursors_in(response.json(), rows)

    def aim_at(self, candidate: Candidate, _response: Response) -> None:
        """Ask for it next."""
        self._next_reference = str(candidate.value)


_PAGINATORS = {
    "single_page": SinglePagePaginator,
    "json_link": Link,
    "header_link": HeaderLink,
    "header_cursor": HeaderCursor,
    "cursor": Cursor,
    "offset": Offset,
}


def paginator_of(shape: Paginator | None) -> BasePaginator | None:
    """The paginator that a connector names; None finds out from the first answer.

    Raises:
        ConfigurationError: when its keys go together with nothing.
    """
    if shape is None or (isinstance(shape, PlainPaginator) and shape.type == "auto"):
        return None
    keywords = shape.model_dump(exclude={"type"}, exclude_none=True)
    for name, path in keywords.items():
        if name.endswith("_path") and not name.endswith("_body_path"):
            compiled(path)
    if hasattr(shape, "total_path") and shape.total_path is None:
        # dlt looks for a `total` in the body unless told that there is none.
        keywords["total_path"] = None
    try:
        if isinstance(shape, PageNumberPaginator):
            return Numbered(may_begin_at_one=shape.base_page == 0 and shape.page is None, **keywords)
        made: BasePaginator = _PAGINATORS[shape.type](**keywords)
    except ValueError:
        raise ConfigurationError(
            "The paginator's keys don't go together: a parameter stands in the query or in the body, not in both, and "
            "something must end the pages: total_path, has_more_path, a maximum, or stop_after_empty_page."
        ) from None
    return made


def detected(said: Statement, rows: int, method: str, asked: Mapping[str, Any]) -> BasePaginator:
    """The way to the next page by what the first answer says of itself; a single page when it says nothing.

    `asked` are the parameters of the first request.
    """
    following = said.next
    if following is not None and following.is_link:
        return Stated()
    if method != "GET":
        # Whether a cursor belongs into the query or into the body, nobody says.
        return SinglePagePaginator()
    if said.total_pages is not None and said.total_pages > 1 and "page" not in asked:
        base = said.current_page if said.current_page in {0, 1} else 0
        return Numbered(
            may_begin_at_one=said.current_page not in {0, 1}, base_page=base, page_param="page", total_path=None
        )
    if following is not None and following.parameter:
        return Stated(parameters=_parameters(following.path, whole(following.value), following.parameter, said))
    if said.offset is not None and said.limit is not None and said.total is not None and said.offset[1] == 0 and rows:
        return Offset(said.limit[1] or rows, offset_param=said.offset[0], limit_param=said.limit[0], total_path=None)
    return SinglePagePaginator()


def _parameters(path: str, number: int | None, usual: str, said: Statement) -> tuple[str, ...]:
    """The parameters that may take what stands at a path: a number under `next` may be that of a page, or a cursor."""
    if path.rpartition(".")[2] != "next" or number is None:
        return ()
    following = 2 if said.current_page is None else said.current_page + 1
    return ("page", usual) if number == following else (usual, "page")
