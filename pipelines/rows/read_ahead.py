"""Reading ahead: the next pages come in while the last ones are written.

A reader waits for a network or for a driver written in C, and both let other threads run. It also keeps the main thread
free to notice that the run has to end: a signal reaches no thread that waits inside a driver.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

PAGE_ROWS = 20_000
"""Rows that go through a pipe together: dlt's own work for a page does not depend on how many rows it has."""

_DONE = object()
_POLL_SECONDS = 0.2


def gathered(pages: Iterable[list[T]], rows: int = PAGE_ROWS) -> Iterator[list[T]]:
    """The same rows in pages of at least `rows`, the last one excepted."""
    page: list[T] = []
    for more in pages:
        page += more
        if len(page) >= rows:
            yield page
            page = []
    if page:
        yield page


def ahead(read: Callable[[], Iterator[T]], cancel: Callable[[], None] | None = None, depth: int = 2) -> Generator[T]:
    """The items of `read()`, of which up to `depth` are read in a thread before they are asked for.

    When the caller stops early, `cancel` is called, which must end what the thread waits for.
    """
    items: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Any) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                items.put(item, timeout=_POLL_SECONDS)
                return

    def work() -> None:
        try:
            for item in read():
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:  # raised again where the items are taken
            put(error)
        else:
            put(_DONE)

    thread = threading.Thread(target=work, name="reading ahead", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = items.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if item is _DONE:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        if thread.is_alive():
            if cancel is not None:
                with contextlib.suppress(Exception):
                    cancel()
            thread.join(timeout=10)
