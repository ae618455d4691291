"""Reading ahead: the order, the errors, and an early end."""

import threading
from collections.abc import Iterator

import pytest

from pipelines.rows.read_ahead import ahead, gathered


def test_items_come_in_order_and_errors_where_they_happened() -> None:
    def read() -> Iterator[int]:
        yield from range(5)
        raise OSError("gone")

    items = ahead(read)
    assert [next(items) for _ in range(5)] == list(range(5))
    with pytest.raises(OSError, match="gone"):
        next(items)


def test_a_reader_that_waits_is_cancelled_when_nobody_asks_any_more() -> None:
    cancelled = threading.Event()

    def read() -> Iterator[int]:
        yield 1
        assert cancelled.wait(30)

    items = ahead(read, cancelled.set)
    assert next(items) == 1
    items.close()
    assert cancelled.is_set()


def test_small_pages_are_gathered_without_losing_the_last() -> None:
    pages = gathered(([number] * 3 for number in range(5)), rows=5)
    assert [len(page) for page in pages] == [6, 6, 3]
