"""Values of any Arrow type against a column of any type: in the column as they are, or beside it."""

# ruff: noqa: DTZ001  # moments without a zone are what it is about

import json
import math
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import ConfigurationError
from pipelines.rows.fitting import Fitter, remarks_of
from pipelines.rows.marks import with_own
from pipelines.rows.types.arrivals import json_column
from pipelines.rows.types.columns import (
    BIGINT,
    BINARY,
    BOOL,
    CLOCK,
    DATE,
    DOUBLE,
    JSON,
    MOMENT,
    NAIVE,
    TEXT,
    Column,
    decimal,
    of_hint,
)

INT = Column("bigint", pa.int32())
D = Decimal
NOON = datetime(2024, 1, 2, 12, 30, 15, 123456)

CASES: list[tuple[str, Column | None, Any, dict[str, list[Any]]]] = [
    (
        "a fraction in whole numbers",
        BIGINT,
        pa.array([1.0, 1.5, None]),
        {"x": [1, None, None], "x__v_double": [None, 1.5, None]},
    ),
    (
        "a number beyond 64 bit",
        BIGINT,
        pa.array([7, 2**64 - 1], pa.uint64()),
        {"x": [7, None], "x__v_decimal": [None, D(2**64 - 1)]},
    ),
    ("a number beyond 32 bit", INT, pa.array([7, 2**31]), {"x": [7, None], "x__v_bigint": [None, 2**31]}),
    ("not a number", BIGINT, pa.array([math.inf, 2.0]), {"x": [None, 2], "x__v_double": [math.inf, None]}),
    (
        "whole numbers that a double has",
        DOUBLE,
        pa.array([1, 2**53 + 1]),
        {"x": [1.0, None], "x__v_bigint": [None, 2**53 + 1]},
    ),
    (
        "decimals that a double has",
        DOUBLE,
        pa.array([D("0.1"), D("0.12345678901234567")]),
        {"x": [0.1, None], "x__v_decimal": [None, D("0.12345678901234567")]},
    ),
    (
        "more places",
        decimal(10, 2),
        pa.array([D("1.2000"), D("1.2345")], pa.decimal128(12, 4)),
        {"x": [D("1.20"), None], "x__v_decimal": [None, D("1.2345")]},
    ),
    (
        "doubles in decimals",
        decimal(10, 2),
        pa.array([0.1, 1.25, 1.255]),
        {"x": [D("0.10"), D("1.25"), None], "x__v_double": [None, None, 1.255]},
    ),
    (
        "whole numbers in decimals",
        decimal(4, 2),
        pa.array([12, 123]),
        {"x": [D("12.00"), None], "x__v_bigint": [None, 123]},
    ),
    ("text in whole numbers", BIGINT, pa.array(["12", "<5"]), {"x": [None, None], "x__v_text": ["12", "<5"]}),
    ("truth in whole numbers", BIGINT, pa.array([True]), {"x": [None], "x__v_bool": [True]}),
    ("a day in whole numbers", BIGINT, pa.array([date(2024, 1, 1)]), {"x": [None], "x__v_date": [date(2024, 1, 1)]}),
    ("whole numbers in text", TEXT, pa.array([12]), {"x": ["12"]}),
    ("truth in text", TEXT, pa.array([True, False]), {"x": ["true", "false"]}),
    ("decimals in text", TEXT, pa.array([D("0.000000001"), D("0.000000000")]), {"x": ["0.000000001", "0.000000000"]}),
    ("moments in text", TEXT, pa.array([NOON]), {"x": ["2024-01-02 12:30:15.123456"]}),
    ("bytes in text", TEXT, pa.array([b"a\xff"]), {"x": [None], "x__v_binary": [b"a\xff"]}),
    (
        "a text that is too long",
        Column("text", pa.string(), 3),
        pa.array(["äöü", "äöüß"]),
        {"x": ["äöü", None], "x__v_text": [None, "äöüß"]},
    ),
    (
        "moments in days",
        DATE,
        pa.array([datetime(2024, 1, 2), NOON]),
        {"x": [date(2024, 1, 2), None], "x__v_timestamp": [None, NOON]},
    ),
    ("days in moments without a zone", NAIVE, pa.array([date(2024, 1, 2)]), {"x": [datetime(2024, 1, 2)]}),
    (
        "days in moments with a zone",
        MOMENT,
        pa.array([date(2024, 1, 2)]),
        {"x": [None], "x__v_date": [date(2024, 1, 2)]},
    ),
    (
        "moments with a zone in a column without",
        NAIVE,
        pa.array([NOON.replace(tzinfo=UTC)]),
        {"x": [None], "x__v_timestamp": [NOON.replace(tzinfo=UTC)]},
    ),
    ("moments without a zone are UTC", MOMENT, pa.array([NOON]), {"x": [NOON.replace(tzinfo=UTC)]}),
    (
        "moments of another zone",
        MOMENT,
        pa.array([0], pa.timestamp("ms", "Europe/Berlin")),
        {"x": [datetime(1970, 1, 1, tzinfo=UTC)]},
    ),
    (
        "nanoseconds",
        NAIVE,
        pa.array([1000, 1001], pa.timestamp("ns")),
        {"x": [datetime(1970, 1, 1, microsecond=1), None], "x__v_text": [None, "1970-01-01 00:00:00.000001001"]},
    ),
    (
        "nanoseconds of the day",
        CLOCK,
        pa.array([1000, 1001], pa.time64("ns")),
        {"x": [time(microsecond=1), None], "x__v_text": [None, "00:00:00.000001001"]},
    ),
    ("seconds of the day", CLOCK, pa.array([3600], pa.time32("s")), {"x": [time(1)]}),
    (
        "years that no one has",
        DATE,
        pa.array([-800_000, 0], pa.date32()),
        {"x": [None, date(1970, 1, 1)], "x__v_text": ["-0221-09-04", None]},
    ),
    (
        "a moment of a far year",
        None,
        pa.array([2**62], pa.timestamp("us")),
        {"x": [None], "x__v_text": [f"{2**62} us from 1970-01-01"]},
    ),
    ("text in JSON", JSON, pa.array(['say "a"']), {"x": ['"say \\"a\\""']}),
    ("numbers in JSON", JSON, pa.array([1.5, math.nan]), {"x": ["1.5", None], "x__v_double": [None, math.nan]}),
    ("JSON in JSON", JSON, json_column(pa.array(['{"a": 1.00}'])), {"x": ['{"a": 1.00}']}),
    (
        "JSON in whole numbers",
        BIGINT,
        json_column(pa.array(['{"a": 1.00}'])),
        {"x": [None], "x__v_json": ['{"a": 1.00}']},
    ),
    ("a type that nobody can write", Column("text", None), pa.array([1]), {"x__v_bigint": [1]}),
    ("new: small numbers are bigint", None, pa.array([1], pa.int16()), {"x": [1]}),
    ("new: unsigned numbers", None, pa.array([2**64 - 1], pa.uint64()), {"x": [D(2**64 - 1)]}),
    ("new: a float of 32 bit", None, pa.array([0.5], pa.float32()), {"x": [0.5]}),
    ("new: a category", None, pa.array(["a", "b", "a"]).dictionary_encode(), {"x": ["a", "b", "a"]}),
    ("new: large text", None, pa.array(["a"], pa.large_string()), {"x": ["a"]}),
    ("new: a view of text", None, pa.array(["a"], pa.string_view()), {"x": ["a"]}),
    ("new: runs", None, pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]), {"x": ["a", "a", "b"]}),
    ("new: 50 digits", None, pa.array([D("1.5")], pa.decimal256(50, 1)), {"x": [D("1.5")]}),
    (
        "new: 50 digits that are needed",
        None,
        pa.array([D("1" * 49 + ".5")], pa.decimal256(50, 1)),
        {"x": ["1" * 49 + ".5"]},
    ),
    (
        "50 digits later",
        decimal(38, 1),
        pa.array([D("1" * 49 + ".5")], pa.decimal256(50, 1)),
        {"x": [None], "x__v_text": ["1" * 49 + ".5"]},
    ),
    ("new: hundreds", None, pa.array([D(1200)], pa.decimal128(5, -2)), {"x": [D(1200)]}),
    ("new: durations", None, pa.array([1_500_000, -1], pa.duration("us")), {"x": ["PT1.5S", "PT-0.000001S"]}),
    ("new: intervals", None, pa.array([(1, 2, 3_000_000_000)], pa.month_day_nano_interval()), {"x": ["P1M2DT3S"]}),
    ("new: milliseconds that are days", None, pa.array([86_400_000], pa.date64()), {"x": [date(1970, 1, 2)]}),
    ("new: lists", None, pa.array([[1, None], None]), {"x": ["[1,null]", None]}),
    ("new: structs", None, pa.array([{"a": D("1.50"), "b": math.nan}]), {"x": ['{"a":1.50,"b":"nan"}']}),
    ("new: maps", None, pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), {"x": ['{"a":1}']}),
    (
        "new: nanoseconds in a list",
        None,
        pa.array([[1]], pa.list_(pa.timestamp("ns"))),
        {"x": ['["1970-01-01 00:00:00.000000001"]']},
    ),
    ("new: nothing at all", None, pa.nulls(2), {}),
    ("nothing at all", BIGINT, pa.nulls(2), {}),
]


@pytest.mark.parametrize(("known", "arriving", "expected"), [pytest.param(*case, id=name) for name, *case in CASES])
def test_a_value_lands_as_it_is_or_beside(known: Column | None, arriving: pa.Array, expected: dict[str, Any]) -> None:
    fitter = Fitter(known={} if known is None else {"x": known})
    landed = fitter.fit(pa.table({"x": arriving}))
    assert _said(landed.to_pydict()) == _said(expected)
    for name in landed.column_names:
        assert landed.schema.field(name).type == fitter.known[name].arrow


def _said(columns: dict[str, list[Any]]) -> dict[str, list[str]]:
    """Columns as texts: NaN is not itself."""
    return {
        name: [value.isoformat() if isinstance(value, datetime) else repr(value) for value in values]
        for name, values in columns.items()
    }


def test_a_column_beside_that_is_known_keeps_its_own_type() -> None:
    fitter = Fitter(known={"x": BIGINT, "x__v_decimal": decimal(4, 2)})
    values = pa.array([D("1.000"), D("1.250"), D("1.255")], pa.decimal128(10, 3))
    assert fitter.fit(pa.table({"x": values})).to_pydict() == {
        "x": [1, None, None],
        "x__v_decimal": [None, D("1.25"), None],
        "x__v_text": [None, None, "1.255"],
    }


def test_what_a_reader_put_beside_and_what_does_not_fit_here_share_a_column() -> None:
    fitter = Fitter(known={"x": BIGINT})
    table = pa.table({"x": pa.array(["a", None, None]), "x__v_text": pa.array([None, "b", None])})
    assert fitter.fit(table).to_pydict() == {"x": [None] * 3, "x__v_text": ["a", "b", None]}


def test_the_first_table_of_a_load_decides_for_the_next() -> None:
    fitter = Fitter()
    fitter.count(fitter.fit(pa.table({"x": pa.array([1])})), by_row=False)
    second = fitter.fit(pa.table({"x": pa.array([1.5])}))
    assert second.to_pydict() == {"x": [None], "x__v_double": [1.5]}
    fitter.count(second, by_row=False)
    assert list(remarks_of("t", fitter, {"x", "x__v_double"}, by_row=False)) == [
        "1 value of 'x' of table t did not fit its type bigint and stands in 'x__v_double'."
    ]
    assert "left out" in next(remarks_of("t", fitter, {"x"}, by_row=False))


def test_what_a_contract_leaves_out_is_counted_by_value_or_by_row() -> None:
    fitter = Fitter(known={"x": BIGINT})
    pages = [{"x": [1, 2, 3], "y": ["a", None, "b"]}, {"x": [4, 5], "z": [1, None]}, {"x": ["c"]}]
    for page in pages:
        fitter.count(fitter.fit(pa.table(page)), by_row=True)
    assert list(remarks_of("t", fitter, {"x", "z"}, by_row=False)) == [
        "1 value of 'x' of table t did not fit its type bigint and was left out, as schema_contract says.",
        "2 values of 'y' of table t were left out, as schema_contract says, for the table has no such column.",
    ]
    assert list(remarks_of("t", fitter, {"x"}, by_row=True)) == [
        "4 rows of table t were left out, as schema_contract says, for the table has no column 'x__v_text', 'y', 'z'."
    ]
    assert list(remarks_of("t", fitter, {"x", "y", "z", "x__v_text"}, by_row=False)) == [
        "1 value of 'x' of table t did not fit its type bigint and stands in 'x__v_text'."
    ]


def test_a_column_of_the_sources_own_is_no_misfit_whatever_its_name() -> None:
    fitter = Fitter(known={"x": BIGINT})
    own = with_own(pa.table({"x": [1, None], "x__v_text": [None, "b"]}), {"x__v_text"})
    assert fitter.fit(own).to_pydict() == {"x": [1, None], "x__v_text": [None, "b"]}
    fitter.count(fitter.countable(fitter.fit(own)), by_row=False)
    assert list(remarks_of("t", fitter, {"x", "x__v_text"}, by_row=False)) == []
    both = with_own(pa.table({"x": ["canary"], "x__v_text": ["canary"]}), {"x__v_text"})
    with pytest.raises(ConfigurationError, match="Column 'x__v_text' of the source has the name of the place") as told:
        fitter.fit(both)
    assert "canary" not in str(told.value)


@pytest.mark.parametrize("order", [("x", "x__v_text"), ("x__v_text", "x")])
def test_only_misfits_are_told_where_they_share_a_column_of_the_sources_own(order: tuple[str, str]) -> None:
    fitter = Fitter(known={"x": BIGINT})
    pages = [
        {"x": pa.array([1, None]), "x__v_text": pa.array([None, "own"])},
        {"x": pa.array(["<5", None, "<6", None, None]), "x__v_text": pa.array([None, "own", None, None, "own"])},
        {"x": pa.array([2, None, None]), "x__v_text": pa.array(["own"] * 3)},
        {"x": pa.array(["<7"]), "x__v_text": pa.nulls(1, pa.string())},
    ]
    for page in pages:
        came = fitter.countable(fitter.fit(with_own(pa.table(page).select(order), {"x__v_text"})))
        written = fitter.count(came, by_row=False)
        assert set(written.column_names) == {"x", "x__v_text"}
        assert written.column("x__v_text").null_count == came.column("x__v_text").null_count
    assert list(remarks_of("t", fitter, {"x", "x__v_text"}, by_row=False)) == [
        "3 values of 'x' of table t did not fit its type bigint and stand in 'x__v_text'."
    ]


def test_a_misfit_in_a_row_that_is_not_written_is_not_told_beside_the_sources_own() -> None:
    fitter = Fitter(known={"x": BIGINT})
    page = pa.table({"x": pa.array(["<5", None, "<6"]), "x__v_text": pa.array([None, "own", None])})
    came = fitter.countable(fitter.fit(with_own(page, {"x__v_text"})))
    fitter.count(came.filter(pa.array([False, True, True])), by_row=False)
    assert fitter.beside == {("x", "x__v_text"): 1}


def test_a_run_that_writes_nothing_has_nothing_to_tell() -> None:
    fitter = Fitter(known={"x": BIGINT}, without_nul=True)
    fitter.count(fitter.fit(pa.table({"x": ["a\0"]})).slice(1), by_row=True)
    assert list(remarks_of("t", fitter, {"x", "x__v_text"}, by_row=False)) == []


@pytest.mark.parametrize(
    ("known", "arriving", "wide"),
    [
        (INT, pa.array([1]), BIGINT),
        (INT, pa.array([D("1.5")], pa.decimal128(4, 1)), decimal(11, 1)),
        (BIGINT, pa.array([D("1.5")], pa.decimal128(38, 9)), decimal(38, 9)),
        (BIGINT, pa.array([2**64 - 1], pa.uint64()), decimal(20, 0)),
        (decimal(10, 2), pa.array([D("1.2345")], pa.decimal128(12, 4)), decimal(12, 4)),
        (DATE, pa.array([NOON]), NAIVE),
        (Column("text", pa.string(), 3), pa.array(["abcd"]), TEXT),
        (BIGINT, pa.array([1], pa.uint64()), None),
        (BIGINT, pa.array([1], pa.int32()), None),
        (BIGINT, pa.array([1.5]), None),
        (decimal(10, 2), pa.array([1]), None),
        (decimal(10, 2), pa.array([D("1.2")]), None),
        (decimal(38, 0), pa.array([D("1.2")]), None),
        (DATE, pa.array([NOON.replace(tzinfo=UTC)]), None),
        (TEXT, pa.array([1]), None),
    ],
)
def test_a_column_is_widened_where_that_loses_nothing(known: Column, arriving: pa.Array, wide: Column | None) -> None:
    asked = []

    def widen(name: str, column: Column) -> bool:
        asked.append((name, column))
        return True

    fitter = Fitter(known={"x": known}, widen=widen)
    landed = fitter.fit(pa.table({"x": arriving}))
    assert asked == ([] if wide is None else [("x", wide)])
    if wide is not None:
        assert landed.schema.names == ["x"]
        assert landed.schema.field("x").type == wide.arrow
        assert landed["x"].null_count == 0


def test_a_column_that_this_load_has_written_stays_as_it_is() -> None:
    fitter = Fitter(known={"x": INT}, widen=lambda *_: pytest.fail("widened behind the rows that are written"))
    fitter.fit(pa.table({"x": pa.array([1], pa.int32())}))
    assert fitter.fit(pa.table({"x": pa.array([2**40])})).to_pydict() == {"x": [None], "x__v_bigint": [2**40]}


def test_a_text_lands_without_nul_where_the_destination_has_none() -> None:
    fitter = Fitter(without_nul=True)
    table = pa.table({"x": pa.array(["a\0b", "c", None, "\0"]), "y": pa.array(["d", "e", "f", "g"])})
    cleaned = fitter.fit(table)
    assert cleaned.to_pydict() == {"x": ["ab", "c", None, ""], "y": ["d", "e", "f", "g"]}
    fitter.count(cleaned, by_row=False)
    assert list(remarks_of("t", fitter, {"x", "y"}, by_row=False)) == [
        "2 texts of 'x' of table t landed without the character NUL, which PostgreSQL can't hold."
    ]
    assert Fitter().fit(table).to_pydict()["x"][0] == "a\0b"


def test_a_hint_of_dlt_and_back_is_the_same_column() -> None:
    for column in (*KNOWN, INT, Column("time", pa.time32("ms")), Column("timestamp", pa.timestamp("ns"))):
        if column.arrow not in {None, pa.float32()}:  # which dlt has no words for
            assert of_hint(column.hint) == column


KNOWN = [
    TEXT, JSON, BIGINT, DOUBLE, BOOL, DATE, BINARY, MOMENT, NAIVE, CLOCK, INT, decimal(5, 2), decimal(38, 9),
    Column("bigint", pa.int16()), Column("double", pa.float32()), Column("text", pa.string(), 2),
    Column("timestamp", pa.timestamp("s")), Column("text", None),
]  # fmt: skip

_BITS = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_UNSIGNED = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}
_MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))


def _integers(signed: bool, bits: int) -> st.SearchStrategy[pa.Array]:
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return _arrays(st.integers(least, most) | st.sampled_from([least, most, 0]), (_BITS if signed else _UNSIGNED)[bits])


def _arrays(values: st.SearchStrategy[Any], kind: pa.DataType) -> st.SearchStrategy[pa.Array]:
    return st.lists(st.none() | values, min_size=1, max_size=6).map(lambda found: pa.array(found, kind))


def _decimals(precision: int, scale: int) -> st.SearchStrategy[pa.Array]:
    reach = 10**precision - 1
    kind = pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    exact = st.integers(-reach, reach) | st.integers(-999, 999)
    return _arrays(exact.map(lambda number: D(number).scaleb(-scale, _WIDE)), kind)


_WIDE = Context(prec=80)

ARRIVING = st.one_of(
    *(_integers(signed, bits) for signed in (True, False) for bits in (8, 16, 32, 64)),
    _arrays(st.floats() | st.integers(-(2**60), 2**60).map(float) | st.sampled_from([0.1, 1.25, 1e30]), pa.float64()),
    _arrays(st.floats(width=32), pa.float32()),
    *(_decimals(precision, scale) for precision, scale in ((4, 0), (12, 4), (38, 0), (38, 20), (38, 38), (50, 1))),
    _arrays(st.booleans(), pa.bool_()),
    *(_arrays(st.text(max_size=5), kind) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    _arrays(st.text(max_size=2), pa.string()).map(lambda array: array.dictionary_encode()),
    *(_arrays(st.binary(max_size=4), kind) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
    _arrays(st.dates(), pa.date32()),
    *(_arrays(_MOMENTS.map(lambda m: m.replace(microsecond=0)), pa.timestamp(unit)) for unit in ("s", "ms", "us")),
    _arrays(_MOMENTS.map(lambda m: m.replace(tzinfo=UTC)), pa.timestamp("us", "UTC")),
    _arrays(_MOMENTS.map(lambda m: m.replace(tzinfo=UTC)), pa.timestamp("us", "America/New_York")),
    _arrays(st.times(), pa.time64("us")),
    _arrays(st.times().map(lambda t: t.replace(microsecond=0)), pa.time32("s")),
)  # fmt: skip


def _same(value: Any, landed: Any, column: Column) -> bool:  # noqa: PLR0911  # a table of types
    """Whether what landed is the value, by Python's own arithmetic and parsers."""
    if column.kind == "json":
        landed = json.loads(landed, parse_float=D, parse_int=D)
    if isinstance(value, bool):
        return landed is value or landed == ("true" if value else "false")
    if isinstance(value, float):
        if isinstance(landed, D):  # the fewest digits that make out this double
            return float(landed) == value
        landed = float(landed)
        return landed == value or (math.isnan(landed) and math.isnan(value))
    if isinstance(value, int | D):
        if isinstance(landed, float):
            return landed == value or D(repr(landed)) == value
        return D(landed) == value
    if isinstance(value, datetime):
        if isinstance(landed, str):
            landed = datetime.fromisoformat(landed)
        if isinstance(landed, date) and not isinstance(landed, datetime):
            landed = datetime.combine(landed, time())
        if value.tzinfo is None and landed.tzinfo is not None:  # a moment without a zone is UTC, as documented
            landed = landed.astimezone(UTC).replace(tzinfo=None)
        return bool(landed == value)
    if isinstance(value, date):
        return (landed if isinstance(landed, str) else landed.isoformat())[:10] == value.isoformat() and (
            not isinstance(landed, datetime) or landed.time() == time()
        )
    if isinstance(value, time):
        return (time.fromisoformat(landed) if isinstance(landed, str) else landed) == value
    return bool(landed == value)


@given(st.sampled_from([None, *KNOWN]), ARRIVING)
@settings(max_examples=500, deadline=None)
def test_whatever_arrives_the_column_and_those_beside_hold_exactly_its_values(
    known: Column | None, array: pa.Array
) -> None:
    fitter = Fitter(known={} if known is None else {"x": known})
    landed = fitter.fit(pa.table({"x": array}))
    for index, value in enumerate(array.to_pylist()):
        found = {name: landed[name][index].as_py() for name in landed.column_names}
        there = {name: part for name, part in found.items() if part is not None}
        assert len(there) == (value is not None), (value, found)
        for name, part in there.items():
            assert _same(value, part, fitter.known[name]), (value, part, name)


@pytest.mark.parametrize(
    ("approved", "held"),
    [
        (set(), {"x__v_text", "new"}),
        ({("x", "text")}, {"new"}),
        ({("x", "double"), ("new", "text")}, {"x__v_text", "new"}),
        ({("x", "text"), ("new", "bigint")}, set()),
    ],
)
def test_a_column_is_held_until_the_type_that_came_is_approved(approved: set[tuple[str, str]], held: set[str]) -> None:
    fitter = Fitter(known={"x": BIGINT}, standing=frozenset({"x"}), approved=frozenset(approved))
    fitter.fit(pa.table({"x": ["a"], "new": [1]}))
    assert {name for name in ("x", "x__v_text", "new") if fitter.is_held(name)} == held
