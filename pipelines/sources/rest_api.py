"""Any REST API that answers with JSON: pages by dlt's paginators, increments by a cursor, nested parts as JSON."""

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import dlt
from dlt.common.schema.typing import TWriteDisposition
from dlt.extract import DltResource
from dlt.extract.items_transform import ItemTransform

from connectors.sources.rest_api import RestApiSource, RestResource
from connectors.sources.write_rules import WriteDisposition
from pipelines.errors import ConfigurationError, Fields
from pipelines.rows.read_ahead import ahead, gathered
from pipelines.rows.to_arrow import ToArrow
from pipelines.sources import Context
from pipelines.sources.cursors.asked import Asked, place_of
from pipelines.sources.cursors.incremental import Cursor, Increment
from pipelines.sources.http.client import Client, resolved, source_client
from pipelines.sources.paging.moving import settled
from pipelines.sources.paging.pages import Question, read_pages

FIELDS = Fields(
    url="source.base_url",
    place="source.base_url and the resource's path",
    login="source.auth",
    request="the resource's path, params and method",
)


def resources(source: RestApiSource, context: Context) -> list[DltResource]:
    """One resource for each path."""
    client = source_client(source.base_url, source.headers, source.auth, context, FIELDS)
    return [_resource(client, source, resource, context) for resource in source.resources]


def _resource(client: Client, source: RestApiSource, shape: RestResource, context: Context) -> DltResource:
    params = resolved(shape.params, context.secrets)
    body = resolved(shape.body, context.secrets)
    first = first_rows(context)

    increment = _increment(source, shape, context)

    def pages() -> Iterator[Any]:
        asked = dict(params)
        if increment is not None and shape.cursor_param is not None and increment.start is not None:
            asked[shape.cursor_param] = increment.start
        state = {} if context.rehearsal else dlt.current.resource_state()
        way = dict(state.get("way", {}))
        question = Question(
            table=shape.name,
            path=shape.path,
            method=shape.method,
            params=asked,
            body=body,
            data_selector=shape.data_selector,
            paginator=shape.paginator or source.paginator,
            check_complete=shape.check_complete,
            way=way,
        )
        if first is not None or not shape.primary_key or not shape.check_complete:
            yield from paged(read_pages(client, question), first)
        else:
            yield from paged(whole(question), None)
        if way != state.get("way", {}):
            state["way"] = way

    def whole(question: Question) -> Iterator[list[Any]]:
        merges = dlt.current.resource().write_disposition == "merge"
        key, table = shape.primary_key, shape.name
        return settled(lambda: read_pages(client, question), key, table, client.remark, merges=merges)

    disposition: TWriteDisposition = shape.write_disposition.value
    resource = dlt.resource(
        pages,
        name=shape.name,
        primary_key=list(shape.primary_key) or None,  # type: ignore[arg-type]
        write_disposition=disposition,
    )
    if increment is not None:
        resource.add_step(increment)
    return as_tables(resource, shape.name, first, types=shape.types)


def as_tables(resource: DltResource, table: str, first: "FirstRows | None" = None, **rules: Any) -> DltResource:
    """The resource with its pages as Arrow tables: after the cursor, which compares values as the API wrote them."""
    if first is not None:
        resource.add_step(first)
    return resource.add_step(ToArrow(table, **rules))


class FirstRows(ItemTransform[Any, dict[str, Any]]):
    """A step of a resource's pipe: lets the first rows through, of which the reader brings no more than it must."""

    # After the cursor's step, which takes out what is not of a backfill's time.
    placement_affinity: ClassVar[float] = 1.1

    def __init__(self, rows: int) -> None:
        super().__init__(lambda page: page)
        self._left = rows

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """The rows of a page that are still among the first ones."""
        rows = (item if isinstance(item, list) else [item])[: self._left]
        self._left -= len(rows)
        return rows

    def only(self, pages: Iterator[list[Any]]) -> Iterator[list[Any]]:
        """The pages, one by one, as long as rows are wanted."""
        for page in pages:
            yield page
            if not self._left:
                return


def first_rows(context: Context) -> FirstRows | None:
    """The step that a run with a limit needs."""
    return None if context.row_limit is None else FirstRows(context.row_limit)


def paged(pages: Iterator[list[Any]], first: FirstRows | None) -> Iterator[list[Any]]:
    """The pages, read ahead and gathered; with a limit, page by page and no further than it reaches."""
    return gathered(ahead(lambda: pages)) if first is None else first.only(pages)


def _increment(source: RestApiSource, shape: RestResource, context: Context) -> Increment | None:
    # `replace` means everything each time: with a cursor it would leave only the newest rows.
    if shape.cursor_path is None or shape.write_disposition is WriteDisposition.REPLACE:
        return None
    # A backfill's window moves no cursor, and may be read in part.
    if context.row_limit is not None and not context.window:
        if shape.write_disposition is WriteDisposition.APPEND and not context.rehearsal:
            raise ConfigurationError(
                f"row_limit can't be used with {shape.name}, which appends by a cursor: "
                "the next run would bring its rows again. Give it a primary key and merge."
            )
        # The first rows may hold the newest value: a cursor that moved to it would leave the others behind.
        return None
    asked = Asked(
        same={
            "base_url": place_of(source.base_url),
            "path": shape.path,
            "method": shape.method.value,
            "params": _written(shape.params),
            "body": _written(shape.body),
        },
        begins={"initial_value": shape.initial_value},
    )
    cursor = Cursor(
        shape.cursor_path,
        asked,
        initial=shape.initial_value,
        lag=shape.lag,
        text=shape.cursor_type == "text",
        appends=shape.write_disposition is WriteDisposition.APPEND,
    )
    return Increment(cursor, context.remarks, context.window.bounds() if context.window else None)


def _written(given: Any) -> Any:
    """Parameters as the connector writes them: of secrets, the references."""
    return json.dumps(given, sort_keys=True, default=lambda value: value.model_dump(by_alias=True))
