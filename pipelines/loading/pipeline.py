"""The part of a run that is dlt: one pipeline a connector, set up so that two runs share nothing by accident.

Imported only by a run that really loads: dlt costs seconds.
"""

import gc
import os
from typing import Any

import dlt
from dlt.extract import DltResource

from connectors.connector import by_key_refusals
from connectors.sources.write_rules import Comparison, SchemaContract, normalised
from pipelines.access.dlt_settings import use_environment_alone
from pipelines.connector_lock import LockLostError, name_key
from pipelines.error_causes.classification import as_fault
from pipelines.errors import ConfigurationError, Step
from pipelines.loading import parquet_writer as loadfiles
from pipelines.loading import unfinished_loads as exactness
from pipelines.loading.checking.checking import Checking, Read
from pipelines.loading.comparing.after_load import AfterLoad
from pipelines.loading.comparing.reading import Place
from pipelines.loading.deduplication import newest_rows
from pipelines.loading.deduplication.last_readings import keep_last, tables_of_views
from pipelines.loading.empty_replacements import hold_empty
from pipelines.loading.job import Job
from pipelines.loading.measures import row_counts
from pipelines.loading.measures.table_loads import Measured, new_columns, rows_written, size_of
from pipelines.loading.measures.table_sizes import sizes
from pipelines.loading.opening import Opened, alone, open_destination
from pipelines.loading.preparation import Preparation
from pipelines.loading.replacing.emptied_tables import keeping_columns
from pipelines.loading.replacing.refresh import Refresh, is_little, workers_for
from pipelines.loading.streaming.streams import Streams
from pipelines.loading.summary import Summary
from pipelines.protection.masking import Mask, mask_of
from pipelines.protection.protecting import Protection, protection_of
from pipelines.remarks import Remarks
from pipelines.rows.memory import give_back
from pipelines.rows.rejected import RejectedRows
from pipelines.sources import Context, Window, look_first, open_source
from pipelines.sources.as_one import source_of
from pipelines.sources.cursors.incremental import STATE as CURSOR
from pipelines.sources.cursors.incremental import value_of
from pipelines.sources.cursors.values import shown_cursor
from pipelines.sources.exports import Exports, NotReadyError
from pipelines.sources.together import with_others

CONFIGURATION = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    # What dlt warns of is decided here already; what fails is told by the run itself.
    "RUNTIME__LOG_LEVEL": "ERROR",
    # Prefect ends a run by SIGTERM and expects the process to go.
    "RUNTIME__INTERCEPT_SIGNALS": "false",
    # Texts go to PostgreSQL and come from it in UTF-8, whatever the database stores: its default is the latter.
    "PGCLIENTENCODING": "UTF8",
    # The rows of an interrupted load are found by their load id, in Arrow tables too.
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "true",
}

COLLECTED_EVERY = 100_000
"""New objects after which Python looks for cycles among them."""

ROWS, WIDE_ROWS = 5_000, 500
"""Rows of a table that wait to be written into its file together: dlt's own number, and that of wide tables."""

WIDE = frozenset({"redcap"})
"""Kinds with rows of thousands of columns: what dlt knows of those is in circles, which are looked for after a step."""


def configure(kind: str = "") -> None:
    """Set what dlt reads from the environment, and who may read what a run writes. Nothing differs between runs.

    But for the `kind` of the source: tables of a database are read one after the other, over one session, and those of
    REDCap by instrument too, each of which has a page in memory; pages of an API all at once. And pages of thousands of
    columns don't wait until they are as many rows as others have.
    """
    of_kind = {
        "EXTRACT__NEXT_ITEM_MODE": "fifo" if kind in {"sql_database", "redcap"} else "round_robin",
        "SOURCES__DATA_WRITER__BUFFER_MAX_ITEMS": str(WIDE_ROWS if kind in WIDE else ROWS),
    }
    os.environ.update(CONFIGURATION | of_kind)
    use_environment_alone()
    # Rows are many and hold no cycles: by Python's own threshold (700) a third of the time of JSON goes into looking.
    gc.set_threshold(COLLECTED_EVERY, 20, 20)
    # DuckDB files and load files hold patients' data: they are for the worker's user alone.
    os.umask(0o077)
    loadfiles.install()


class LoadPipeline:
    """The pipeline of one run."""

    mask: Mask
    protection: Protection
    _opened: Opened
    _prepared: Preparation

    def __init__(self, job: Job, seconds: dict[str, float]) -> None:
        """`seconds` is what each step has taken so far: whoever starts the steps keeps it."""
        configure(job.connector.source.type)
        self.job = job
        self.seconds = seconds
        self.full_refresh = job.options.full_refresh
        self.since: dict[str, str] = {}
        self.remarks = Remarks()
        self._attempts = 0
        self._announced = False
        self._rows_left_out = 0
        self._measured = Measured()
        self._refresh = Refresh()
        self._after = AfterLoad(job)
        self._checking = Checking(job)
        self._streams = Streams.of(job, self._measured.counts)
        self._exports = Exports(job.locks.query, job.connector.id, job.options.asked)
        self.waits: NotReadyError | None = None
        """Set by `extract` when the source has not made the rows yet: nothing was read."""

    @property
    def pipeline(self) -> dlt.Pipeline:
        """dlt's pipeline of the last try."""
        return self._opened.pipeline

    def extract(self) -> None:
        """Restore the state, clean up what a dead run left, and read the source, unless it has not made the rows."""
        self._attempts += 1
        self.remarks = Remarks()
        self._exports.found, self._exports.gone, self.waits = None, {}, None
        self._after.listed.clear()
        try:
            look_first(self.job.connector.source, self._context())
            self._extract()
        except NotReadyError as wait:
            self.waits = wait
        # What rows were made in is free by now, and the load wants it for the destination.
        give_back(cycles=self.job.connector.source.type in WIDE)

    def _context(self, **more: Any) -> Context:
        job = self.job
        return Context.of(
            job.settings,
            job.secrets,
            window=Window(job.options.backfill_from, job.options.backfill_to),
            row_limit=job.options.row_limit,
            directory=job.directory,
            remarks=self.remarks,
            exports=self._exports if job.connector.source.type == "fhir" else None,
            **more,
        )

    def _extract(self) -> None:
        job = self.job
        with as_fault(job.secrets.redact, Step.LOAD, lambda: job.names):
            # A new directory for each try: a failed extract leaves nothing that the next could pick up.
            directory = job.directory / str(self._attempts)
            self._opened = open_destination(job, directory, full_refresh=self.full_refresh)
        self.full_refresh = self._opened.full_refresh
        self.protection = protection_of(job.connector.source, job.settings, job.profile)
        self.since = {} if self.full_refresh else cursors_of(self.pipeline, job.name, self.protection)
        self._measured = Measured(since=self.since, full_refresh=self.full_refresh)
        self.mask = mask_of(job.connector.source, job.settings)
        # A full refresh that died may have dropped any table: it is repeated for all of them.
        asked = () if self._opened.repeats_refresh else job.options.tables
        self.close()
        self._streams = Streams.of(job, self._measured.counts)
        context = self._context(
            mask=self.mask,
            protection=self.protection,
            full_refresh=self.full_refresh,
            tables=asked,
            states=states_of(self.pipeline, job.name),
            rejected=(rejected := RejectedRows()),
            snapshot=self._streams.snapshot,
            listed=self._after.listed,
        )
        # A connector that names no destination has the platform's, which was not known when it was saved.
        if refusals := by_key_refusals(job.connector.source, job.destination):
            raise ConfigurationError(" ".join(refusal.message for refusal in refusals))
        found = open_source(job.connector.source, context)
        resources = chosen(found, asked)
        told, hiding = (self.remarks, rejected), (self.mask, self.protection)
        self._prepared = Preparation(job, self._opened, hiding, self._measured, told, streams=self._streams)
        for resource in resources:
            self._prepared.prepare(resource)
        kept = keeping_columns(self.pipeline, self._prepared.fitters if self.full_refresh else ())
        counted = row_counts.counting_rejected(self._measured.counts)
        with kept, counted, self._checking.counting(self.pipeline, resources):
            extracted = self.pipeline.extract(
                source_of(job.name, resources, contract_of(job)),
                loader_file_format=self._opened.target.file_format,  # type: ignore[arg-type]
                table_format=self._opened.target.table_format,  # type: ignore[arg-type]
                refresh="drop_resources" if self.full_refresh else None,
            )
        self.mask.check(every_table=len(resources) == len(found))
        self.protection.check(self.remarks, every_table=len(resources) == len(found))
        older = newest_rows.keep_newest(self.pipeline, extracted, job.directory, self._prepared.versions)
        last = keep_last(self.pipeline, extracted, job.directory, tables_of_views(job.connector.source))
        self._measured.counts.leave_out(older, last.earlier, markers=last.without)
        self._exports.without = last.gone
        self._measured.extracted, self._measured.until = extracted, cursors_of(self.pipeline, job.name, self.protection)
        self._rows_left_out = self._prepared.remark()
        if not self.full_refresh and self.pipeline.default_schema_name:
            tables = job.connector.source.landings()
            hold_empty(self.pipeline, [name for name, how in tables.items() if how and how.allow_empty], self.remarks)

    def check(self) -> None:
        """Judge what was read, before one row of it is visible."""
        read = Read.of(self._opened, [*self._prepared.fitters], self.since, self._measured.extracted)
        self._checking.check(read, self.remarks)

    def normalize(self) -> None:
        """Make load files of what was read."""
        self.pipeline.normalize()
        give_back(cycles=self.job.connector.source.type in WIDE)

    def load(self) -> None:
        """Write the load files to the destination. Tried again, it goes on where it stopped."""
        look_at_tables(self.job, self._opened)
        self._measured.counts.check(self._rows())
        # Another run may have begun if the locks were lost while this one read, and removed what was read ...
        self.job.locks.check()
        load_ids = self.pipeline.list_normalized_load_packages()
        if not load_ids:
            return
        little = is_little(self.pipeline)
        with alone(self.job, self._opened.target, keep=little):
            self._after.delete_named(self._place, self._exports)
            self._measured.named = self._after.named
            if not self._announced:
                # Makes dataset and tables: two connectors that share a dataset must not both create it.
                with self.job.locks.hold(name_key(f"dataset:{self.job.connector.dataset}"), lambda: None):
                    exactness.announce(
                        self.pipeline,
                        load_ids,
                        full_refresh=self.full_refresh,
                        swaps=self._opened.target.swaps,
                        look=self._size_before,
                    )
                self._after.expect(self._place, load_ids)
                self._announced = True
            if self._opened.known.uneven or self._opened.widening.done:
                self._opened.widening.align_staging()
            beside = self.full_refresh and self._opened.target.swaps
            with self._streams.loading(self._measured.before):
                workers = workers_for(self.job.destination.type, little=little)
                self._refresh.load(self.pipeline, self.remarks, workers=workers, beside=beside)
            try:
                # ... or wrote, and what that one has announced is not this one's to withdraw.
                self.job.locks.check()
            except LockLostError as lost:
                raise LockLostError(
                    f"{lost} By then this one had written its rows: should appended ones be there twice, "
                    "run it with full_refresh."
                ) from None
            exactness.confirm(self.pipeline, look=self._size_after)

    def close(self) -> None:
        """Let go of the source, where rows stream from it."""
        self._streams.close()

    @property
    def _place(self) -> Place:
        return Place(self.job, self._opened.target, self.pipeline)

    def follow(self) -> None:
        """Bring histories up to their tables, where the connector keeps any."""
        self._after.follow(self._place, full_refresh=self.full_refresh)

    def finish(self) -> None:
        """End what the source has made for this load, which stands. If the process dies before, the next run does."""
        if self._exports.end is not None:
            self._exports.end()

    def sweep(self) -> None:
        """Look for rows that are gone at the source, where the connector wants that."""
        self._after.sweep(self._place, self.remarks)
        self._measured.gone, self._measured.removed = self._after.gone, self._after.removed

    def verify(self, how: Comparison) -> None:
        """Compare what landed with the source. In a run that loads nothing, the destination is opened for it."""
        if not self._attempts:
            self._attempts = 1
            with as_fault(self.job.secrets.redact, Step.LOAD, lambda: self.job.names):
                self._opened = open_destination(self.job, self.job.directory / "0", full_refresh=False)
        self._after.verify(self._place, self.remarks, how)

    def comparison(self) -> Summary:
        """What was found by a run that loads nothing."""
        job, after = self.job, self._after
        place = (job.connector.id, job.destination.type, job.connector.dataset)
        return Summary(*place, seconds=self.seconds, compared=after.compared, comparisons=after.comparisons)

    def _rows(self) -> dict[str, int]:
        """The rows in the load files, and of the streams, by table."""
        return rows_written(self.pipeline, self._streams.rows)

    def _size_before(self, client: Any) -> None:
        """Count the rows of the tables in which rows may be replaced, by a client that is open anyway."""
        replaced = [table for table in self._rows() if self.full_refresh or not _appends(self.pipeline, table)]
        self._measured.before = sizes(client, replaced, sum(self.seconds.values()))

    def _size_after(self, client: Any) -> None:
        """Count the rows of the tables that were written, but for those that were too large to be counted before."""
        known = [table for table in self._rows() if table in self._measured.before or _appends(self.pipeline, table)]
        self._measured.after = sizes(client, known, sum(self.seconds.values()))

    def summary(self) -> Summary:
        """What this run loaded."""
        trace = self.pipeline.last_trace
        loaded = trace.last_load_info if trace else None
        rows = self._rows()
        schema = self.pipeline.default_schema if self.pipeline.default_schema_name else None
        self._measured.streamed = self._streams.sizes
        return Summary(
            connector_id=self.job.connector.id,
            destination=self.job.destination.type,
            dataset=self.job.connector.dataset,
            rows=rows,
            new_columns=new_columns(loaded),
            seconds=self.seconds,
            size_bytes=size_of(loaded) + sum(self._streams.sizes.values()),
            since=self.since,
            full_refresh=self.full_refresh,
            masked=self.mask.met,
            protected=self.protection.treated,
            rows_left_out=self._rows_left_out,
            remarks=tuple(self.remarks),
            withheld=self._after.withheld,
            sweeps=self._after.sweeps,
            comparisons=self._after.comparisons,
            settled=self._checking.settled,
            changes=self._prepared.changes(),
            asks=self._prepared.contract_is(SchemaContract.ASK),
            tables=self._measured.tables(self._prepared.fitters, rows, schema, loaded),
        )


def _appends(pipeline: dlt.Pipeline, table: str) -> bool:
    return pipeline.default_schema.tables[table].get("write_disposition") == "append"


def look_at_tables(job: Job, opened: Opened) -> None:
    """Note the names of what is about to be loaded, which sentences may have, and let the destination fit its width."""
    if not opened.pipeline.default_schema_name:
        return
    tables = opened.pipeline.default_schema.data_tables()
    for table in tables:
        job.names.update({table["name"], *table["columns"]})
    opened.target.fit(max((len(table["columns"]) for table in tables), default=0))


def states_of(pipeline: dlt.Pipeline, name: str) -> dict[str, Any]:
    """The states of all loads before, by resource."""
    states: dict[str, Any] = pipeline.state.get("sources", {}).get(name, {}).get("resources", {})
    return states


def cursors_of(pipeline: dlt.Pipeline, name: str, protection: Protection) -> dict[str, str]:
    """What the tables' increments go on from, by the destination's state, as far as a sentence may show it."""
    found = {}
    for resource, state in states_of(pipeline, name).items():
        if (value := value_of(state)) is not None:
            hidden = protection.treats(resource, state.get(CURSOR, {}).get("path") or "")
            found[normalised(resource)] = "a value (not shown)" if hidden else shown_cursor(value)
    return found


def chosen(resources: list[DltResource], tables: tuple[str, ...]) -> list[DltResource]:
    """The resources of the tables that a run was asked for: all, when it names none.

    Raises:
        ConfigurationError: there is no such table.
    """
    if not tables:
        return resources
    wanted = {normalised(name) for name in tables}
    found = [resource for resource in resources if normalised(resource.name) in wanted]
    if unknown := wanted - {normalised(resource.name) for resource in found}:
        known = ", ".join(resource.name for resource in resources)
        raise ConfigurationError(f"The connector has no table {', '.join(sorted(unknown))}: it has {known}.")
    return with_others(found, resources)


def contract_of(job: Job) -> Any:
    """The schema contract of a job, as dlt has it; None for dlt's own."""
    contract = job.connector.source.schema_contract or job.destination.schema_contract
    if contract is None:
        return None
    if contract is SchemaContract.ASK:
        contract = SchemaContract.EVOLVE  # what nobody has approved never comes so far
    # A new table is one that the user has named; the contract is about what the source does to it.
    return {"tables": SchemaContract.EVOLVE.value, "columns": contract.value, "data_type": contract.value}
