"""Remarks of a run: what people must know of rows that landed otherwise than they might expect.

A value that lands beside its column, a page that could not be checked, a cursor that starts over: each is one sentence
without any value of any row, said in the run's own sentence and kept with the load's record. Rows that are known to be
missing are no remark: they fail the run.
"""

from collections.abc import Iterator

LONGEST_LIST = 20
"""Remarks that are kept; of more, only their number is said."""


class Remarks:
    """The remarks of one run, each once, in the order in which they came."""

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}
        self._more = 0

    def add(self, sentence: str) -> None:
        """Keep a sentence that ends with a full stop and holds no value of a row. Saying it again changes nothing."""
        if sentence in self._sentences:
            return
        if len(self._sentences) < LONGEST_LIST:
            self._sentences[sentence] = None
        else:
            self._more += 1

    def __iter__(self) -> Iterator[str]:
        yield from self._sentences
        if self._more:
            yield f"There are {self._more} more remarks like these."
