"""The step of a resource's pipe that fits its Arrow tables to the destination's columns, put there by the engine."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.extract import DltResource
from dlt.extract.items import DataItemWithMeta
from dlt.extract.items_transform import ItemTransform

from connectors.sources.write_rules import SchemaContract
from pipelines.loading.deduplication.keys import Keys
from pipelines.rows.fitting import Fitter
from pipelines.rows.marks import without_misfits
from pipelines.rows.rejected import COLUMNS, REJECTED, Rejected
from pipelines.rows.types.columns import Column, without_type
from pipelines.wording import quoted

DISCARDS = frozenset({SchemaContract.DISCARD_ROW, SchemaContract.DISCARD_VALUE})
"""The contracts by which columns are left out."""

OF_REJECTED = "x-rejected"
"""The hint of a table that holds what another table rejected."""


class Fitting(ItemTransform[Any, dict[str, Any]]):
    """Takes a resource's Arrow tables and gives them with the types of their table's columns.

    Nothing of it is kept: if the process dies, the next run fits the same rows to the columns that are there by then.
    """

    # After the step that gives columns their names: those before it have the source's names and types.
    placement_affinity: ClassVar[float] = 3

    def __init__(self, fitter: Fitter, keys: Keys, rejected: Rejected, *, rejects: bool) -> None:
        """`rejects`: rows without their key are rejected; else they end the run."""
        super().__init__(lambda page: page)
        self.fitter = fitter
        self._rejected = rejected
        self._rejects = rejects
        self._keys = keys
        self._told = dict(fitter.known)

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """The table fitted, None for one of nothing; what is no table goes through as it is.

        No generator: one that waits while other tables have their turn would hold the page of each.
        """
        if isinstance(item, pa.RecordBatch):
            item = pa.Table.from_batches([item])
        if not isinstance(item, pa.Table):
            return item
        # Known only while the source is read: a first load has no schema before.
        self.fitter.landed_name = dlt.current.source_schema().naming.normalize_path
        return self._fitted(item)

    def _fitted(self, item: pa.Table) -> Any:
        fitted = self.fitter.countable(self.fitter.fit(item))
        if self._rejects:
            fitted, without, reason = self._keys.split(fitted)
            self._rejected.add(without_misfits(without)[0], reason)
        self._keys.check(fitted)
        self._keys.check_texts(self.fitter.nul)
        if not fitted.num_columns and not fitted.num_rows:
            return None
        # By itself dlt makes each moment one with a zone, and JSON a text.
        known = self.fitter.known
        if untold := {
            name
            for name in fitted.column_names
            if name in known and self._told.get(name) != known[name] and not self.fitter.is_held(name)
        }:
            self._told |= {name: known[name] for name in untold}
            hints: Any = {name: {"name": name, **known[name].hint} for name in untold}
            return dlt.mark.with_hints(fitted, dlt.mark.make_hints(columns=hints))
        return fitted


class Counting(ItemTransform[Any, dict[str, Any]]):
    """The very last step: counts what is told of the rows that are written, without those that stand there already.

    What a contract leaves out goes here into the table of rejected rows, and so does whatever was rejected before.
    """

    placement_affinity: ClassVar[float] = 5

    def __init__(
        self, fitter: Fitter, rejected: Rejected, key: tuple[str, ...], contract: SchemaContract | None
    ) -> None:
        super().__init__(lambda page: page)
        self._fitter = fitter
        self._rejected = rejected
        self._key = key
        self._contract = contract

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """The item as it is written, and after it what was rejected."""
        if not isinstance(item, pa.Table):
            return item
        item = self._fitter.count(item, by_row=self._contract is SchemaContract.DISCARD_ROW)
        if new := [name for name in item.column_names if self._fitter.is_new(name)]:
            item = self._without(item, new)
        item = self._fitter.hold(item)
        rejected = self._rejected.take()
        return item if rejected is None else self._both(item, meta, rejected)

    def _both(self, item: pa.Table, meta: Any, rejected: pa.Table) -> Iterator[Any]:
        yield item if meta is None else DataItemWithMeta(meta, item)
        yield dlt.mark.with_table_name(rejected, f"{self._rejected.table}{REJECTED}")

    def _without(self, item: pa.Table, new: list[str]) -> pa.Table:
        """A table without the rows that the contract leaves out. The columns themselves are left out by dlt."""
        if self._contract not in DISCARDS:
            return item
        has_any = functools.reduce(pc.or_, (pc.is_valid(item.column(name)) for name in new))
        left_out = item.filter(has_any)
        if self._contract is SchemaContract.DISCARD_ROW:
            self._rejected.add(left_out, f"for which the table has no column {quoted(sorted(new))} (schema_contract)")
            return item.filter(pc.invert(has_any))
        kept = [name for name in item.column_names if name in self._key or name in new]
        self._rejected.add(left_out.select(kept), f"without {quoted(sorted(new))} (schema_contract)", landed=True)
        return item


def put_into(
    resource: DltResource,
    known: Mapping[str, Column],
    landed_name: Callable[[str], str],
    required: Iterable[str] = (),
    *,
    rejected: Rejected | None = None,
    rejects: bool = False,
    contract: SchemaContract | None = None,
    **rules: Any,
) -> Fitter:
    """Let a resource's pipe fit what it reads to the columns that are known of its table.

    `required`: those that take no empty value in the destination. `rejected` takes what can't land, and with `rejects`
    rows without their key too; `contract` says what becomes of columns that the table does not have.
    """
    hints = resource.columns if isinstance(resource.columns, dict) else {}
    json = frozenset(landed_name(name) for name, hint in hints.items() if hint.get("data_type") == "json")
    fitter = Fitter(known=dict(known), json=json, **rules)
    # What lands is decided here alone: a hint would change the schema's type and leave the destination's as it is.
    told: dict[str, Any] = {name: without_type(hint) for name, hint in hints.items()}
    names = {landed_name(name): name for name in hints}
    for landed, column in known.items():
        name = names.get(landed, landed)
        told[name] = {"name": name, **told.get(name, {}), **column.hint}
    for name in [name for name in told if fitter.is_held(landed_name(name))]:
        del told[name]
    hints.clear()
    resource.apply_hints(columns=told)
    key = key_of(resource, landed_name)
    before = tuple(name for name in required if name not in key)
    standing = frozenset(known if resource.write_disposition == "merge" else ())
    rejected = rejected or Rejected(resource.name)
    resource._set_hints(_hints_of(rejected), create_table_variant=True)
    resource.add_step(Fitting(fitter, Keys(resource.name, key, before, standing), rejected, rejects=rejects))
    resource.add_step(Counting(fitter, rejected, key, contract))
    return fitter


def _hints_of(rejected: Rejected) -> Any:
    """What dlt is told of the table of rejected rows: nothing of the table's own columns and keys."""
    return dlt.mark.make_hints(
        table_name=f"{rejected.table}{REJECTED}",
        write_disposition="append",
        columns=COLUMNS,
        schema_contract="evolve",  # the connector's own is about what its source does
        additional_table_hints={OF_REJECTED: True},
    )


def key_of(resource: DltResource, landed_name: Callable[[str], str]) -> tuple[str, ...]:
    """The columns of a resource's key, as they land."""
    columns = resource.compute_table_schema()["columns"]
    return tuple(landed_name(name) for name, hint in columns.items() if hint.get("primary_key"))
