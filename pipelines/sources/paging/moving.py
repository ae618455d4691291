"""Rows that move between pages while those are read.

One that is updated goes to the end of the order, all behind it move up, and the next page begins one row too late. That
row would be missing for good, since the cursor goes past it.

What tells it is a key that comes on two pages, or a total that falls. Then everything is read once more: rows that come
twice are merged. Of each row 8 bytes are kept, 16 for FHIR, and only as long as the reading lasts: a run that dies
begins anew.
"""

from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from connectors.sources.write_rules import normalised
from pipelines.errors import ConfigurationError

MOST_READINGS = 3
"""How often all pages are read, when each time rows have moved meanwhile."""

PAGES_WITHOUT_A_NEW_KEY = 128
"""Pages in a row, all of whose keys were there before, after which a reading would never end."""


class Keys:
    """The keys of rows, page by page. A key that comes twice on one page counts once: that is no movement."""

    def __init__(self, key: Sequence[str]) -> None:
        self._key = tuple(key)
        self._marks = array("q")
        self._pages = 0
        self._looked_at = PAGES_WITHOUT_A_NEW_KEY
        self._different = 0

    def add(self, rows: list[Any]) -> None:
        """The rows of one more page."""
        self._pages += 1
        names = next((_spelled(self._key, row) for row in rows if isinstance(row, dict)), ())
        if names:
            found = (_key_of(row, names) for row in rows if isinstance(row, dict))
            self._marks.extend({hash(key) for key in found if key is not None})

    @property
    def have_come_twice(self) -> bool:
        """Whether a key was on two pages."""
        return self._pages > 1 and _different(_in_order(self._marks)) < len(self._marks)

    def are_those_of(self, other: "Keys") -> bool:
        """Whether another reading had the very same keys, each as often: then nothing has moved."""
        return bool(_in_order(self._marks).equals(_in_order(other._marks)))

    @property
    def go_round(self) -> bool:
        """Whether the latter half of many pages had no key that is new. It is looked at ever more rarely."""
        if self._pages < self._looked_at:
            return False
        self._looked_at *= 2
        before, self._different = self._different, _different(_in_order(self._marks))
        return before == self._different


def settled(
    read: Callable[[], Generator[list[Any], None, bool]],
    key: Sequence[str],
    table: str,
    remark: Callable[[str], None],
    *,
    merges: bool,
) -> Iterator[list[Any]]:
    """The rows of all pages; once more as a whole, when rows have moved meanwhile and are merged.

    Args:
        read: the pages; it returns whether the source's total fell while they were read.

    Raises:
        RunError: when the same rows would come for ever.
    """
    before: Keys | None = None
    for _ in range(MOST_READINGS if merges else 1):
        keys = Keys(key)
        fell = yield from _noted(read(), keys, table)
        twice = keys.have_come_twice
        if not fell and (not twice or (before is not None and keys.are_those_of(before))):
            return
        before = keys
    remark(
        f"Rows of {table} moved between pages while they were read, so rows may be missing: "
        + ("each reading of three had that. " if merges else "")
        + "Page by a cursor, or in an order that does not change."
    )


def _noted(pages: Generator[list[Any], None, bool], keys: Keys, table: str) -> Generator[list[Any], None, bool]:
    while True:
        try:
            page = next(pages)
        except StopIteration as end:
            return bool(end.value)
        keys.add(page)
        if keys.go_round:
            raise ConfigurationError(
                f"The source gives pages of {table} without end, and none of the later ones has a row with a new key: "
                "check the paginator, and whether the primary_key is one."
            )
        yield page


class Versions:
    """The resources of one reading by id and moment, and which of them came by following links."""

    def __init__(self) -> None:
        self._ids, self._moments = array("q"), array("q")
        self._searches: list[tuple[int, Any]] = []
        self._linked: set[int] = set()

    def begin(self, start: Any) -> None:
        """A search begins, from a moment on."""
        self._searches.append((len(self._ids), start))

    def add(self, versions: Iterable[tuple[Any, Any]], *, linked: bool) -> None:
        """The resources of a page. `linked`: it was found by a link, and not by what stands on it."""
        for name, moment in versions:
            self._ids.append(hash(name))
            self._moments.append(hash(moment))
        if linked:
            self._linked.add(len(self._searches) - 1)

    def begin_again_at(self) -> tuple[Any] | None:
        """Where the search began in which a resource moved between linked pages; None when none did."""
        if not self._linked:
            return None
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        ids, moments = _arrow(self._ids), _arrow(self._moments)
        order = pc.array_sort_indices(ids)
        ids, moments = ids.take(order), moments.take(order)
        same = pc.equal(ids[1:], ids[:-1])
        differs = pc.and_(same, pc.not_equal(moments[1:], moments[:-1]))
        moved = pa.concat_arrays([order[1:].filter(differs), order[:-1].filter(differs)]).to_pylist()
        ends = [begin for begin, _ in self._searches[1:]] + [len(self._ids)]
        for number, ((begin, start), end) in enumerate(zip(self._searches, ends, strict=True)):
            if number in self._linked and any(begin <= place < end for place in moved):
                return (start,)
        return None


def _spelled(key: tuple[str, ...], row: dict[str, Any]) -> tuple[str, ...]:
    """The names of a key as a row spells them, which the connector may give as they land. Empty: it has no such key."""
    names = {normalised(name): name for name in reversed(list(row))}
    found = tuple(name if name in row else names.get(normalised(name), "") for name in key)
    return found if all(name in row for name in found) else ()


def _key_of(row: dict[str, Any], key: tuple[str, ...]) -> Any:
    values = tuple(row.get(name) for name in key)
    if None in values:
        return None
    try:
        hash(values)
    except TypeError:
        return repr(values)
    return values


def _in_order(marks: "array[int]") -> Any:
    import pyarrow.compute as pc  # noqa: PLC0415

    found = _arrow(marks)
    return found.take(pc.array_sort_indices(found))


def _different(ordered: Any) -> int:
    """How many different ones there are."""
    import pyarrow.compute as pc  # noqa: PLC0415

    if not len(ordered):
        return 0
    return 1 + int(pc.sum(pc.not_equal(ordered[1:], ordered[:-1])).as_py() or 0)


def _arrow(marks: "array[int]") -> Any:
    import pyarrow as pa  # noqa: PLC0415

    return pa.Array.from_buffers(pa.int64(), len(marks), [None, pa.py_buffer(marks.tobytes())])
