"""The step of a resource's pipe that fits its Arrow tables to the destination's columns, put there by the engine."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import dlt
import pyarrow as pa
from dlt.extract import DltResource
from dlt.extract.items_transform import ItemTransform

from pipelines.loading.deduplication.keys import Keys
from pipelines.rows.fitting import Fitter
from pipelines.rows.types.columns import Column, without_type


class Fitting(ItemTransform[Any, dict[str, Any]]):
    """Takes a resource's Arrow tables and gives them with the types of their table's columns.

    Nothing of it is kept: if the process dies, the next run fits the same rows to the columns that are there by then.
    """

    # After the step that gives columns their names: those before it have the source's names and types.
    placement_affinity: ClassVar[float] = 3

    def __init__(self, fitter: Fitter, keys: Keys) -> None:
        super().__init__(lambda page: page)
        self.fitter = fitter
        self._keys = keys
        self._told = dict(fitter.known)

    def __call__(self, item: Any, meta: Any = None) -> Iterator[Any]:
        """The table fitted; what is none goes through as it is."""
        if isinstance(item, pa.RecordBatch):
            item = pa.Table.from_batches([item])
        if isinstance(item, pa.Table):
            # Known only while the source is read: a first load has no schema before.
            self.fitter.landed_name = dlt.current.source_schema().naming.normalize_path
            yield from self._fitted(item)
        else:
            yield item

    def _fitted(self, item: pa.Table) -> Iterator[Any]:
        fitted = self.fitter.fit(item)
        self._keys.check(fitted)
        self._keys.check_texts(self.fitter.nul)
        if not fitted.num_columns and not fitted.num_rows:
            return
        # By itself dlt makes each moment one with a zone, and JSON a text.
        known = self.fitter.known
        if untold := {name for name in fitted.column_names if self._told.get(name) != known[name]}:
            self._told |= {name: known[name] for name in untold}
            hints: Any = {name: {"name": name, **known[name].hint} for name in untold}
            yield dlt.mark.with_hints(self.fitter.countable(fitted), dlt.mark.make_hints(columns=hints))
        else:
            yield self.fitter.countable(fitted)


class Counting(ItemTransform[Any, dict[str, Any]]):
    """The very last step: counts what is told of the rows that are written, without those that stand there already."""

    placement_affinity: ClassVar[float] = 5

    def __init__(self, fitter: Fitter, *, by_row: bool) -> None:
        super().__init__(lambda page: page)
        self._fitter = fitter
        self._by_row = by_row

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """The item as it is written."""
        return self._fitter.count(item, by_row=self._by_row) if isinstance(item, pa.Table) else item


def put_into(
    resource: DltResource,
    known: Mapping[str, Column],
    landed_name: Callable[[str], str],
    required: Iterable[str] = (),
    *,
    by_row: bool = False,
    **rules: Any,
) -> Fitter:
    """Let a resource's pipe fit what it reads to the columns that are known of its table.

    `required`: those that take no empty value in the destination. `by_row`: a contract leaves whole rows out.
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
    hints.clear()
    resource.apply_hints(columns=told)
    key = key_of(resource, landed_name)
    before = tuple(name for name in required if name not in key)
    standing = frozenset(known if resource.write_disposition == "merge" else ())
    resource.add_step(Fitting(fitter, Keys(resource.name, key, before, standing)))
    resource.add_step(Counting(fitter, by_row=by_row))
    return fitter


def key_of(resource: DltResource, landed_name: Callable[[str], str]) -> tuple[str, ...]:
    """The columns of a resource's key, as they land."""
    columns = resource.compute_table_schema()["columns"]
    return tuple(landed_name(name) for name, hint in columns.items() if hint.get("primary_key"))
