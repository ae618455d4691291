"""Views of resources as tables, made while the resources are read, of what of them may land.

A view is run behind the steps that mask and protect a resource, so it sees no more than lands in the resource's own
table. Its rows go by the resource: those of a resource that comes again replace all that it had, by `_resource_id`, in
dlt's merge. One that has no row any more leaves one with the number -1, which lands nowhere: see
`pipelines.loading.deduplication.last_readings`. Nothing is kept from run to run; the resource's cursor begins anew when
a view is another one.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import dlt
from dlt.extract import DltResource
from dlt.extract.items_transform import ItemTransform

from connectors.sources.fhir import FhirSource
from connectors.sources.views.definitions import View
from connectors.sources.views.landing import KEY, NO_ROW, NUMBER
from pipelines.rows.to_arrow import ToArrow
from pipelines.sources import Context
from pipelines.sources.together import made_of_others, read_together

_TYPES = {
    **dict.fromkeys(
        ("string", "code", "id", "uri", "url", "canonical", "oid", "uuid", "markdown", "base64Binary", "date"), "text"
    ),
    **dict.fromkeys(("dateTime", "time"), "text"),
    **dict.fromkeys(("integer", "positiveInt", "unsignedInt", "integer64"), "bigint"),
    "boolean": "bool",
    "instant": "timestamp",
}
"""The types of columns, by FHIR's. Days and moments may be of any precision, and are text, as the standard has them."""


class _Outbox:
    """The rows of views of one type that wait for their tables to be asked for."""

    def __init__(self, views: Sequence[View]) -> None:
        self.waiting: dict[str, deque[list[dict[str, Any]]]] = {view.name: deque() for view in views}
        self.is_whole = False
        """Set when all resources have been read."""

    def of(self, view: View) -> Iterator[Any]:
        """The rows of a view, page by page; None while there are none and more may come."""
        pages = self.waiting[view.name]
        while pages or not self.is_whole:
            yield pages.popleft() if pages else None


class _Viewing(ItemTransform[Any, dict[str, Any]]):
    """The step of a type's pipe that runs its views over each page, which goes on as it is."""

    # After what masks and protects, before what makes Arrow tables.
    placement_affinity: ClassVar[float] = 1.9

    def __init__(self, views: Sequence[View], outbox: _Outbox) -> None:
        from pipelines.sources.fhir.views.evaluating import Runner  # noqa: PLC0415  # by a connector with views alone

        super().__init__(lambda page: page)
        self._runners = {view.name: Runner(view) for view in views}
        self._outbox = outbox

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """The page as it is."""
        page = item if isinstance(item, list) else [item]
        for name, runner in self._runners.items():
            if rows := [row for resource in page for row in _rows(runner, resource)]:
                self._outbox.waiting[name].append(rows)
        return item


def _rows(runner: Any, resource: dict[str, Any]) -> Iterable[dict[str, Any]]:
    key = resource.get("id")
    found = runner.rows(resource)
    if not found:
        return [{KEY: key, NUMBER: NO_ROW}]
    return [{KEY: key, NUMBER: number, **row} for number, row in enumerate(found)]


def with_views(resources: list[DltResource], source: FhirSource, context: Context) -> list[DltResource]:
    """The resources of the types, and one for each view, which is read together with its type.

    A test of a connector makes the views of its first rows, and nothing lands; a comparison reads the types alone.
    """
    if context.keys_alone or (context.exports is None and not context.rehearsal):
        return resources
    found = list(resources)
    for resource in resources:
        views = [view for view in source.all_views if view.resource == resource.name]
        if views:
            found += _beside(resource, views, source)
    return found


def _beside(resource: DltResource, views: Sequence[View], source: FhirSource) -> list[DltResource]:
    outbox = _Outbox(views)
    gen: Any = resource._pipe.gen

    def noted() -> Iterator[Any]:
        try:
            yield from gen() if callable(gen) else gen
        finally:
            outbox.is_whole = True

    resource._pipe.replace_gen(noted)  # type: ignore[arg-type]  # as any function that makes one
    resource.add_step(_Viewing(views, outbox))
    found = [_table(view, outbox, source) for view in views]
    read_together([resource, *found], f"views of {resource.name}")
    return found


def _table(view: View, outbox: _Outbox, source: FhirSource) -> DltResource:
    resource = dlt.resource(outbox.of(view), name=view.name, merge_key=KEY, write_disposition="merge")
    typed = {column.name: "json" if column.collection else _TYPES.get(column.type, "") for column in view.columns()}
    types = {KEY: "text", NUMBER: "bigint", **{name: kind for name, kind in typed.items() if kind}}
    resource.add_step(ToArrow(view.name, keeps_digits=True, types={**types, **source.types}))
    made_of_others(resource)
    return resource


def digest_of(source: FhirSource, kind: str) -> list[str] | None:
    """What tells a type's views from those of another load; None where it has none."""
    found = [repr(view) for view in source.all_views if view.resource == kind]
    return found or None
