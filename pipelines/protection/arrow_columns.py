"""Columns of Arrow tables under `protect`: each distinct value once, and dates by Arrow itself.

Columns of JSON, lists and structs are gone through row by row, as the rows of an API are.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from connectors.sources.protection.methods import AS_TEXT, Method
from connectors.sources.protection.rules import MOST_DAYS, Kind, Rule
from pipelines.protection.json_rows import JsonRows
from pipelines.protection.matching import Matcher, State
from pipelines.protection.methods.arrow_hashes import Known, encoded, hashes, once_each
from pipelines.protection.methods.dates import DAY, FIRST, LAST, MAY_BE, OLDEST_AGE
from pipelines.protection.methods.hashing import hashing
from pipelines.protection.treating import GONE, Treating
from pipelines.rows.json_values import dump, parse
from pipelines.rows.types.arrivals import JSON_TEXT, json_column

_EPOCH = date(1970, 1, 1).toordinal()
_A_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}

_OF_64_BITS = 18
"""Digits that a number of 64 bits has in any case."""

_MAY_BE = {
    Kind.DATES: MAY_BE,
    Kind.EMAILS: "@",
    Kind.SSNS: r"[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}",
    Kind.PHONE_NUMBERS: r"\+[0-9]|\([0-9]{3}\)|[0-9]{3}[ .-][0-9]{3}[ .-]",
    Kind.URLS: r"://|(?i:www\.)",
    Kind.IP_ADDRESSES: r"[0-9]\.[0-9]|[0-9a-fA-F]:[0-9a-fA-F]",
}
"""What a text of a kind has in it, found for a whole column: only such texts are looked at one by one."""


@dataclass(frozen=True, slots=True)
class ArrowColumns:
    """What becomes of the columns of one table. `today`: the day of the run."""

    matcher: Matcher
    treating: Treating
    rows: JsonRows
    today: date
    known: dict[tuple[int, pa.DataType], Known] = field(default_factory=dict)
    """The hashes of values of pages before, by rule and type."""

    def treated(self, values: pa.ChunkedArray, state: State, days: pa.Array | None, *, is_json: bool) -> Any:
        """A column as it lands; None when it does not. `days`: of each row, by how many its patient's dates move."""
        if state.passed:
            return values
        kind = values.type
        if is_json or pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
            return self._nested(values, state, days)
        if not state.kept and not state.on_path:
            return None
        values = _plain(values)
        if is_text(values.type) and state.on_path and state.rule is None:
            return self._one_by_one(values, lambda value, day: self.rows.value(value, state, day), days, pa.string())
        if not state.kept:
            return None
        return self._texts(values, state, days) if is_text(values.type) else self._of_type(values, state, days)

    def _of_type(self, values: pa.ChunkedArray, state: State, days: pa.Array | None) -> Any:
        """A column whose type says what its values are, so that all have one rule."""
        some = values.drop_null().slice(0, 1).to_pylist() if self.matcher.values else []
        number = self.treating.rule_of(some[0], state) if some else state.rule
        return values if number is None else self._by(number, values, days)

    def _texts(self, values: pa.ChunkedArray, state: State, days: pa.Array | None) -> Any:
        """A column of texts, each of which may have a rule of its own, by what it is."""
        first = state.rule if state.rule is not None else len(self.matcher.rules)
        rules = [self.matcher.rules[number] for number in self.matcher.values if number < first]
        pattern = "|".join(f"(?:{_MAY_BE[rule.values]})" for rule in rules if rule.values is not None)
        if not pattern or not pc.any(found := pc.match_substring_regex(values, pattern)).as_py():
            return values if state.rule is None else self._by(state.rule, values, days)
        if state.rule is not None:
            return self._one_by_one(values, lambda value, day: self.treating.leaf(value, state, day), days, pa.string())
        # Only what may be meant is looked at; nothing else has a rule.
        some = pc.fill_null(found, pa.scalar(value=False)).combine_chunks()
        moved = None if days is None else days.filter(some)
        treated = self._one_by_one(
            values.filter(some), lambda value, day: self.treating.leaf(value, state, day), moved, pa.string()
        )
        return pa.chunked_array([pc.replace_with_mask(values.combine_chunks(), some, treated.combine_chunks())])

    def _by(  # noqa: PLR0911  # a table of methods
        self, number: int, values: pa.ChunkedArray, days: pa.Array | None
    ) -> Any:
        """A column that has one rule."""
        rule = self.matcher.rules[number]
        match rule.method:
            case Method.AS_IS:
                return values
            case Method.DROP:
                return None
            case Method.REDACT:
                return pa.chunked_array([pa.nulls(len(values), values.type)])
        if _is_day(values.type):
            if rule.method is Method.SHIFT_DATES:
                moved = _moved(values, days)
                self.treating.untreatable[number] += moved.null_count - values.null_count
                return moved
            if rule.method in {Method.YEAR, Method.MONTH, Method.BIRTH_YEAR}:
                return _coarser(values, rule, self.today)
        if rule.method is Method.HASH:
            known = self.known.setdefault((number, values.type), Known())
            return once_each(values, lambda distinct: hashes(distinct, hashing(self.treating.key)), known)
        if rule.method is Method.ROUND and (found := _rounded(values, rule)) is not None:
            return found
        kind = pa.string() if rule.method in AS_TEXT else values.type
        # By days, each value would have to be looked at in each row.
        by_row = days if rule.method is Method.SHIFT_DATES else None

        def one_by_one(some: pa.ChunkedArray, days: pa.Array | None) -> Any:
            return self._one_by_one(some, lambda value, day: self.treating.by(number, value, day), days, kind)

        if by_row is not None and pa.types.is_string(kind):
            return self._moved_texts(number, values, by_row, one_by_one)
        return one_by_one(values, by_row)

    def _moved_texts(
        self, number: int, values: pa.ChunkedArray, days: pa.Array, one_by_one: Callable[[Any, Any], Any]
    ) -> Any:
        """A column of texts moved by the days of each row: those that are days or moments as ISO 8601 has them as a
        whole, whatever else there is one by one."""
        written = pc.fill_null(pc.match_substring_regex(values, DAY), pa.scalar(value=False)).combine_chunks()
        texts = values.filter(written)
        try:
            dates = pc.utf8_slice_codeunits(texts, 0, 10).cast(pa.date32())
        except pa.ArrowInvalid:  # one that no calendar has
            return one_by_one(values, days)
        moved = _moved(dates, days.filter(written))
        self.treating.untreatable[number] += moved.null_count
        found = pc.binary_join_element_wise(moved.cast(pa.string()), pc.utf8_slice_codeunits(texts, 10), "")
        if len(found) == len(values):
            return found
        rest = one_by_one(values.filter(pc.invert(written)), days.filter(pc.invert(written)))
        landed = pc.replace_with_mask(values.combine_chunks(), written, found.combine_chunks())
        return pa.chunked_array([pc.replace_with_mask(landed, pc.invert(written), rest.combine_chunks())])

    def _one_by_one(
        self, values: pa.ChunkedArray, treat: Callable[[Any, int | None], Any], days: pa.Array | None, kind: pa.DataType
    ) -> Any:
        """Each distinct value once, and with days that differ by row, each pair of both."""
        moves = days is not None and any(rule.method is Method.SHIFT_DATES for rule in self.matcher.rules)
        if moves and days is not None:
            pairs = zip(values.to_pylist(), days.to_pylist(), strict=True)
            moved = [None if value is None else treat(value, day) for value, day in pairs]
            return _array([None if value is GONE else value for value in moved], kind)
        once = encoded(values)
        found: list[Any] = []
        failed: list[tuple[int, int]] = []
        counted, self.treating.failed = self.treating.untreatable.copy(), None
        for place, value in enumerate(once.dictionary.to_pylist()):
            treated = None if value is None else treat(value, None)
            if self.treating.failed is not None:
                failed.append((place, self.treating.failed))
                self.treating.failed = None
            found.append(None if treated is GONE else treated)
        # Each row counts, and not each distinct value.
        self.treating.untreatable.clear()
        self.treating.untreatable.update(counted)
        self._count(once.indices, failed)
        return pa.chunked_array([_array(found, kind).combine_chunks().take(once.indices)])

    def _count(self, indices: pa.Array, failed: list[tuple[int, int]]) -> None:
        """Count each row whose value could not be treated."""
        if failed:
            counts = {each["values"]: each["counts"] for each in pc.value_counts(indices).to_pylist()}
            for place, number in failed:
                self.treating.untreatable[number] += counts[place]

    def _nested(self, values: pa.ChunkedArray, state: State, days: pa.Array | None) -> Any:
        if not state.kept and not state.positions:
            return None
        moved = [None] * len(values) if days is None else days.to_pylist()
        treated = [
            GONE if value is None else self.rows.value(inner_of(value), state, day)
            for value, day in zip(values.to_pylist(), moved, strict=True)
        ]
        if all(value is GONE for value in treated) and not (values.null_count == len(values) and state.kept):
            return None
        texts = [None if value is GONE or value is None else dump(value).decode() for value in treated]
        return pa.chunked_array([json_column(pa.array(texts, pa.string()))], JSON_TEXT)


def inner_of(value: Any) -> Any:
    """What a text of JSON says; any other value itself."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return parse(value.encode(), lambda _: None)
        except ValueError:
            return value
    return value


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values without a dictionary, and texts in the one type of them."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
    return values.cast(pa.string()) if values.type in _TEXTS else values


_TEXTS = (pa.large_string(), pa.string_view())


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts."""
    return bool(pa.types.is_string(kind) or kind in _TEXTS)


def _is_day(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def _array(values: list[Any], kind: pa.DataType) -> pa.ChunkedArray:
    """Values in a type, or, where that can't hold them, in their own."""
    try:
        return pa.chunked_array([pa.array(values, kind)])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.chunked_array([pa.array(values)])


def _coarser(values: pa.ChunkedArray, rule: Rule, today: date) -> pa.ChunkedArray:
    """The years or months of a column of dates, as text."""
    years = pc.year(values)
    texts = pc.utf8_lpad(years.cast(pa.string()), 4, "0")
    if rule.method is Method.MONTH:
        months = pc.utf8_lpad(pc.month(values).cast(pa.string()), 2, "0")
        return pc.binary_join_element_wise(texts, months, "-")
    if rule.method is Method.BIRTH_YEAR:
        return pc.if_else(pc.less(years, today.year - OLDEST_AGE), pa.scalar(None, pa.string()), texts)
    return texts


def _rounded(values: pa.ChunkedArray, rule: Rule) -> pa.ChunkedArray | None:
    """Decimals of up to 18 digits as the nearest multiples; None where they are to be made one by one."""
    kind, to = values.type, Decimal(repr(rule.to))
    if not pa.types.is_decimal128(kind) or kind.precision > _OF_64_BITS or kind.scale < 0 or to <= 0:
        return None
    try:
        multiple = pa.scalar(to, kind)
    except pa.ArrowInvalid:  # it has more digits than the column
        return None
    # What has a digit more than the column by then would be 0 (findings/pyarrow-rounding-beyond-the-digits.sh).
    most = Decimal(10) ** (kind.precision - kind.scale) - to
    bounds = pc.min_max(values).as_py().values()
    if any(bound is not None and abs(bound) >= most for bound in bounds):
        return None
    return pc.round_to_multiple(values, multiple=multiple, round_mode="half_to_even")


def _moved(values: pa.ChunkedArray, days: pa.Array | None) -> pa.ChunkedArray:
    """A column of dates or moments, each moved by the days of its row; nothing where these are not known."""
    kind = values.type
    if days is None:
        return pa.chunked_array([pa.nulls(len(values), kind)])
    if pa.types.is_date32(kind):
        each, whole = pa.int32(), 1
    else:
        each, whole = pa.int64(), _A_DAY["ms" if pa.types.is_date64(kind) else kind.unit]
    numbers = values.cast(each).cast(pa.int64())
    moved = pc.add(numbers, pc.multiply(pa.chunked_array([days.cast(pa.int64())]), whole))
    first, last = (max(-(2**63), (FIRST - _EPOCH) * whole), min(2**63 - 1, (LAST + 1 - _EPOCH) * whole))
    # Nanoseconds end before the calendar does; beyond, what is added would begin anew at the other end.
    low, high = max(first, -(2**63) + MOST_DAYS * whole), min(last, 2**63 - MOST_DAYS * whole)
    inside = pc.and_(pc.greater_equal(numbers, low), pc.less(numbers, high)) if each == pa.int64() else True
    within = pc.and_(pc.and_(pc.greater_equal(moved, first), pc.less(moved, last)), inside)
    return pc.if_else(within, moved, pa.scalar(None, pa.int64())).cast(each).cast(kind)
