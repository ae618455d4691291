"""A REDCap project by its API: its records, a batch of them at a time, and what describes them.

Records come with `dateRangeBegin` set to the start of the last complete load (less a margin for clocks and zones), so
REDCap sends only what changed; metadata and the rest are small and replaced each time. In the layout `by_instrument`
all tables are filled by one reading, whose state is that of the table `record`.
"""

from collections.abc import Iterator
from typing import Any

import dlt
import pyarrow as pa
from dlt.extract import DltResource

from connectors.sources.deletes import Deletes
from connectors.sources.redcap import Checkboxes, Content, Layout, RedcapSource
from connectors.sources.write_rules import letters_and_digits, normalised
from pipelines.errors import ConfigurationError
from pipelines.protection.elsewhere import Elsewhere
from pipelines.rows.memory import give_back, keep_little
from pipelines.sources import Context
from pipelines.sources.http.client import source_client
from pipelines.sources.redcap.asking import FIELDS, Project
from pipelines.sources.redcap.described import without_values
from pipelines.sources.redcap.dictionary import Dictionary, Field, Setup, box_columns, is_set
from pipelines.sources.redcap.enriching import Enriching
from pipelines.sources.redcap.instruments import RECORD, Instruments
from pipelines.sources.redcap.keys import RECORD_KEYS
from pipelines.sources.redcap.reading import Reading
from pipelines.sources.rest_api import as_tables
from pipelines.sources.together import Spool, read_together
from pipelines.wording import quoted

TABLES = {Content.FORM_EVENT_MAPPING: "form_event_mapping"}


def resources(source: RedcapSource, context: Context) -> list[DltResource]:
    """One resource for each content; of the records, one for each instrument where the layout says so."""
    keep_little()
    project = project_of(source, context)
    found: list[DltResource] = []
    for content in source.content:
        if content is not Content.RECORD:
            found.append(_whole(project, content, source, context))
            continue
        dictionary = Dictionary.of(project.ask(Content.METADATA))
        # A record has a column of this name, or of one for each choice, or none.
        as_codes = source.checkboxes is Checkboxes.CODES
        context.declare(
            each.name for each in dictionary.fields if each.has_column or (as_codes and each.kind == "checkbox")
        )
        made = _by_instrument if source.layout is Layout.BY_INSTRUMENT else _wide
        found += made(project, dictionary, source, context)
    if source.report is not None:
        found.append(_report(project, source.report, source, context))
    return found


def project_of(source: RedcapSource, context: Context) -> Project:
    """The project of a connector."""
    client = source_client(source.api_url, {}, None, context, FIELDS)
    return Project(client, context.secrets.text(source.token))


def setup_of(project: Project, dictionary: Dictionary) -> Setup:
    """How a project is set up.

    Raises:
        RunError: when REDCap does not say it.
    """
    (about,) = project.ask("project")[:1] or [{}]
    mapping = project.ask(Content.FORM_EVENT_MAPPING) if is_set(about, "is_longitudinal") else []
    repeats = project.ask("repeatingFormsEvents") if is_set(about, "has_repeating_instruments_or_events") else []
    return Setup.of(dictionary.forms, about, mapping, repeats)


def _whole(project: Project, content: Content, source: RedcapSource, context: Context) -> DltResource:
    """What describes the project: small, and replaced as a whole."""
    table = TABLES.get(content, content.value)

    def rows() -> Iterator[Any]:
        found = project.ask(content)
        if content is Content.METADATA:
            found = without_values(found, lambda field: _values_stand(field, source, context))
        yield found if context.row_limit is None else found[: context.row_limit]

    return as_tables(dlt.resource(rows, name=table, write_disposition="replace"), table)


def _values_stand(field: Field, source: RedcapSource, context: Context) -> bool:
    """Whether what a field may hold may be quoted: all of its columns land as they are."""
    table = (field.form or RECORD) if source.layout is Layout.BY_INSTRUMENT else RECORD
    elsewhere = Elsewhere(source.mask, [context.protection.matcher(table)])
    boxes = box_columns(field) if source.checkboxes is Checkboxes.COLUMNS and field.kind == "checkbox" else []
    return all(map(elsewhere.values_stand, boxes or [field.name]))


def _report(project: Project, number: int, source: RedcapSource, context: Context) -> DltResource:
    """A report, which REDCap gives as a whole, and by which nobody can ask for a part of it."""
    table = f"report_{number}"

    def rows() -> Iterator[Any]:
        found = project.ask("report", report_id=str(number))
        found = _by_field(found, project, source, context)
        yield found if context.row_limit is None else found[: context.row_limit]

    return as_tables(dlt.resource(rows, name=table, write_disposition="replace"), table)


def _by_field(
    rows: list[dict[str, Any]], project: Project, source: RedcapSource, context: Context
) -> list[dict[str, Any]]:
    """Rows of a report, in which a field of checkboxes that is hidden has the name by which it is: one column."""
    if source.checkboxes is Checkboxes.COLUMNS or not (source.mask or source.protect):
        return rows
    dictionary = Dictionary.of(project.ask(Content.METADATA))
    hidden = _hidden(dictionary, context)
    boxes = tuple(each for each in dictionary.fields if letters_and_digits(each.name) in hidden)
    return Enriching(Dictionary(boxes), as_codes=True).rows(rows)


def _enriching(source: RedcapSource, context: Context, dictionary: Dictionary, **more: Any) -> Enriching:
    as_codes = source.checkboxes is Checkboxes.CODES
    return Enriching(dictionary, source.labels, as_codes, masked=_hidden(dictionary, context), **more)


def _hidden(dictionary: Dictionary, context: Context) -> set[str]:
    """The fields that do not land as they are, by their letters and digits."""
    return {*context.mask.columns, *context.protection.hidden(dictionary.by_name())}


def _wide(project: Project, dictionary: Dictionary, source: RedcapSource, context: Context) -> list[DltResource]:
    reading = Reading(source, context, project, dictionary.identity)
    if context.keys_alone:
        return [_ids(reading, dictionary, RECORD)]
    enriching = _enriching(source, context, dictionary)

    def records() -> Iterator[Any]:
        resource, state = dlt.current.resource(), dlt.current.resource_state()
        # Rows of a record are told from those that are gone by coming together.
        left = context.row_limit if source.deletes is Deletes.IGNORE else None

        def replace() -> None:
            resource.apply_hints(write_disposition="replace")

        for rows in reading.batches(state, merges=resource.write_disposition == "merge", replace=replace):
            yield [{**row, **_key(row)} for row in enriching.rows(rows[:left])]
            left = None if left is None else max(0, left - len(rows))
            give_back()

    resource = dlt.resource(
        records, name=RECORD, primary_key=[dictionary.identity, *RECORD_KEYS], write_disposition="merge"
    )
    lists = dict.fromkeys(sorted(enriching.lists), "json")
    return [as_tables(resource, RECORD, types={**lists, **source.types})]


def _ids(reading: Reading, dictionary: Dictionary, table: str) -> DltResource:
    """The ids of all records alone, by which a table's rows are found that are gone."""

    def ids() -> Iterator[Any]:
        # The rest of the key takes no empty value, and is compared with nothing.
        yield [{dictionary.identity: each, **_key({})} for each in reading.all_ids()]

    key = [dictionary.identity]
    resource = dlt.resource(ids, name=table, primary_key=key, write_disposition="merge")
    return as_tables(resource, table, types={dictionary.identity: "text"})


def _key(row: dict[str, Any]) -> dict[str, str]:
    """A classic project has neither events nor repeats; a key must not be empty."""
    return {name: str(row.get(name) or "") for name in RECORD_KEYS}


def _by_instrument(
    project: Project, dictionary: Dictionary, source: RedcapSource, context: Context
) -> list[DltResource]:
    setup = setup_of(project, dictionary)
    reading = Reading(source, context, project, dictionary.identity)
    enriching = _enriching(source, context, dictionary, missing=setup.missing)
    instruments = Instruments(dictionary, setup, enriching.owners)
    forms = {*source.forms, *(each.form for each in dictionary.fields if each.name in source.fields)}
    tables = [RECORD, *(table for form, table in instruments.tables.items() if not forms or form in forms)]
    if context.keys_alone:
        return [_ids(reading, dictionary, table) for table in tables]
    known = {*map(normalised, (*tables, *source.landings()))}
    if unknown := [name for name in source.checks if normalised(name) not in known]:
        raise ConfigurationError(
            f"source.checks names {quoted(unknown)}, which is no table of the project: it has {', '.join(tables)}."
        )
    replacing: list[bool] = []

    def pages() -> Iterator[dict[str, pa.Table]]:
        state: dict[str, Any] = dlt.current.resource_state(RECORD)
        merges = dlt.current.resource().write_disposition == "merge"
        batches = reading.batches(state, merges=merges, replace=lambda: replacing.append(True))
        for rows in batches:
            yield instruments.taken_apart(enriching.rows(rows))
            give_back()

    spool = Spool(pages, context.directory)

    def landing(page: pa.Table) -> Any:
        give_back()
        if replacing:
            dlt.current.resource().apply_hints(write_disposition="replace")
        # A page without rows goes on only where it tells that the table is replaced.
        return page if page.num_rows or replacing else []

    def of_table(table: str) -> Iterator[Any]:
        # No page has a name here: while other tables have their turn, it would be held.
        yield from map(landing, spool.pages(table))

    found = []
    types = {**dict.fromkeys(sorted(enriching.lists), "json"), **source.types}
    for table in tables:
        resource = dlt.resource(
            of_table(table), name=table, primary_key=list(instruments.key), write_disposition="merge"
        )
        found.append(as_tables(resource, table, types=types, presumed=instruments.types(), of_text=True))
    read_together(found, RECORD)
    return found
