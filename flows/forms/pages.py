"""Pages that the forms in the Prefect UI leave behind: a connector as it now is, or as it was, in Markdown. Pure."""

import json
from dataclasses import replace
from datetime import datetime

from pydantic.alias_generators import to_camel

from connectors.connector import (
    USER_COLUMNS,
    Connector,
    ConnectorRow,
    InvalidConnectorError,
    default_dataset,
    validate,
)
from connectors.schedules.dates import local, next_runs
from connectors.schedules.wording import words
from connectors.status import Phase, Status
from prefect_api.names import page_key

SHOWN_RUNS = 5


def connector_page(row: ConnectorRow, status: Status | None, deployment: str | None, now: datetime) -> str:
    """The artifact: the connector, its schedule in words, its next runs and links, as Markdown.

    Args:
        row: the connector.
        status: where it stands; None when the controller has not seen it yet.
        deployment: the address of its deployment's page in Prefect; None when it has none yet.
        now: the time, aware.
    """
    lines = [f"# {row.name}", ""]
    if row.description:
        lines += [row.description, ""]
    head = f"Connector **{row.id}**, {'active' if row.is_active else 'deactivated'}"
    try:
        connector = validate(row)
    except InvalidConnectorError as error:  # one of these can still be deactivated
        lines += [f"{head}. Before it can run again: {error}", ""]
    else:
        lines += [f"{head}: {_route(connector)}.", "", *_runs(connector, now), ""]
        lines += [_readiness(row, status, connector), ""]
    links = [f"[How its loads go](/artifacts/key/{page_key(row.id)})"]
    if deployment is not None:
        links.insert(0, f"[Its deployment and runs]({deployment})")
    lines += [" · ".join(links), "", *_definition(row)]
    return "\n".join(lines)


def definition_page(row: ConnectorRow) -> str:
    """The artifact of a connector that is deleted: what it was, and how to have it back, as Markdown."""
    lines = [
        f"# {row.name}",
        "",
        f"What connector {row.id} was before it was deleted. Its rows stay in dataset `{dataset_of(row)}`.",
        "",
        "To have it back, create it again from what stands here: with the form *create-connector*, where `source` and "
        "`destination` go into the tab *Other (JSON)*, or with `POST /api/v1/connectors`, which takes it as it stands. "
        "Its first run loads everything again. In that dataset it updates the rows of tables with a primary key; rows "
        "of tables without one would be there twice, so leave the dataset's name out for those.",
        "",
        *_definition(replace(row, dataset_name=dataset_of(row))),
    ]
    return "\n".join(lines)


def _definition(row: ConnectorRow) -> list[str]:
    """The row as the REST API takes it; nothing of an invalid one, which may hold a secret."""
    try:
        validate(row)
    except InvalidConnectorError:
        return ["Its definition is not shown here: it is not valid, and might hold a secret."]
    said = {to_camel(name): getattr(row, name) for name in USER_COLUMNS}
    return ["As it is saved:", "", "```json", json.dumps(said, indent=2, ensure_ascii=False), "```"]


def dataset_of(row: ConnectorRow) -> str:
    """The dataset that its rows land in, of an invalid one too."""
    return row.dataset_name or default_dataset(row.id)


_SOURCES = {
    "sql_database": "a SQL database",
    "rest_api": "a REST API",
    "fhir": "a FHIR server",
    "redcap": "a REDCap project",
}
_DESTINATIONS = {"duckdb": "a DuckDB file", "postgres": "a PostgreSQL database", "filesystem": "files"}


def _route(connector: Connector) -> str:
    source, destination = connector.source.type, connector.destination
    into = "the platform's own destination"
    if destination is not None:
        into = _DESTINATIONS.get(destination.type, destination.type)
    return f"from {_SOURCES.get(source, source)} into {into}, dataset `{connector.dataset}`"


def _readiness(row: ConnectorRow, status: Status | None, connector: Connector) -> str:
    """What is still to come, and from whom."""
    if status is None or status.observed_generation != row.generation:
        return "It is saved and will be ready in a moment; nothing is left to do for you."
    if status.phase is Phase.SYNCED:
        return f"Ready: it {'runs by itself' if connector.schedule else 'can be started'}."
    return status.message or ""


def _runs(connector: Connector, now: datetime) -> list[str]:
    if connector.schedule is None:
        return ["It has no schedule: it runs only when started by hand."]
    when = f"Runs **{words(connector.schedule)}**."
    if not connector.is_active:
        return [when]
    runs = [local(run, connector.schedule.timezone) for run in next_runs(connector.schedule, now, SHOWN_RUNS)]
    return [when, "", "| next runs |", "|---|", *(f"| {run:%A, %d %B %Y, %H:%M} |" for run in runs)]
