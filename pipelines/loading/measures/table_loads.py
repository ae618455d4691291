"""Rows of the load history: what a load did to each table, from what dlt has measured and what was counted."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dlt
from dlt.common.pipeline import ExtractInfo, LoadInfo

from connectors.loads import TableLoad, changes
from connectors.sources.write_rules import WriteDisposition
from pipelines.errors import Step
from pipelines.loading.columns.fitting_step import OF_REJECTED
from pipelines.loading.measures.row_counts import RowCounts


@dataclass
class Measured:
    """What is known of a run's tables, by table, as the run goes on."""

    counts: RowCounts = field(default_factory=RowCounts)
    before: dict[str, int] = field(default_factory=dict)
    """Rows in the destination before the load; none for a table that was not counted."""
    after: dict[str, int] = field(default_factory=dict)
    since: dict[str, str] = field(default_factory=dict)
    until: dict[str, str] = field(default_factory=dict)
    """Cursors: from where a table was read, and how far."""
    gone: Mapping[str, int] = field(default_factory=dict)
    """Rows that were deleted or marked after the load, since they are gone at the source."""
    removed: Mapping[str, int] = field(default_factory=dict)
    """Of these: rows that are not there any more."""
    named: Mapping[str, int] = field(default_factory=dict)
    """Rows that were deleted or marked before the load, since the source said so."""
    streamed: Mapping[str, int] = field(default_factory=dict)
    """Bytes that went from database to database."""
    extracted: ExtractInfo | None = None
    full_refresh: bool = False

    def tables(
        self, names: Iterable[str], written: Mapping[str, int], schema: dlt.Schema | None, loaded: LoadInfo | None
    ) -> tuple[TableLoad, ...]:
        """A row for each of these tables, and for any other that came.

        Args:
            names: of the tables that were asked for.
            written: rows in the load files, by table.
            schema: with every table as it landed; None when nothing ever landed.
            loaded: what dlt tells of the load; None when there was nothing to load.
        """
        sizes, seconds = _of_jobs(loaded)
        reading = self._reading()
        every = sorted({*names, *self.counts.came, *written})
        return tuple(
            self._table(
                name,
                written.get(name, 0),
                schema,
                sizes[name] + self.streamed.get(name, 0),
                {
                    step: found[name]
                    for step, found in ((Step.EXTRACT.value, reading), (Step.LOAD.value, seconds))
                    if name in found
                },
            )
            for name in every
        )

    def _table(
        self, name: str, written: int, schema: dlt.Schema | None, size: int, seconds: dict[str, float]
    ) -> TableLoad:
        before, after = self.before.get(name), self.after.get(name)
        known = schema.tables.get(name) if schema is not None else None
        disposition = (
            WriteDisposition.REPLACE
            if self.full_refresh
            else known.get("write_disposition")
            if known is not None
            else None
        )
        new, changed, deleted = changes(disposition, written, before, after) if after is not None else (None,) * 3
        if not written and after is None:
            new = changed = 0
        if name in self.named:
            deleted = (deleted or 0) + self.named[name]
        if name in self.gone:
            deleted = (deleted or 0) + self.gone[name]
            after = None if after is None else after - self.removed.get(name, 0)
        return TableLoad(
            name,
            read=self.counts.read(name),
            written=written,
            rejected=self.counts.rejected[name],
            repeated=self.counts.repeated[name],
            new=new,
            changed=changed,
            deleted=deleted,
            rows_after=after,
            cursor_from=self.since.get(name),
            cursor_to=self.until.get(name),
            bytes=size,
            seconds=seconds,
            schema_hash=None if schema is None or known is None else schema_hash(schema, name),
        )

    def _reading(self) -> dict[str, float]:
        """Seconds from the first row of a table that was written down to the last."""
        found: dict[str, float] = {}
        for metrics in (each for steps in self.extracted.metrics.values() for each in steps) if self.extracted else ():
            for table, measured in metrics["table_metrics"].items():
                found[table] = round(measured.last_modified - measured.created, 3)
        return found


def rows_written(pipeline: dlt.Pipeline, streamed: Mapping[str, int]) -> dict[str, int]:
    """The rows in the load files that a pipeline has made, and those that stream, by table; no rejected ones."""
    trace = pipeline.last_trace
    normalized = trace.last_normalize_info if trace else None
    counts = Counter(normalized.row_counts if normalized else {})
    counts.update(streamed)
    tables: Any = pipeline.default_schema.tables if pipeline.default_schema_name else {}
    return {
        name: count
        for name, count in counts.items()
        if name[:4] != "_dlt" and not tables.get(name, {}).get(OF_REJECTED)
    }


def new_columns(loaded: LoadInfo | None) -> dict[str, list[str]]:
    """The columns that a load has made, by table; none of dlt's own."""
    return {
        name: [column for column in table["columns"] if not column.startswith("_dlt")]
        for package in (loaded.load_packages if loaded else ())
        for name, table in package.schema_update.items()
        if not name.startswith("_dlt")
    }


def size_of(loaded: LoadInfo | None) -> int:
    """The bytes of a load's files."""
    packages = loaded.load_packages if loaded else ()
    return sum(job.file_size or 0 for package in packages for job in package.jobs["completed_jobs"])


def _of_jobs(loaded: LoadInfo | None) -> tuple[Counter[str], dict[str, float]]:
    """Bytes of load files and seconds of load jobs, by table."""
    sizes, seconds = Counter[str](), Counter[str]()
    for package in loaded.load_packages if loaded else ():
        for job in package.jobs["completed_jobs"]:
            sizes[job.job_file_info.table_name] += job.file_size or 0
    for metrics in (each for steps in loaded.metrics.values() for each in steps) if loaded else ():
        for of_job in metrics["job_metrics"].values():
            if of_job.finished_at is not None:
                seconds[of_job.table_name] += (of_job.finished_at - of_job.started_at).total_seconds()  # type: ignore[assignment]
    return sizes, {table: round(taken, 3) for table, taken in seconds.items()}


def columns_of(schema: dlt.Schema, tables: Iterable[str]) -> dict[str, dict[str, str]]:
    """The columns of these tables, as far as they are known, with their types."""
    return {
        table: {
            name: str(column.get("data_type", ""))
            for name, column in schema.get_table_columns(table).items()
            if not name.startswith("_dlt")
        }
        for table in tables
        if table in schema.tables
    }


def schema_hash(schema: dlt.Schema, table: str) -> str:
    """A hash of the names and types of a table's columns, whatever their order."""
    columns = {
        name: [column.get(part) for part in ("data_type", "precision", "scale", "timezone")]
        for name, column in schema.get_table_columns(table).items()
        if not name.startswith("_dlt")
    }
    return hashlib.blake2b(json.dumps(columns, sort_keys=True).encode(), digest_size=8).hexdigest()
