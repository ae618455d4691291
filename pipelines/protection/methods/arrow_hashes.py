"""Keyed hashes of whole columns: each distinct value once, without an object of Python for a hash."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.protection.methods.hashing import Hashing, as_text

_DIGITS = 64
REMEMBERED = 200_000
"""Distinct values of a column of which is remembered what was made of them: some 20 MB."""

_ENOUGH = 100_000
"""Distinct values after which it shows whether those of pages before come again."""

_ALL_DIFFER = 0.9
"""Distinct values a row from which on it costs more to find the distinct ones than to make something of each."""


def encoded(values: pa.ChunkedArray) -> Any:
    """A column as its distinct values, and which of them each row has."""
    found = values.combine_chunks().dictionary_encode()
    return found if isinstance(found, pa.DictionaryArray) else found.chunk(0)


class Known:
    """What was made of the distinct values of pages before: patients come again on each."""

    def __init__(self) -> None:
        self._values: Any = None
        self._made: pa.Array = pa.nulls(0)
        self._asked = self._hits = 0
        self._is_of_use = True
        self._all_differed = False

    @property
    def is_of_keys(self) -> bool:
        """Whether neither the page before nor those before that had a value twice, so that none is looked for."""
        return self._all_differed and not self._is_of_use

    def note(self, rows: int, distinct: int) -> None:
        """Take note of how many distinct values the rows of a page have."""
        self._all_differed = distinct > _ALL_DIFFER * rows

    def of(self, values: pa.Array, make: Callable[[pa.Array], pa.Array]) -> pa.Array:
        """What `make` gives of each of some distinct values, of which none is absent; it must not give none."""
        if not self._is_of_use:
            return make(values)
        if self._values is None or self._values.type != values.type:
            self._values, self._made = values, make(values)
            return self._made
        places = pc.index_in(values, value_set=self._values)
        new = pc.is_null(places)
        self._asked += len(values)
        self._hits += len(values) - places.null_count
        found = self._made.take(places)
        if places.null_count:
            fresh = values.filter(new)
            made = make(fresh)
            found = pc.replace_with_mask(found, new, made)
            self._remember(fresh, made)
        return found

    def _remember(self, values: pa.Array, made: pa.Array) -> None:
        full = len(self._values) + len(values) > REMEMBERED
        if (full or self._asked >= _ENOUGH) and self._hits * 10 < self._asked:
            # A column of values that do not come again, as keys.
            self._values, self._made, self._is_of_use = None, pa.nulls(0), False
        elif not full:
            self._values = pa.concat_arrays([self._values, values])
            self._made = pa.concat_arrays([self._made, made])


def once_each(
    values: pa.ChunkedArray, of_distinct: Callable[[pa.Array], pa.Array], known: Known | None = None
) -> pa.ChunkedArray:
    """What is made of a column by making it of its distinct values, and of those `known` before not again."""
    if not _can_be_encoded(values.type) or (known is not None and known.is_of_keys and not values.null_count):
        return pa.chunked_array([of_distinct(values.combine_chunks())])
    found = encoded(values)
    distinct = found.dictionary
    if known is not None:
        known.note(len(values), len(distinct))
    made = of_distinct(distinct) if known is None or distinct.null_count else known.of(distinct, of_distinct)
    return pa.chunked_array([made.take(found.indices)])


def _can_be_encoded(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_decimal, pa.types.is_date)
    more = (pa.types.is_timestamp, pa.types.is_float64, pa.types.is_float32, pa.types.is_dictionary)
    return any(test(kind) for test in (*tests, *more))


def hashes(values: pa.Array, hashing: Hashing) -> pa.Array:
    """The hash of each value, as text; an absent one stays absent."""
    messages = texts(values)
    if values.null_count:
        return pa.array([None if each is None else hashing.digest(each).hex() for each in messages], pa.string())
    digits = b"".join(map(hashing.digest, messages)).hex().encode()
    ends = np.arange(0, len(digits) + 1, _DIGITS, dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(digits))


def texts(values: pa.Array) -> list[Any]:
    """Each value as every source would write it, in UTF-8; None for an absent one."""
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or (pa.types.is_decimal(kind) and kind.scale == 0):
        found: list[Any] = values.cast(pa.string()).cast(pa.binary()).to_pylist()
        return found
    return [None if value is None else as_text(value).encode() for value in values.to_pylist()]


def offsets(patients: pa.Array, hashing: Hashing, days: int, prefix: bytes, id_of: Callable[[str], str]) -> pa.Array:
    """By how many days the dates of each patient move: see `values.offset`."""
    ids = texts(patients)
    if pa.types.is_string(patients.type) and pc.any(pc.match_substring(patients, "/")).as_py():
        ids = [None if each is None else id_of(each.decode()).encode() for each in ids]
    digests = b"".join(hashing.digest(prefix + (each or b"")) for each in ids)
    places = (np.frombuffer(digests, ">u8")[::4] % np.uint64(2 * days)).astype(np.int32)
    moved = places - days + (places >= days)
    return pa.array(moved, pa.int32(), mask=np.array([each is None for each in ids], bool))
