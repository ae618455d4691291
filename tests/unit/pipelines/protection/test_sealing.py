"""Cursors' values that are kept sealed: the same when they are opened, and nothing to whoever has another key."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from pipelines.protection.sealing import Seal, is_sealed


@pytest.mark.parametrize(
    "value", ["2024-01-31", 7, 7.5, Decimal("7.50"), date(2024, 1, 31), datetime(2024, 1, 31, 8, tzinfo=UTC)]
)
def test_a_sealed_value_is_the_same_when_it_is_opened(value: Any) -> None:
    kept = Seal(b"k").closed(value)
    assert is_sealed(kept)
    assert not is_sealed(value)
    assert "2024" not in kept
    assert (Seal(b"k").opened(kept), type(Seal(b"k").opened(kept))) == (value, type(value))
    assert Seal(b"another").opened(kept) is None
    assert Seal(b"k").opened(kept[:-3]) is None
