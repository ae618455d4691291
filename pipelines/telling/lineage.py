"""Lineage of loads, told to a server of OpenLineage: a run of a job begins, completes or fails, and what it wrote.

A load only notes what it did; the controller sends it, so a server that is away costs no load a moment.
"""

from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import orjson

from database.control.outbox import NotTakenError, Outgoing
from settings import Settings

PATH = "/api/v1/lineage"
PRODUCER = "https://github.com/clinical-ai-prefect"
SPEC = "https://openlineage.io/spec"
TIMEOUT_SECONDS = (5, 10)


def post(item: Outgoing, settings: Settings) -> None:
    """Tell one event of a load.

    Raises:
        NotTakenError: the server has not taken it.
    """
    import requests  # noqa: PLC0415  # where no lineage is told nobody needs it

    address = urlsplit(str(settings.openlineage_url))
    url = address.geturl() if address.path.strip("/") else address._replace(path=PATH).geturl()
    body = orjson.dumps(event(item, settings.instance))
    try:
        headers = {"Content-Type": "application/json"}
        with requests.post(url, data=body, headers=headers, timeout=TIMEOUT_SECONDS, stream=True) as answer:
            status = int(answer.status_code)
    except requests.RequestException as error:
        raise NotTakenError(f"The lineage server could not be reached ({type(error).__name__}).") from None
    if not 200 <= status < 300:
        # What it refuses it will refuse tomorrow.
        raise NotTakenError(f"The lineage server answered {status}.", final=status in {400, 422})


def event(item: Outgoing, instance: str) -> dict[str, Any]:
    """An event as the specification has it: the run's id is the load's, the job's name its connector's."""
    said = item.said
    run: dict[str, Any] = {"runId": str(uuid5(NAMESPACE_URL, f"cai:{instance}:load:{item.load_id}"))}
    if said.get("message"):
        message = _facet("ErrorMessageRunFacet", "1-0-1", message=said["message"], programmingLanguage="python")
        run["facets"] = {"errorMessage": message}
    kind = _facet("JobTypeJobFacet", "2-0-3", processingType="BATCH", integration="DLT", jobType="CONNECTOR")
    return {
        "eventType": said["event"],
        "eventTime": item.loaded_at.isoformat(),
        "producer": PRODUCER,
        "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": run,
        "job": {"namespace": instance, "name": str(item.leader_name), "facets": {"jobType": kind}},
        "inputs": [],
        "outputs": [_output(table, said) for table in said.get("tables", ())],
    }


def _output(table: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """A table that was written: its columns, and the rows of this load."""
    name = table["table_name"]
    columns = said.get("columns", {}).get(name, {})
    fields = [{"name": column, "type": kind} for column, kind in columns.items()]
    size = {"size": table["bytes"]} if table.get("bytes") else {}
    return {
        "namespace": str(said.get("destination")),
        "name": f"{said.get('dataset')}.{name}",
        "facets": {"schema": _facet("SchemaDatasetFacet", "1-1-1", fields=fields)} if fields else {},
        "outputFacets": {
            "outputStatistics": _facet("OutputStatisticsOutputDatasetFacet", "1-0-2", rowCount=table["written"], **size)
        },
    }


def _facet(name: str, version: str, **values: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{SPEC}/facets/{version}/{name}.json#/$defs/{name}", **values}
