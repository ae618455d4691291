"""Hearing what a run says while it runs, so that a test goes on just when the run has come that far."""

import contextlib
import logging
import threading
from collections.abc import Iterator


class Lines(logging.Handler):
    """The lines that runs have said."""

    def __init__(self) -> None:
        super().__init__()
        self._said: list[str] = []
        self._news = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        with self._news:
            self._said.append(record.getMessage())
            self._news.notify_all()

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Go on once a line holds the text."""
        with self._news:
            heard = self._news.wait_for(lambda: any(text in line for line in self._said), seconds)
        assert heard, f"no line said '{text}': {self._said}"


@contextlib.contextmanager
def listening() -> Iterator[Lines]:
    """Hear what runs of this process say."""
    logger, lines = logging.getLogger("prefect.pipelines"), Lines()
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.setLevel(before)
        logger.removeHandler(lines)
