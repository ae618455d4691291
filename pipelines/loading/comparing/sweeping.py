"""Sweeps: after a load, the keys that a source has are read alone and compared with those of the destination.

Read after the rows, so that no row which came meanwhile is taken for gone. If the process dies here, the load stands
and the sweep is due again.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from connectors.connector import Connector
from connectors.runs import Options
from connectors.schedules.cron import parse
from connectors.schedules.dates import next_runs
from connectors.sources import Source
from connectors.sources.deletes import EVERY_LOAD, Deletes, Deleting
from connectors.sources.files import FilesSource
from connectors.sources.redcap import Content, RedcapSource
from connectors.sources.rest_api import RestApiSource
from connectors.sources.sql_database import SqlDatabaseSource
from connectors.sources.write_rules import landed_table, normalised
from database.decisions import by_runs
from pipelines.error_causes.classification import as_fault
from pipelines.errors import Step
from pipelines.loading.comparing.deleting import Deleted, Guard, last_sweeps, refuse_own_column, sweep
from pipelines.loading.comparing.histories import Histories
from pipelines.loading.comparing.reading import Place, Reread, read_again
from pipelines.loading.comparing.sessions import session

RECORD = Content.RECORD.value
"""REDCap's table that has a row for each row of its export: the others are read with it."""

WITHOUT_CURSOR = {"initial_value": None, "lag": None, "cursor_type": None}


Rule = Deleting | RedcapSource
"""What says what happens to rows that are gone, and when."""


def swept(source: Source) -> dict[str, Rule]:
    """The tables of a source of which rows may go, by name. Of REDCap one stands for all tables of its records."""
    if isinstance(source, RedcapSource):
        return {} if source.deletes is Deletes.IGNORE else {RECORD: source}
    return {
        name: how
        for name, how in source.landings().items()
        if isinstance(how, Deleting) and how.deletes is not Deletes.IGNORE
    }


def wants_sweep(connector: Connector, options: Options) -> bool:
    """Whether a run looks for rows that are gone: not one of a part of the rows, and not one that loads all anew."""
    return bool(swept(connector.source)) and not (options.partial or options.row_limit or options.full_refresh)


def sweep_tables(
    place: Place, connector: Connector, options: Options, histories: Histories, listed: Mapping[str, Collection[str]]
) -> list[Deleted]:
    """Compare the keys of all tables that are due, and delete or mark what is gone.

    `listed`: of tables whose rows go with their files, the names of these.

    Raises:
        RunError: the source could not be read to its end, and then nothing is deleted; or the destination fails.
    """
    # A run of one table of REDCap's by instrument reads them all.
    asked = set() if isinstance(connector.source, RedcapSource) else {normalised(name) for name in options.tables}
    tables = {name: how for name, how in swept(connector.source).items() if not asked or normalised(name) in asked}
    with (
        as_fault(place.job.secrets.redact, Step.LOAD),
        place.alone(),
        session(place.pipeline, place.job.destination) as there,
    ):
        last = last_sweeps(there)
    if not options.allow_mass_delete:  # what a guard has withheld is not due by itself
        tables = _due(tables, last, connector, datetime.now(UTC))
    if not tables:
        return []
    with as_fault(place.job.secrets.redact, Step.EXTRACT):
        read = _read(place, connector.source, tables, listed)
    lifted = options.allow_mass_delete
    shown = by_runs.withheld_deletes(place.job.locks.query, connector.id) if lifted else {}
    guard = Guard(place.job.settings.max_delete_fraction, lifted, shown)
    modes = {normalised(name): how.deletes for name, how in tables.items()}
    by_file = isinstance(connector.source, FilesSource)
    together = landed_table(RECORD) if RECORD in tables and isinstance(connector.source, RedcapSource) else None
    if together is not None:
        # All others go by the rows of this one, so it is the last that loses any.
        read = sorted(read, key=lambda table: table.table == together)
        modes = dict.fromkeys((normalised(table.table) for table in read), modes[normalised(RECORD)])
    with as_fault(place.job.secrets.redact, Step.LOAD), place.alone():
        return [
            _swept(
                place,
                table,
                modes[normalised(table.table)],
                guard,
                histories,
                together=table.table if by_file else together,
            )
            for table in read
        ]


def _read(
    place: Place, source: Source, tables: Mapping[str, Rule], listed: Mapping[str, Collection[str]]
) -> list[Reread]:
    """What the source has of these tables."""
    if isinstance(source, FilesSource):
        from pipelines.loading.comparing.listed_files import listed_files  # noqa: PLC0415  # formats of files

        return listed_files(place, listed, tables.keys())
    hashed: dict[str, Reread] = {}
    if isinstance(source, SqlDatabaseSource):
        from pipelines.loading.comparing.hashed_keys import differing  # noqa: PLC0415  # databases cost 40 MB

        hashed = differing(place, source, tables)
    read = [*hashed.values()]
    if others := tables.keys() - hashed.keys():
        read += read_again(place, _keys_alone(source, others), keys_alone=True)
    return read


def _swept(
    place: Place, table: Reread, mode: Deletes, guard: Guard, histories: Histories, *, together: str | None
) -> Deleted:
    if mode is Deletes.MARK:
        refuse_own_column(table.table, table.columns)
    with session(place.pipeline, place.job.destination) as there:
        found = sweep(there, table, mode, guard, together)
        if histories.has(table.table) and (found.done or found.back):
            histories.follow_keys(there, place.pipeline, table.table)
        return found


def _due(
    tables: Mapping[str, Rule], last: Mapping[str, datetime], connector: Connector, now: datetime
) -> dict[str, Rule]:
    def is_due(name: str, how: Rule) -> bool:
        before = last.get(normalised(name))
        if how.deletes_every == EVERY_LOAD or before is None:
            return True
        zone = connector.schedule.timezone if connector.schedule else "UTC"
        when = parse(how.deletes_every, zone, connector.id)
        return any(date <= now for date in next_runs(when, before, 1))

    return {name: how for name, how in tables.items() if is_due(name, how)}


def _keys_alone(source: Source, tables: Iterable[str]) -> Source:
    """The source as it is asked for its keys: by a query of them alone, or, where there is no such, by all pages."""
    wanted = set(tables)
    match source:
        case SqlDatabaseSource():
            shapes = (
                table.model_copy(
                    update={**WITHOUT_CURSOR, "cursor_column": None, "columns": source.asked_for_keys(table)}
                )
                for table in source.tables
                if table.name in wanted
            )
            return source.model_copy(update={"tables": tuple(shapes)})
        case RestApiSource():
            pages = (
                each.model_copy(update={**WITHOUT_CURSOR, "cursor_path": None, "cursor_param": None})
                for each in source.resources
                if each.name in wanted
            )
            return source.model_copy(update={"resources": tuple(pages)})
        case RedcapSource():
            # Nothing is loaded, so that checks of what is loaded say nothing.
            return source.model_copy(update={"content": (Content.RECORD,), "report": None, "checks": {}})
    return source
