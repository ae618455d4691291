"""All pages of one resource, and the proof that they are all: what a server says of itself is compared with what came.

A run fails where rows are known to be missing, remarks where nobody can know, and never goes on without an end. The
reading itself keeps nothing: if the process dies, the next run begins with the first page.
"""

import copy
from collections.abc import Callable, Generator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from dlt.sources.helpers.rest_client.paginators import BasePaginator, RangePaginator
from requests import Request, Response

from connectors.sources.http import Paginator
from pipelines.errors import ConfigurationError, RunError, TransientError
from pipelines.sources.http.answers import complaint_in
from pipelines.sources.http.client import Client
from pipelines.sources.http.error_words import is_harmless, safe_words
from pipelines.sources.http.links import bare
from pipelines.sources.paging import completeness
from pipelines.sources.paging.completeness import Tally
from pipelines.sources.paging.paginators import Cursor, Link, Numbered, detected, paginator_of
from pipelines.sources.paging.repeats import Seen, mark_of, marks_of_each
from pipelines.sources.paging.said_errors import Failure, doubt_in, failure_in, is_a_word, is_passing_error
from pipelines.sources.paging.selecting import Rows, found_out, rivals, rows_at, rows_under
from pipelines.sources.paging.verdicts import Judge, Verdict

_PAST_THE_END = frozenset({404, 416})
"""Statuses that mean that a page of this number is not there any more."""


_ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class Question:
    """The question to a server: the first page, where the rows stand in it, and the way to the next."""

    table: str
    path: str
    method: str = "GET"
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    data_selector: str | None = None
    paginator: Paginator | BasePaginator | None = None
    """None: it is found out from the first answer."""
    select: Callable[[Any], Rows] | None = None
    """Takes the rows out of an answer, in place of a path."""
    check_complete: bool = True
    way: MutableMapping[str, Any] = field(default_factory=dict)
    """Kept from load to load: whether the paginator's path has ever named a next page. Empty: not yet."""
    known: tuple[str, ...] = ()
    """Names that a server's words may have in a sentence."""
    way_out: str = ""
    """What to do where the source says that there are more rows than came; empty: set the paginator."""


def read_pages(client: Client, question: Question) -> Generator[list[Any], None, bool]:
    """The rows of each page; in the end, whether the source's total fell meanwhile.

    Raises:
        RunError: when the server refuses, rows are missing, or there would be no end.
    """
    return _Reading(client, question).pages()


class _Reading:
    """One reading of all pages."""

    def __init__(self, client: Client, question: Question) -> None:
        self._client = client
        self._question = question
        self._tally = Tally(question.table, dict(question.params), client.remark, question.way_out)
        self._judge = Judge(self._tally)
        self._asked = Seen()
        self._keys: tuple[str, ...] | None = None
        self._had_rows = self._was_list = False
        self._where = ""

    def pages(self) -> Generator[list[Any], None, bool]:
        asks = self._question
        request = self._client.request(
            asks.path, asks.method, copy.deepcopy(dict(asks.params)), copy.deepcopy(asks.body)
        )
        self._where = bare(str(request.url))
        shape = asks.paginator
        paginator = shape if isinstance(shape, BasePaginator) else paginator_of(shape)
        guessed = paginator is None
        if paginator is not None:
            paginator.init_request(request)
        self._asked.add(_mark(request))
        while True:
            response = self._answer(request, paginator)
            rows, is_row = self._rows(response)
            self._tally.note(response, rows, is_row=is_row)
            if paginator is None:
                paginator = detected(self._tally.said, len(rows), asks.method, asks.params)
            if self._begins_at_one(rows, paginator, request):
                continue
            verdict = self._judge.judged(rows, paginator)
            if verdict is Verdict.KEEP and rows:
                self._tally.keep(rows)
            ended = verdict is Verdict.END or not self._goes_on(response, rows, paginator, request)
            if verdict is Verdict.KEEP:
                yield rows
            if ended:
                break
        if self._tally.pages > 1:
            asks.way["next"] = True
        if asks.check_complete:
            completeness.check(self._tally, paginator, asks.way, guessed=guessed)
            self._look_before_the_first(paginator)
            self._look_for_a_next(paginator, request, response, rows)
        return self._tally.total_fell

    def _answer(self, request: Request, paginator: BasePaginator | None) -> Response:
        """The answer to one request; one past the last page has no content."""
        later = self._tally.pages > 0
        by_number = isinstance(paginator, RangePaginator)
        try:
            return self._client.answer(
                request,
                later=later and not by_number,
                ends=_PAST_THE_END if later and by_number else (),
                known=self._known(),
            )
        except ConfigurationError:
            if later or not isinstance(paginator, Numbered) or not paginator.may_begin_at_one:
                raise
            # Most likely page 0, which a server that counts from 1 refuses; if not, it says the same again.
            paginator.begin_at_one()
            paginator.update_request(request)
            return self._answer(request, paginator)

    def _known(self) -> tuple[str, ...]:
        return (*self._question.known, *map(str, self._question.params))

    def _rows(self, response: Response) -> tuple[list[Any], bool]:
        """The rows of an answer, and whether it is itself the only one."""
        body, asks = response.json(), self._question
        if body is None:
            return [], False
        found = self._found(body)
        if failure := failure_in(
            body,
            has_rows=bool(found.rows) and not found.is_row,
            is_row=found.is_row,
            asked=asks.params,
            by_words=asks.check_complete,
        ):
            raise self._failed(failure)
        if response.status_code == _ACCEPTED and (not found.rows or found.is_row):
            raise TransientError(f"The source answered 202 at {self._where}: what was asked for is not ready yet.")
        if not found.found:
            self._nothing_found(body)
        if asks.select is None and isinstance(body, str | int | float):
            raise ConfigurationError(
                f"The answer of {self._where} is one plain value, and neither rows nor an object that holds them: "
                f"check {self._client.fields.request}."
            )
        if (
            asks.select is None
            and asks.data_selector is None
            and not self._had_rows
            and (others := rivals(self._keys, body))
        ):
            self._client.remark(
                f"The answer of {self._where} has {len(others)} lists, and rows of {asks.table} were read from "
                f"the first: "
                "say by data_selector which one holds them."
            )
        if not found.rows:
            self._look_at_its_words(body)
        self._had_rows = self._had_rows or bool(found.rows)
        return found.rows, found.is_row

    def _found(self, body: Any) -> Rows:
        asks = self._question
        if asks.select is not None:
            return asks.select(body)
        if asks.data_selector is not None:
            return rows_at(asks.data_selector, body)
        if self._had_rows and self._was_list and not isinstance(body, list):
            return Rows([], found=False)  # not one more row, where the pages before were lists of rows
        self._was_list = isinstance(body, list)
        if self._keys is None and not self._had_rows:
            self._keys = found_out(body)
        return rows_under(self._keys, body)

    def _failed(self, failure: Failure) -> RunError:
        said = complaint_in(failure.about)
        words = safe_words(said, self._known())
        told = f" It says: {words}." if words else ""
        sentence = f"The answer of {self._where} is an error, at '{failure.at}', though its status is 200"
        if is_passing_error(said):
            return TransientError(f"{sentence}: the server can't answer now.{told}")
        return ConfigurationError(f"{sentence}: check {self._client.fields.request}.{told}{self._way_out(failure.at)}")

    def _way_out(self, at: str) -> str:
        if self._question.select is not None or not is_a_word(at):
            return ""
        return " If it is none, set check_complete of the resource to false."

    def _look_at_its_words(self, body: Any) -> None:
        """Tell what an answer without rows says, where that may be an error."""
        if not self._question.check_complete or not (at := doubt_in(body, self._question.params)):
            return
        words = safe_words(complaint_in(body), self._known())
        self._client.remark(
            f"An answer of {self._where} has no rows and says something at '{at}', which may mean that it failed"
            + (f": {words}." if words else ".")
            + " If not, set check_complete of the resource to false."
        )

    def _nothing_found(self, body: Any) -> None:
        """A path that names nothing in an answer that has something else. Later it only means that the list is left
        out."""
        if self._had_rows:
            raise TransientError(f"A later page of {self._where} has no place for rows, unlike those before.")
        elsewhere = found_out(body)
        hint = f" Its list stands at '{'.'.join(elsewhere)}'." if elsewhere and all(map(is_harmless, elsewhere)) else ""
        raise ConfigurationError(
            f"data_selector '{self._question.data_selector}' finds nothing in the answer of {self._where}: "
            f"correct it, or "
            f"leave it out.{hint}"
        )

    def _begins_at_one(self, rows: list[Any], paginator: BasePaginator, request: Request) -> bool:
        """Whether a page 0 is empty because the server counts from 1: then page 1 is asked for."""
        if rows or self._tally.pages != 1 or not isinstance(paginator, Numbered) or not paginator.may_begin_at_one:
            return False
        paginator.begin_at_one()
        paginator.update_request(request)
        return True

    def _goes_on(self, response: Response, rows: list[Any], paginator: BasePaginator, request: Request) -> bool:
        """Whether there is a next page; then the request asks for it."""
        if response.json() is None:
            return False
        try:
            paginator.update_state(response, rows)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            # dlt's words quote the whole answer.
            raise ConfigurationError(
                f"The paginator of {self._question.table} finds no number at total_path, or neither true nor false at "
                "has_more_path: correct the path, or leave it out."
            ) from None
        if not paginator.has_next_page:
            return False
        paginator.update_request(request)
        if isinstance(paginator, RangePaginator):
            return True
        if (mark := _mark(request)) in self._asked:
            raise ConfigurationError(
                "The source names the same next page again and again: check the paginator, the path to its link or "
                "cursor, and the parameter that takes the cursor."
            )
        self._asked.add(mark)
        return True

    def _look_before_the_first(self, paginator: BasePaginator) -> None:
        """Ask for page 0 where the connector begins with 1 and no total tells whether that is the first."""
        asks, tally = self._question, self._tally
        if not isinstance(paginator, Numbered) or paginator.initial_value != 1 or paginator.base_index != 1:
            return
        if tally.said.total_pages is not None and not tally.said.maybe_pages:
            return  # as many came
        if tally.is_complete or not tally.kept_pages or tally.first_page is None or paginator.param_name is None:
            return
        request = self._client.request(asks.path, asks.method, {**asks.params, paginator.param_name: 0}, asks.body)
        rows = self._found_at(request)
        if rows and not marks_of_each(rows) & tally.first_page:
            raise ConfigurationError(
                f"The source has a page 0 of {tally.table}, with rows that are not on page 1: set the "
                f"paginator's base_page "
                "to 0."
            )

    def _look_for_a_next(self, paginator: BasePaginator, request: Request, response: Response, rows: list[Any]) -> None:
        """Ask for what else the only page may name as the next, where the paginator's path has never named one."""
        asks, tally = self._question, self._tally
        if not isinstance(paginator, Link | Cursor) or not paginator.names_nothing or asks.way or asks.method != "GET":
            return
        if tally.pages > 1 or not rows or tally.is_complete or tally.is_row:
            return
        first = marks_of_each(rows)
        for candidate in paginator.candidates(response, rows):
            again = self._found_at(request)
            if not again or not marks_of_each(again) <= first:
                return  # rows that differ each time tell nothing
            other = copy.copy(request)
            other.params = dict(request.params or {})  # type: ignore[arg-type]
            paginator.aim_at(candidate, response)
            paginator.update_request(other)
            if not marks_of_each(self._found_at(other)) <= first:
                where = candidate.path if is_harmless(candidate.path) else "another place"
                raise ConfigurationError(
                    f"The paginator's '{paginator.names_nothing}' names nothing in the answer of {self._where}, and "
                    f"what stands at '{where}' of it brings more rows of {tally.table}: correct the path."
                )

    def _found_at(self, request: Request) -> list[Any]:
        """The rows of an answer that is asked for just to see; none where there is no such page."""
        try:
            found = self._found(self._client.answer(request, ends=(*_PAST_THE_END, 400, 422, 500)).json())
        except RunError:
            return []
        return found.rows if found.found and not found.is_row else []


def _mark(request: Request) -> bytes:
    params: Any = request.params or {}
    return mark_of(request.url, sorted((str(name), str(value)) for name, value in params.items()), request.json)
