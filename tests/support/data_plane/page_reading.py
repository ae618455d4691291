"""Reading the pages of a server that does what real ones do wrong."""

from typing import Any

from pydantic import TypeAdapter

from connectors.sources.http import Paginator
from pipelines.access.secrets import Secrets
from pipelines.errors import Fields
from pipelines.sources import Context
from pipelines.sources.http.client import source_client
from pipelines.sources.paging.pages import Question, read_pages
from tests.support.servers.hostile_http import Api, HostileServer

FIELDS = Fields("source.base_url", "the path", "source.auth", "the request")


SHAPES: TypeAdapter[Any] = TypeAdapter(Paginator)


def read(
    api: Api, paginator: dict[str, Any] | None = None, extra: Any = None, **question: Any
) -> tuple[list[Any], list[str], list[str]]:
    """The rows that were read, the remarks, and what was asked for."""
    context = Context(Secrets(), rehearsal=True)
    with HostileServer(api, extra) as server:
        client = source_client(server.url + "/api", {}, None, context, FIELDS)
        shape = SHAPES.validate_python(paginator) if paginator else None
        asks = Question(table="visits", path="visits", paginator=shape, **question)
        rows = [row for page in read_pages(client, asks) for row in page]
    return rows, list(context.remarks), server.requests
