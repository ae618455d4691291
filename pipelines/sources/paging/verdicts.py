"""Verdicts on pages, by the pages before them: kept, skipped as the one before once more, or the end.

A server that does not heed the paginator gives the same page for ever, one that counts rows which it does not give has
some twice: the first ends the run, the second is remarked.
"""

from enum import StrEnum
from typing import Any

from dlt.sources.helpers.rest_client.paginators import BasePaginator, RangePaginator

from pipelines.errors import ConfigurationError
from pipelines.sources.paging.completeness import Tally
from pipelines.sources.paging.paginators import Numbered, Offset, Stated
from pipelines.sources.paging.repeats import Seen, mark_of, mark_of_rows, marks_of_each

MOST_EMPTY_PAGES = 50
"""Empty pages in a row, each of which names a next one, after which a run ends."""
MOST_REPEATS = 5
"""Pages in a row, each of which was there before, after which a run ends."""


class Verdict(StrEnum):
    """Verdicts on a page."""

    KEEP = "keep"
    SKIP = "skip"
    """It is the one before once more."""
    END = "end"


class Judge:
    """The judge of one reading's pages, in their order."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._seen, self._beginnings = Seen(), Seen()
        self._empty = self._repeats = 0
        self._short: frozenset[bytes] = frozenset()

    def judged(self, rows: list[Any], paginator: BasePaginator) -> Verdict:
        """What is done with a page, by the pages before it.

        Raises:
            RunError: when they would never end.
        """
        table = self._tally.table
        if not rows:
            if self._tally.rows and self._tally.is_complete:
                return Verdict.END  # some servers name a next page for ever
            self._empty += 1
            if self._empty > MOST_EMPTY_PAGES:
                raise ConfigurationError(
                    f"The source gave {MOST_EMPTY_PAGES} empty pages of {table} in a row, each with a next one: "
                    f"it would "
                    "never end. Check the paginator, and what the parameters leave."
                )
            return Verdict.KEEP
        self._empty = 0
        self._look_at_the_border(rows, paginator)
        mark = mark_of_rows(rows)
        is_known, is_last = mark in self._seen, mark == self._seen.last
        self._seen.add(mark)
        if not is_known:
            self._repeats = 0
            self._look_at_the_beginning(rows)
            return Verdict.KEEP
        if isinstance(paginator, RangePaginator):
            return self._repeated_number(paginator, is_last=is_last)
        if is_last and self._tally.kept_pages == 1 and isinstance(paginator, Stated) and paginator.may_take_another:
            paginator.take_another()
            return Verdict.SKIP
        self._repeats += 1
        if self._repeats >= MOST_REPEATS:
            raise ConfigurationError(
                f"The source gives pages of {table} again that were there before, each with a new next page: it would "
                "never end. Check the paginator: the cursor's path and its parameter."
            )
        self._tally.remark(f"A page of {table} came more than once: without a primary_key its rows are there as often.")
        return Verdict.KEEP

    def _repeated_number(self, paginator: BasePaginator, *, is_last: bool) -> Verdict:
        """What it means that a page of another number, or at another offset, is one that was there before."""
        tally = self._tally
        if is_last and tally.kept_pages == 1 and isinstance(paginator, Numbered) and paginator.may_begin_at_one:
            paginator.begin_at_one()
            return Verdict.SKIP
        if is_last and (tally.is_complete or tally.kept_pages > 1):
            if not tally.is_complete:
                self._tally.remark(
                    f"Past the last page of {tally.table} the source gives that one again, or it gives no more than so "
                    "many rows: nothing tells which. Have the paginator told the end, by total_path or has_more_path."
                )
            return Verdict.END
        if is_last:
            raise ConfigurationError(
                f"The source gives the same rows for each page of {tally.table}: it does not heed the paginator's "
                "parameter. Correct its name, or set the paginator to single_page if there is but one page."
            )
        raise ConfigurationError(
            f"The source names the same next page again and again, or gives pages of {tally.table} again that "
            f"were there "
            "before: check the paginator."
        )

    def _look_at_the_beginning(self, rows: list[Any]) -> None:
        """A page that begins as another one and is not the same: the server has not gone on, or the rows moved."""
        first = mark_of(rows[0])
        if first in self._beginnings:
            self._tally.remark(
                f"Pages of {self._tally.table} begin alike, so rows came more than once, and others may be "
                f"missing: check "
                "the paginator, and give the resource a primary_key."
            )
        self._beginnings.add(first)

    def _look_at_the_border(self, rows: list[Any], paginator: BasePaginator) -> None:
        """A server that counts rows which it does not give: then rows at the border of two short pages come twice."""
        if not isinstance(paginator, Offset):
            return
        if self._short and mark_of(rows[0]) in self._short:
            self._tally.remark(
                f"Rows of {self._tally.table} at the border of two pages are equal. Either the source holds "
                f"equal rows, "
                "or it counts rows that it does not give: give the resource a primary_key, or page by a cursor."
            )
        self._short = marks_of_each(rows) if len(rows) < paginator.limit else frozenset()
