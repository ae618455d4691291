"""A REDCap project by its API: its records, a batch of them at a time, and what describes them.

Records come with `dateRangeBegin` set to the start of the last complete load (less a margin for clocks and zones), so
REDCap sends only what changed; metadata and the rest are small and replaced each time.
"""

from collections.abc import Iterator
from typing import Any

import dlt
from dlt.extract import DltResource

from connectors.sources.redcap import Content, RedcapSource
from pipelines.errors import ConfigurationError
from pipelines.sources import Context
from pipelines.sources.http.client import source_client
from pipelines.sources.redcap.asking import FIELDS, Project
from pipelines.sources.redcap.batches import Row
from pipelines.sources.redcap.keys import RECORD_KEYS
from pipelines.sources.redcap.reading import TABLE, Reading
from pipelines.sources.rest_api import as_tables

_NO_COLUMN = {"checkbox", "descriptive"}
"""Types of fields whose name is no column: a mask of it would hide nothing."""

TABLES = {Content.FORM_EVENT_MAPPING: "form_event_mapping"}


def resources(source: RedcapSource, context: Context) -> list[DltResource]:
    """One resource for each content."""
    project = project_of(source, context)
    return [
        _records(project, source, context) if content is Content.RECORD else _whole(project, content, context)
        for content in source.content
    ]


def project_of(source: RedcapSource, context: Context) -> Project:
    """The project of a connector."""
    client = source_client(source.api_url, {}, None, context, FIELDS)
    return Project(client, context.secrets.text(source.token))


def _whole(project: Project, content: Content, context: Context) -> DltResource:
    """What describes the project: small, and replaced as a whole."""
    table = TABLES.get(content, content.value)

    def rows() -> Iterator[Any]:
        found = project.ask(content)
        yield found if context.row_limit is None else found[: context.row_limit]

    return as_tables(dlt.resource(rows, name=table, write_disposition="replace"), table)


def _records(project: Project, source: RedcapSource, context: Context) -> DltResource:
    fields = project.ask("metadata")
    if not fields:
        raise ConfigurationError("The REDCap project has no fields: check that source.token belongs to it.")
    if not all(field.get("field_name") for field in fields):
        raise ConfigurationError("REDCap answered metadata with fields that have no field_name: check source.api_url.")
    identity = str(fields[0]["field_name"])
    # A record has a column of this name, or of one for each choice, or none.
    context.declare(str(field["field_name"]) for field in fields if field.get("field_type") not in _NO_COLUMN)
    reading = Reading(source, context, project, identity)

    def records() -> Iterator[Any]:
        resource, state = dlt.current.resource(), dlt.current.resource_state()
        merges = resource.write_disposition == "merge"
        left = context.row_limit

        def replace() -> None:
            resource.apply_hints(write_disposition="replace")

        for rows in reading.batches(state, merges=merges, replace=replace):
            yield [_keyed(row) for row in rows[:left]]
            left = None if left is None else max(0, left - len(rows))

    key = [identity, *RECORD_KEYS]
    resource = dlt.resource(records, name=TABLE, primary_key=key, write_disposition="merge")
    return as_tables(resource, TABLE, types=source.types)


def _keyed(row: Row) -> Row:
    """A classic project has neither events nor repeats; a key must not be empty."""
    return {**row, **{name: str(row.get(name) or "") for name in RECORD_KEYS}}
