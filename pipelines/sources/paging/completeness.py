"""Completeness of a table: totals, pages and next pages that a server states, compared with what was read.

Rows that are known to be missing fail the run; where nobody can know, it says so. No value of a row is kept.
"""

from collections.abc import Callable, Mapping
from typing import Any

from dlt.sources.helpers.rest_client.paginators import BasePaginator, RangePaginator, SinglePagePaginator
from requests import Response

from pipelines.errors import ConfigurationError, TransientError
from pipelines.sources.paging.paginators import Offset
from pipelines.sources.paging.repeats import marks_of_each
from pipelines.sources.paging.statements import (
    Reference,
    Statement,
    more_counted,
    names_in,
    plain,
    stated,
    unknown_link,
)

_SIZES = names_in(
    "limit count size pagesize perpage top max maxresults take first rows n num maxitems itemsperpage resultsperpage"
)
"""Parameters (lower case, letters only) by which a page's size is asked for."""

_USUAL_SIZES = frozenset({100, 200, 250, 500, 1000, 2000, 2500, 5000, 10_000})
"""Sizes of pages that servers have by default."""

PARTIAL_CONTENT = 206
_WAY_OUT = "Set check_complete of the resource to false if the source counts something else."


class Tally:
    """The count of what came so far, and of what was said about it."""

    def __init__(self, table: str, params: Mapping[str, Any], remark: Callable[[str], None], way_out: str = "") -> None:
        """`way_out`: what to do where rows are missing, of a source that has no paginator to set."""
        self.table = table
        self.way_out = way_out
        self.params = params
        self.remark = remark
        self.said = Statement()
        self.pages = self.kept_pages = self.rows = 0
        self.last_rows = 0
        self.had_content = True
        self.is_row = self.is_part = False
        self.total: int | None = None
        self.total_at = ""
        self.doubtful_total_at = ""
        """Where a total stands that may be the size of a page that was asked for."""
        self.total_moved = self.total_fell = False
        self.first_page: frozenset[bytes] | None = None
        self.unknown_link_at = self.more_counted_at = ""

    def note(self, response: Response, rows: list[Any], *, is_row: bool) -> None:
        """An answer came."""
        self.pages += 1
        self.last_rows, self.is_row = len(rows), is_row
        self.had_content = response.json() is not None
        self.is_part = response.status_code == PARTIAL_CONTENT
        if self.pages == 1 and not is_row:
            self.unknown_link_at = unknown_link(response.json(), str(response.url))
            self.more_counted_at = more_counted(response.json(), len(rows))
        self.said = said = stated(response.json(), response.headers, is_row=is_row)
        if said.partial_at:
            raise TransientError(
                f"The source says at '{said.partial_at}' that its answer is not whole: rows of "
                f"{self.table} are missing."
            )
        if said.starts_at_first is False and self.pages == 1:
            raise ConfigurationError(
                f"The source says that the first page of {self.table} that was asked for is not its first: set the "
                "paginator's base_page to 0, or correct page or offset."
            )
        total = said.total
        if total is None or (said.maybe_total and total <= len(rows)):
            return
        if said.maybe_total and total in self._sizes():
            self.doubtful_total_at = said.total_at
            return
        self.total_moved = self.total_moved or (self.total is not None and total != self.total)
        self.total_fell = self.total_fell or (self.total is not None and total < self.total)
        self.total, self.total_at = total, said.total_at

    def keep(self, rows: list[Any]) -> None:
        """Rows that land."""
        self.kept_pages += 1
        self.rows += len(rows)
        if self.kept_pages == 1:
            self.first_page = marks_of_each(rows)

    @property
    def is_complete(self) -> bool:
        """Exactly as many rows came as the source says that there are: of more, it counts something else."""
        return self.total is not None and self.rows == self.total

    def _sizes(self) -> set[Any]:
        asked = {str(value) for name, value in self.params.items() if plain(name) in _SIZES}
        return {int(value) for value in asked if value.isdecimal()} | (
            {self.said.limit[1]} if self.said.limit else set()
        )

    @property
    def is_full(self) -> bool:
        """The page has exactly as many rows as were asked for, or as pages usually have."""
        return self.last_rows > 0 and self.last_rows in (self._sizes() or _USUAL_SIZES)


def check(tally: Tally, paginator: BasePaginator, way: Mapping[str, Any], *, guessed: bool) -> None:
    """Compare what came with what the source said, now that there is no next page. `way`: see `Question`.

    Raises:
        RunError: when rows are missing.
    """
    left_out = 0
    pages_left_out = 0
    if isinstance(paginator, RangePaginator):
        if paginator.maximum_value is not None and paginator.current_value >= paginator.maximum_value:
            return  # the connector wants no more
        if isinstance(paginator, Offset):
            left_out = paginator.initial_value
        else:
            pages_left_out = max(0, paginator.initial_value - paginator.base_index)
    _check_total(tally, left_out, is_whole=pages_left_out == 0)
    _check_pages(tally, pages_left_out)
    _check_next(tally, paginator)
    if isinstance(paginator, RangePaginator) or tally.pages > 1 or tally.is_complete or tally.is_row:
        return
    if not guessed and isinstance(paginator, SinglePagePaginator):
        return  # the connector says that there is no more
    if doubt := _doubt(tally) or _nothing_at(paginator, way):
        way_out = tally.way_out or "set the paginator of the resource, or single_page if that is all."
        tally.remark(
            f"{tally.table} came on one page of {tally.last_rows} rows, {doubt}: rows may be missing. "
            f"{way_out[0].upper()}{way_out[1:]}"
        )


def _doubt(tally: Tally) -> str:
    """What about a single page, of which nobody has said that it is all, may mean that there are more."""
    if tally.doubtful_total_at:
        return f"and the source says more at '{tally.doubtful_total_at}'"
    if tally.said.hint_at:
        return f"and '{tally.said.hint_at}' of the answer may name a next one"
    if tally.unknown_link_at:
        return f"and the address at '{tally.unknown_link_at}' of the answer may be the next one's"
    if tally.more_counted_at and tally.total is None:
        return f"and the source says more at '{tally.more_counted_at}'"
    if tally.total is not None:
        return f"and what the source says at '{tally.total_at}' is less, so it counts something else"
    full = "which is full, and the source names no next one" if tally.is_full else ""
    return "and its status 206 says that it is a part" if tally.is_part else full


def _nothing_at(paginator: BasePaginator, way: Mapping[str, Any]) -> str:
    """The paginator's path that named nothing in this answer, nor in those of any load before."""
    path = getattr(paginator, "names_nothing", "")
    return f"and nothing stands at the paginator's '{path}', here or in any load before" if path and not way else ""


def _check_total(tally: Tally, left_out: int, *, is_whole: bool) -> None:
    if tally.total is None or not is_whole or tally.rows + left_out >= tally.total:
        return
    counted = f"there are {tally.total} rows of {tally.table}, and {tally.rows} came"
    sentence = f"The source says at '{tally.total_at}' that {counted}"
    if tally.total_moved:
        raise TransientError(f"{sentence}: they changed while they were read, and rows are missing.")
    if tally.way_out:
        raise ConfigurationError(f"{sentence}, with no way to more of them: {tally.way_out}")
    if tally.pages == 1:
        raise ConfigurationError(f"{sentence}, with no way to the next page: {_advice(tally.said)} {_WAY_OUT}")
    raise ConfigurationError(f"{sentence}, on {tally.pages} pages: check the paginator. {_WAY_OUT}")


def _check_pages(tally: Tally, left_out: int) -> None:
    pages = tally.said.total_pages
    if pages is None or tally.said.maybe_pages or tally.is_complete or tally.kept_pages + left_out >= pages:
        return
    if not tally.had_content or tally.is_row:
        return
    raise ConfigurationError(
        f"The source says that {tally.table} has {pages} pages, and {tally.kept_pages} came with rows: "
        f"{_advice(tally.said)} {_WAY_OUT}"
    )


def _check_next(tally: Tally, paginator: BasePaginator) -> None:
    """A next page that the last answer names, and that nobody asked for."""
    said = tally.said
    by_number = isinstance(paginator, RangePaginator)
    if tally.is_complete or not tally.had_content:
        return
    if by_number and not tally.last_rows:
        if said.next is not None or said.has_more or said.hint_at:
            tally.remark(
                f"The last page of {tally.table} is empty, and yet the source says that more follows: rows may "
                f"be missing. "
                f"If so, {_advice(said)}"
            )
        return
    if getattr(paginator, "has_more_path", None) or (
        not tally.last_rows and getattr(paginator, "stop_after_empty_page", False)
    ):
        return  # the connector says itself what ends the pages
    if said.next is not None and said.has_more is not False:
        raise ConfigurationError(
            f"The source names a next page of {tally.table}, at '{said.next.path}', and the paginator does not go "
            f"there: {_advice(said)} {_WAY_OUT}"
        )
    if said.has_more:
        raise ConfigurationError(
            f"The source says at '{said.more_at}' that there are more rows of {tally.table}, and the paginator "
            f"finds no "
            f"way there: {_advice(said)} {_WAY_OUT}"
        )


def _advice(said: Statement) -> str:
    """The paginator to set, by what the answer names."""
    match said:
        case Statement(next=Reference(path="Link")):
            shape = '{"type": "header_link"}'
        case Statement(next=Reference(path=path, is_link=True)):
            shape = f'{{"type": "json_link", "next_url_path": "{_quoted(path)}"}}'
        case Statement(next=Reference(path=path, parameter=parameter)):
            shape = (
                f'{{"type": "cursor", "cursor_path": "{_quoted(path)}", "cursor_param": "{parameter or "..."}"}}, with '
                "the parameter that the source takes it by"
            )
        case Statement(total_pages=int()):
            shape = '{"type": "page_number"}'
        case Statement(offset=(offset, _), limit=(limit, _)):
            shape = f'{{"type": "offset", "limit": ..., "offset_param": "{offset}", "limit_param": "{limit}"}}'
        case _:
            shape = "the one that its documentation describes: page_number, offset or cursor"
    return f"set the paginator to {shape}."


def _quoted(path: str) -> str:
    """A path as the setting takes it."""
    return path.replace("[?].url", "[?(@.rel=='next')].href")
