"""Values of drivers land exactly, or as text beside their column."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from pipelines.sources.sql.values import fitted

MOMENT = pa.timestamp("us")


@pytest.mark.parametrize(
    ("kind", "value", "lands", "beside"),
    [
        (MOMENT, 1_700_000_000, None, "1700000000"),  # seconds, which Arrow would take for microseconds
        (MOMENT, "2024-01-01 10:00:00.1234567", None, "2024-01-01 10:00:00.1234567"),
        (MOMENT, "2024-01-01 10:00:00.1234560", datetime(2024, 1, 1, 10, 0, 0, 123456, UTC), None),
        (MOMENT, "2024-01-01T10:00:00+02:00", datetime(2024, 1, 1, 8, tzinfo=UTC), None),
        (MOMENT, 2460310.5, None, "2460310.5"),
        (pa.date32(), 19_000, None, "19000"),
        (pa.date32(), "2024-02-30", None, "2024-02-30"),
        (pa.date32(), datetime(2024, 1, 1, 10, tzinfo=UTC), None, "2024-01-01 10:00:00+00:00"),
        (pa.date32(), date(2024, 1, 1), date(2024, 1, 1), None),
        (pa.time64("us"), "10:00:00+02:00", None, "10:00:00+02:00"),
        (pa.time64("us"), "10:00:00.5", time(10, 0, 0, 500_000), None),
        (pa.time64("us"), 36_000, None, "36000"),
        (pa.int64(), "1_000", None, "1_000"),
        (pa.int64(), "1000", 1000, None),
        (pa.int64(), 7.5, None, "7.5"),
        (pa.int64(), 2**63, None, str(2**63)),
        (pa.int64(), b"\x01", None, "\x01"),
        (pa.float64(), "1_000", None, "1_000"),
        (pa.float64(), "nan", None, "nan"),
        (pa.float64(), 2**53 + 1, None, str(2**53 + 1)),
        (pa.float64(), 0.1, 0.1, None),
        (pa.decimal128(10, 2), 12.345, None, "12.345"),
        (pa.decimal128(10, 2), Decimal("12.345"), None, "12.345"),
        (pa.decimal128(10, 2), 12.1, Decimal("12.10"), None),
        (pa.decimal128(10, 2), "1e3", Decimal("1000.00"), None),
        (pa.decimal128(10, 2), 10**9, None, str(10**9)),
        (pa.decimal128(38, 9), "NaN", None, "NaN"),
        (
            pa.decimal128(38, 9),
            "-12345678901234567890123456789.1234567890",
            Decimal("-12345678901234567890123456789.123456789"),
            None,
        ),
        (
            pa.decimal128(38, 9),
            "12345678901234567890123456789.1234567891",
            None,
            "12345678901234567890123456789.1234567891",
        ),
        (pa.decimal128(10, 2), "0.000", Decimal("0.00"), None),
        (pa.bool_(), 1, True, None),
        (pa.bool_(), 2, None, "2"),
        (pa.bool_(), "true", None, "true"),
        (pa.string(), 1.5, "1.5", None),
        (pa.string(), b"\xff", "ff", None),
        (pa.binary(), "text", b"text", None),
    ],
)
def test_a_value_lands_exactly_or_beside(kind: pa.DataType, value: Any, lands: Any, beside: str | None) -> None:
    column, others = fitted(kind, (value, None))
    (found, empty) = column.to_pylist()
    if isinstance(lands, datetime):
        lands = lands.replace(tzinfo=None)
    assert (found, empty) == (lands, None)
    assert (None if others is None else others.to_pylist()) == (None if beside is None else [beside, None])
