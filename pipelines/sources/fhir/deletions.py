"""Deletions of a server that is searched: what its history of a type says was deleted since the last load.

A search finds what is there; of what is gone only the history tells. Of one resource its newest entry counts, for it
may have come again. Nothing is kept: the next run asks from where its own search begins.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from pipelines.errors import ConfigurationError
from pipelines.sources.fhir.bulk.deleted import KEY, named_in
from pipelines.sources.http.client import Client
from pipelines.sources.paging.pages import Question, read_pages
from pipelines.sources.paging.paginators import Stated
from pipelines.sources.paging.selecting import Rows

PAGE = 200


def deleted_since(client: Client, kind: str, moment: str, directory: Path, *, check: bool) -> list[Path]:
    """Parquet with the ids of the resources of a type that were deleted since a moment; nothing where none was.

    Raises:
        RunError: when the server gives no such history, or not all of it.
    """
    newest: dict[str, bool] = {}
    for entry in _entries(client, kind, moment, check=check):
        found = entry.get("request")
        request: dict[str, Any] = found if isinstance(found, dict) else {}
        is_gone = request.get("method") == "DELETE"
        name = named_in(request) if is_gone else _id_of(entry)
        if name is None and is_gone:
            client.remark(
                f"The server's history of {kind} names deletions by no id, so their rows stay: a full refresh leaves "
                "what the server has."
            )
        elif name is not None:
            newest.setdefault(name, is_gone)
    ids = [name for name, is_gone in newest.items() if is_gone]
    if not ids:
        return []
    path = directory / f"history.{kind}.parquet"
    pyarrow.parquet.write_table(pa.table({KEY: pa.array(ids, pa.string())}), path)
    return [path]


def _entries(client: Client, kind: str, moment: str, *, check: bool) -> Iterator[dict[str, Any]]:
    """The entries of a history, the newest first, as FHIR has them."""

    def select(bundle: Any) -> Rows:
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
            raise ConfigurationError(f"The FHIR server gives no history of {kind}, by which deletes go: {_WAY_OUT}")
        found = bundle.get("entry")
        return Rows([each for each in found if isinstance(each, dict)] if isinstance(found, list) else [])

    question = Question(
        table=f"the history of {kind}",
        path=f"{kind}/_history",
        params={"_since": moment, "_count": PAGE},
        paginator=Stated(links_only=True),
        select=select,
        check_complete=check,
        known=(kind,),
        way_out="set page_size to what the server gives.",
    )
    try:
        for page in read_pages(client, question):
            yield from page
    except ConfigurationError as error:
        if _WAY_OUT in str(error):
            raise
        raise ConfigurationError(f"The history of {kind}, by which deletes go: {error} Or {_WAY_OUT}") from None


_WAY_OUT = "set source.deletes to ignore, or ask by exports (mode bulk)."


def _id_of(entry: dict[str, Any]) -> str | None:
    resource = entry.get("resource")
    found = resource.get("id") if isinstance(resource, dict) else None
    return found if isinstance(found, str) else None
