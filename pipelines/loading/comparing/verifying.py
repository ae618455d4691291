"""Verification of a connector's tables: after a load, or in a run that loads nothing.

Rows are compared as the source has them now: what it changes between the load and the comparison differs, rightly.
"""

import pyarrow as pa
import pyarrow.parquet

from connectors.comparisons import TableComparison
from connectors.runs import Options
from connectors.sources import Source
from connectors.sources.rest_api import RestApiSource
from connectors.sources.sql_database import SqlDatabaseSource
from connectors.sources.write_rules import Comparison, normalised
from pipelines.error_causes.classification import as_fault
from pipelines.errors import Step
from pipelines.loading.comparing.proving import counted, of_counts, proved, rows_of
from pipelines.loading.comparing.reading import Place, Reread, read_again
from pipelines.loading.comparing.sessions import has_sessions, session

CURSOR = {"initial_value": None, "lag": None, "cursor_type": None}


def verify_tables(place: Place, source: Source, options: Options, how: str) -> list[TableComparison]:
    """Compare all tables that a run was asked for. Destinations other than DuckDB and PostgreSQL are counted only.

    `how`: `counts`, or `sums`, which are of all values of tables that have a key.

    Raises:
        RunError: one of both sides could not be read.
    """
    asked = {normalised(name) for name in options.tables}
    with_sums = how == Comparison.SUMS and has_sessions(place.job.destination)
    with as_fault(place.job.secrets.redact, Step.EXTRACT):
        read = read_again(place, _whole(source, asked, keys_alone=not with_sums), asked)
    with as_fault(place.job.secrets.redact, Step.LOAD), place.alone():
        if not has_sessions(place.job.destination):
            return [of_counts(table.table, _rows(table), rows_of(place.pipeline, table.table)) for table in read]
        with session(place.pipeline, place.job.destination) as there:
            return [
                proved(there, table, place.job.directory)
                if with_sums and table.key
                else counted(there, table, _rows(table))
                for table in read
            ]


def _rows(table: Reread) -> int:
    return sum(pa.parquet.read_metadata(path).num_rows for path in table.files)


def _whole(source: Source, asked: set[str], *, keys_alone: bool) -> Source:
    """The source without cursors: all rows of the tables that are asked for, or of all."""
    match source:
        case SqlDatabaseSource():
            tables = (
                table.model_copy(
                    update={
                        **CURSOR,
                        "cursor_column": None,
                        "columns": source.asked_for_keys(table) if keys_alone else table.asked,
                    }
                )
                for table in source.tables
                if not asked or normalised(table.name) in asked
            )
            return source.model_copy(update={"tables": tuple(tables)})
        case RestApiSource():
            resources = (
                each.model_copy(update={**CURSOR, "cursor_path": None, "cursor_param": None})
                for each in source.resources
                if not asked or normalised(each.name) in asked
            )
            return source.model_copy(update={"resources": tuple(resources)})
    return source
