"""Any REST API that answers with JSON: pages by dlt's paginators, increments by a cursor, nested parts as JSON."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import dlt
from dlt.extract import DltResource, Incremental

from connectors.kinds import RestApiSource
from connectors.rest_shapes import RestResource
from pipelines.errors import ConfigurationError
from pipelines.prefetch import ahead, gathered
from pipelines.sources import Context, Window
from pipelines.sources.http import Client, open_client, paginator_of, resolved
from pipelines.tabular import Tabular


def resources(source: RestApiSource, context: Context) -> list[DltResource]:
    """One resource for each path."""
    client = open_client(source.base_url, source.headers, source.auth, context.secrets)
    return [_resource(client, source, resource, context) for resource in source.resources]


def _resource(client: Client, source: RestApiSource, shape: RestResource, context: Context) -> DltResource:
    params = resolved(shape.params, context.secrets)
    body = resolved(shape.body, context.secrets)

    def pages(cursor: Any = None) -> Iterator[Any]:
        asked = dict(params)
        if cursor is not None and shape.cursor_param is not None and cursor.last_value is not None:
            asked[shape.cursor_param] = cursor.last_value
        paginator = paginator_of(shape.paginator or source.paginator)
        read = partial(
            client.paginate, shape.path, shape.method, asked, body, None, paginator, data_selector=shape.data_selector
        )
        yield from limited((list(page) for page in read()), context.row_limit)

    incremental = _incremental(shape, context)
    signature: Any = pages if incremental is None else _with_cursor(pages, incremental)
    resource = dlt.resource(
        signature,
        name=shape.name,
        primary_key=list(shape.primary_key) or None,  # type: ignore[arg-type]
        write_disposition=shape.write_disposition,
    )
    return as_tables(resource, shape.name)


def as_tables(resource: DltResource, table: str) -> DltResource:
    """The resource with its pages as Arrow tables: after the cursor, which compares values as the API wrote them."""
    return resource.add_step(Tabular(table))


def limited(pages: Iterator[list[Any]], rows: int | None) -> Iterator[list[Any]]:
    """The pages, read ahead and gathered; with a limit, page by page and no further than it reaches."""
    if rows is None:
        yield from gathered(ahead(lambda: pages))
        return
    for page in pages:
        yield page[:rows]
        rows -= len(page)
        if rows <= 0:
            return


def _with_cursor(pages: Any, incremental: "Incremental[Any]") -> Any:
    """dlt finds a cursor as the default of a function's argument."""

    def with_cursor(cursor: Any = incremental) -> Iterator[Any]:
        yield from pages(cursor)

    return with_cursor


def _incremental(shape: RestResource, context: Context) -> "Incremental[Any] | None":
    # `replace` means everything each time: with a cursor it would leave only the newest rows.
    if shape.cursor_path is None or shape.write_disposition == "replace":
        return None
    if context.row_limit is not None:
        if shape.write_disposition == "append" and not context.rehearsal:
            raise ConfigurationError(
                f"row_limit can't be used with {shape.name}, which appends by a cursor: "
                "the next run would bring its rows again. Give it a primary key and merge."
            )
        # The first rows may hold the newest value: a cursor that moved to it would leave the others behind.
        return None
    start, end = between(context.window, shape.initial_value)
    return Incremental(
        shape.cursor_path,
        initial_value=start,
        end_value=end,
        on_cursor_value_missing="include" if shape.write_disposition == "merge" else "raise",
    )


def between(window: Window, initial: Any) -> tuple[Any, Any]:
    """The first value of a cursor and the one at which it ends, as texts in UTC; (initial, None) without a window."""
    if not window:
        return initial, None
    start = moment(window.start) if window.start else initial
    return start, moment(window.end or datetime.now(UTC))


def moment(value: datetime) -> str:
    """A moment as APIs write it: `2024-01-31T10:00:00Z`."""
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
