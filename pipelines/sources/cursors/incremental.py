"""The cursor of one table: a step of its pipe that lets newer rows through and keeps the newest value.

dlt's own compares texts as texts, drops a row that changes again within one value, and keeps a hash of every row at
that value. This one compares values as what they are (`cursors`), keeps one value, and reads what lies up to `lag`
behind it again: merged rows replace themselves, appended ones are compared with those that stand in the destination
(`pipelines.loading.deduplication.borders`).

The state travels with the rows, in one load: if the process dies before that is complete, neither is there, and the
next run asks for the same again.
"""

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from dlt.common.jsonpath import compile_path, extract_simple_field_name, find_values
from dlt.extract.items import SupportsPipe
from dlt.extract.items_transform import ItemTransform
from dlt.extract.state import resource_state

from pipelines.errors import ConfigurationError
from pipelines.protection.sealing import Seal, keep_value, kept_value
from pipelines.remarks import Remarks
from pipelines.sources.cursors.asked import Asked
from pipelines.sources.cursors.values import (
    Kind,
    Order,
    Unit,
    comparable,
    earlier,
    instant_of,
    order_of,
    shape_of,
    unit_of,
)
from pipelines.sources.cursors.windows import Bounds, begins_at

logger = logging.getLogger("prefect.pipelines")

STATE = "cursor"
"""Where a resource's state has what a cursor keeps."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A table's cursor, as the connector describes it."""

    path: str
    asked: Asked = field(default_factory=Asked)
    initial: Any = None
    """The value that the first load begins at."""
    lag: float | None = None
    """How far behind its newest value a run reads again; None: the default of its kind."""
    text: bool = False
    """Its values are texts that sort as they change."""
    one_shape: bool = False
    """Its values are texts that the server compares as such: all must be written alike."""
    appends: bool = False
    setting: str = "cursor_path"
    """How the connector calls it."""
    fhir: bool = False
    """Its values are FHIR's, where four digits are a year."""


class Increment(ItemTransform[Any, dict[str, Any]]):
    """A step of a resource's pipe: what a run asks a source for, and which of the rows that come it wants."""

    # Where dlt's own would be: after the mask, before rows become tables.
    placement_affinity: ClassVar[float] = 1

    def __init__(
        self, cursor: Cursor, remarks: Remarks, window: tuple[datetime, datetime] | None = None, *, whole: bool = True
    ) -> None:
        """`window`: the run is a backfill of this time. `whole`: the run may read what lies behind the cursor again."""
        super().__init__(lambda page: page)
        self.cursor = cursor
        self._remarks = remarks
        self._window = window
        self._whole = whole
        self._table = ""
        self._opened = False
        self.seal: Seal | None = None
        """By which the newest value is kept, where it may stand nowhere in clear."""
        self._state: dict[str, Any] = {}
        self._last: Any = None
        self._newest: Order | None = None
        self._start: Any = None
        self._bounds: Bounds | None = None
        self._shape: str | None = None
        self._find = _finder(cursor.path)

    def bind(self, pipe: SupportsPipe) -> "Increment":
        """dlt calls this before the pipe's first row."""
        self._table = pipe.name
        self._opened = False
        return self

    # --- what to ask for ------------------------------------------------------------------------------------------

    @property
    def start(self) -> Any:
        """The value to ask for from, itself included, as the source writes it. None: everything."""
        self._open()
        return self._start

    @property
    def last(self) -> Any:
        """The newest value of all loads before. None: there was no load, or it counts no more."""
        self._open()
        return self._last

    @property
    def bounds(self) -> Bounds | None:
        """The time of a backfill, in which no cursor moves."""
        self._open()
        return self._bounds

    def inside(self, landed: Any) -> Any:
        """The cursor's value in its column as that landed: of JSON, what stands inside of it."""
        if "." not in self.cursor.path or landed is None:
            return landed
        try:
            parsed = json.loads(landed) if isinstance(landed, str) else landed
        except ValueError:
            return None
        top = self.cursor.path.removeprefix("$.").partition(".")[0]
        return self._find({top: parsed})

    def _open(self) -> None:
        if self._opened:
            return
        self._opened = True
        cursor = self.cursor
        state = resource_state(self._table)
        kept = _kept(state, cursor.path)
        if self._window is not None:
            known = kept_value(kept, self.seal)
            sample = known if known is not None else cursor.initial
            self._bounds = Bounds(*self._window, sample)
            self._start = begins_at(self._bounds, sample)
            return
        self._state = state.setdefault(STATE, {})
        self._state.update(kept)
        state.pop("incremental", None)
        self._compare_with_what_was_asked()
        self._last = kept_value(self._state, self.seal)
        self._start = cursor.initial
        if self._last is not None:
            self._newest = self.order(self._last)
            back = self._last if not self._whole or cursor.text else earlier(self._last, cursor.lag)
            self._start = (
                back if cursor.initial is None or self.order(cursor.initial) < self.order(back) else (cursor.initial)
            )

    def _compare_with_what_was_asked(self) -> None:
        """Begin anew where what was asked for before is less than what is asked for now."""
        cursor, state = self.cursor, self._state
        before = state.get("asked")
        moved = state.get("path") not in (None, cursor.path)
        if moved and cursor.appends:
            raise ConfigurationError(
                f"{cursor.setting} of {self._table} is another one than in the loads before, and the table appends: "
                "run a full refresh, which loads everything by the new one."
            )
        changed = [cursor.setting] if moved else (cursor.asked.widened(before) if before is not None else [])
        state["path"] = cursor.path
        if not changed:
            state["asked"] = cursor.asked.kept(before)
            return
        other = f"Other rows of {self._table} are asked for than in the loads before ({' and '.join(changed)} changed)"
        if cursor.appends:
            # What was asked for before stays kept, so that each run says it until the refresh.
            self._remarks.add(
                f"{other}, and the table appends: those of the past come only with a full refresh, which loads all."
            )
            return
        self._remarks.add(
            f"{other}, so the table was read anew from the beginning; rows that are no longer asked for stay until a "
            "full refresh."
        )
        state.pop("value", None)
        state["asked"] = cursor.asked.kept()

    # --- which rows are wanted ------------------------------------------------------------------------------------

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """The rows of a page or of an Arrow table that are wanted; nothing when none is."""
        self._open()
        if hasattr(item, "schema"):
            return self._of_table(item)
        rows = item if isinstance(item, list) else [item]
        if not rows:
            return item
        wanted = self._wanted(self._find(row) for row in rows)
        kept = [row for row, wants in zip(rows, wanted, strict=True) if wants]
        return kept or None

    def _of_table(self, table: Any) -> Any:
        import pyarrow as pa  # noqa: PLC0415  # only where a source yields Arrow
        import pyarrow.compute as pc  # noqa: PLC0415

        if self.cursor.path not in table.column_names:
            raise self._missing()
        column = table.column(self.cursor.path)
        mask = self._of_column(column)
        if mask is None:
            mask = pa.array(self._wanted(iter(column.to_pylist())), pa.bool_())
        if pc.all(mask, min_count=0).as_py():
            return table
        kept = table.filter(mask)
        return kept if kept.num_rows else None

    def _of_column(self, column: Any) -> Any:
        """Which rows of a table are wanted, found without looking at each value; None for types that need it."""
        from pipelines.sources.cursors.arrow import newest_of, not_before, within  # noqa: PLC0415  # needs Arrow

        newest = newest_of(column)
        if newest is None or (column.null_count and self.cursor.appends):
            return None
        order = self.order(newest)
        self._check(order, self._newest or (None if self._start is None else self.order(self._start)))
        if self._bounds is not None:
            return within(column, self._bounds)
        mask = not_before(column, self._start)
        if mask is not None and (self._newest is None or order > self._newest):
            self._newest = order
            keep_value(self._state, newest, self.seal)
        return mask

    def _wanted(self, values: Iterator[Any]) -> list[bool]:
        """Whether each row is wanted, by its value. Keeps the newest."""
        start = None if self._start is None else self.order(self._start)
        newest, newest_value = self._newest, None
        wanted = []
        for value in values:
            order = self.order(value)
            if order.kind is Kind.NOTHING:
                if self.cursor.appends:
                    raise self._missing()
                wanted.append(True)
                continue
            if newest is None or order.kind is not newest.kind:
                self._check(order, newest or start)
            if self.cursor.one_shape:
                self._check_shape(value)
            if self._bounds is not None:
                wanted.append(self._bounds.hold(order, value))
                continue
            if isinstance(value, float | Decimal) and not math.isfinite(value):
                # Nothing could ever be newer.
                wanted.append(True)
                continue
            if newest is None or order > newest:
                newest, newest_value = order, value
            wanted.append(start is None or order >= start)
        if newest_value is not None:
            self._newest = newest
            keep_value(self._state, _storable(newest_value), self.seal)
        return wanted

    def order(self, value: Any) -> Order:
        """What a value of the cursor is compared by."""
        return instant_of(value) if self.cursor.fhir else order_of(value, text=self.cursor.text)

    def _check(self, order: Order, other: Order | None) -> None:
        """Refuse what nobody can put in order."""
        named = f"The cursor '{self.cursor.path}' of {self._table}"
        if self._bounds is not None and order.kind is not Kind.MOMENT:
            raise ConfigurationError(f"{named} holds no moments: a backfill needs a cursor that holds moments.")
        if order.kind is Kind.TEXT and self.cursor.fhir:
            raise ConfigurationError(
                f"{named} holds text that is no instant as FHIR writes it, such as 2024-01-31T08:00:00Z, so nobody can "
                "tell which version of a resource is newer: that is for the server's people to mend."
            )
        if order.kind is Kind.TEXT and not self.cursor.text:
            raise ConfigurationError(
                f"{named} holds text that is neither a moment, such as 2024-01-31T08:00:00Z, nor a number, so nobody "
                "can tell which is newer: name another cursor, or set cursor_type to text if later values sort after "
                "earlier ones, character by character."
            )
        if not comparable(order, order):
            raise ConfigurationError(
                f"{named} holds values that have no order (objects, lists, or true and false): name another cursor."
            )
        if other is not None and not comparable(order, other):
            raise ConfigurationError(
                f"{named} can't be compared with the value to begin at, or with those before: they are of different "
                "kinds (moments, numbers, texts). initial_value must be of the cursor's own kind; if the source has "
                "changed the cursor's kind, run a full refresh."
            )

    def _check_shape(self, value: Any) -> None:
        """Refuse texts of which the server may hold another one for the newer one."""
        shape = shape_of(value)
        if self._shape is None and self._last is not None:
            self._shape = shape_of(self._last)
        if self._shape is None:
            self._shape = shape
        if shape != self._shape:
            raise ConfigurationError(
                f"The cursor '{self.cursor.path}' of {self._table} is a column of texts that are not all written "
                "alike, and the server compares them as texts: 9 comes after 10 there. Name a column of moments, days "
                "or numbers, or set cursor_type to text if later values sort after earlier ones."
            )

    def _missing(self) -> ConfigurationError:
        return ConfigurationError(
            f"The cursor '{self.cursor.path}' is missing or empty in some rows of {self._table}: "
            "name another cursor, or load with a primary key and write_disposition merge."
        )


def increment_of(resource: Any) -> Increment | None:
    """The step of a resource that goes on from a cursor, if it has one."""
    return next((step for step in resource._pipe.steps if isinstance(step, Increment)), None)


def value_of(state: dict[str, Any]) -> Any:
    """The value that a resource's increments go on from, by its state, of whatever version of this program."""
    kept = state.get(STATE)
    if kept is not None:
        return kept.get("value")
    values = [found.get("last_value") for found in state.get("incremental", {}).values()]
    return next((value for value in values if value is not None), state.get("since"))


def _kept(state: dict[str, Any], path: str) -> dict[str, Any]:
    """What the loads before kept, also those of versions that left the keeping to dlt."""
    if STATE in state:
        return dict(state[STATE])
    found = state.get("incremental", {})
    if path not in found:
        # Another cursor than before: what that one had found counts no more.
        return {"path": next(iter(found))} if found else {}
    value = found[path].get("last_value")
    return {} if value is None else {"path": path, "value": value}


def _storable(value: Any) -> Any:
    """A value as the state takes it: numbers of classes of our own as their text."""
    return value if type(value).__module__ in {"builtins", "datetime", "decimal"} else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, int):
        return int(value)
    return value if isinstance(value, datetime | bytes) else str(value)


def _finder(path: str) -> Any:
    """What finds a cursor's value in a row."""
    compiled = compile_path(path)
    if (simple := extract_simple_field_name(compiled)) is not None:
        return lambda row: row.get(simple) if isinstance(row, dict) else getattr(row, simple, None)
    parts = path.removeprefix("$.").split(".")
    if all(part.isidentifier() for part in parts):
        return lambda row: _walk(row, parts)
    return lambda row: next(iter(find_values(compiled, row)), None)


def _walk(row: Any, parts: list[str]) -> Any:
    for part in parts:
        if not isinstance(row, dict):
            return None
        row = row.get(part)
    return row


__all__ = ["Cursor", "Increment", "Unit", "increment_of", "unit_of", "value_of"]
