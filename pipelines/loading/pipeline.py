"""The part of a run that is dlt: one pipeline a connector, set up so that two runs share nothing by accident.

Imported only by a run that really loads: dlt costs seconds.
"""

import contextlib
import gc
import logging
import os
from collections.abc import Iterator
from typing import Any

import dlt
from dlt.extract import DltResource, DltSource

from connectors.destinations.postgres import PostgresDestination
from connectors.sources.write_rules import normalised
from pipelines.access.denied_hosts import DeniedHosts
from pipelines.connector_lock import LockLostError, name_key
from pipelines.error_causes.classification import as_fault
from pipelines.errors import ConfigurationError
from pipelines.loading import parquet_writer as loadfiles
from pipelines.loading import row_counts
from pipelines.loading import unfinished_loads as exactness
from pipelines.loading.columns import fitting_step
from pipelines.loading.columns.known_columns import Known, known_columns, landed_name, required_columns
from pipelines.loading.columns.widening import Widening
from pipelines.loading.deduplication import newest_rows
from pipelines.loading.deduplication.borders import Landing, NewRows, place_of
from pipelines.loading.deduplication.standing_rows import Batch, Place, narrowed_by, standing_rows
from pipelines.loading.destinations import Target, open_target
from pipelines.loading.empty_replacements import hold_empty
from pipelines.loading.job import Job
from pipelines.loading.progress import Progress
from pipelines.loading.summary import Summary
from pipelines.loading.table_loads import Measured
from pipelines.loading.table_sizes import sizes
from pipelines.protection.masking import Mask, hashed, mask_of, masking_key
from pipelines.remarks import Remarks
from pipelines.rows import to_arrow
from pipelines.rows.fitting import Fitter, never, remarks_of, rows_left_out
from pipelines.rows.types.known_types import column_types
from pipelines.sources import Context, Window, open_source
from pipelines.sources.cursors.incremental import Increment, increment_of, value_of
from pipelines.sources.cursors.values import shown_cursor

logger = logging.getLogger("prefect.pipelines")

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


def configure() -> None:
    """Set what dlt reads from the environment, and who may read what a run writes. Nothing differs between runs."""
    os.environ.update(CONFIGURATION)
    # Rows are many and hold no cycles: by Python's own threshold (700) a third of the time of JSON goes into looking.
    gc.set_threshold(COLLECTED_EVERY, 20, 20)
    # DuckDB files and load files hold patients' data: they are for the worker's user alone.
    os.umask(0o077)
    loadfiles.install()


class LoadPipeline:
    """The pipeline of one run."""

    target: Target
    pipeline: dlt.Pipeline
    mask: Mask
    _widening: Widening

    def __init__(self, job: Job, seconds: dict[str, float]) -> None:
        """`seconds` is what each step has taken so far: whoever starts the steps keeps it."""
        configure()
        self.job = job
        self.seconds = seconds
        self.name = f"connector_{job.connector.id}"
        self.full_refresh = job.options.full_refresh
        self.since: dict[str, str] = {}
        self.remarks = Remarks()
        self._attempts = 0
        self._announced = False
        self._repeats_refresh = False
        self._known = Known()
        self._fitters: dict[str, Fitter] = {}
        self._versions: dict[str, newest_rows.Versions] = {}
        self._rows_left_out = 0
        self._mask_key: bytes | None = None
        self._measured = Measured()

    def extract(self) -> None:
        """Restore the state, clean up what a dead run left, and read the source."""
        job = self.job
        self._attempts += 1
        self.remarks = Remarks()
        with as_fault(job.secrets.redact, "load", lambda: job.names):
            self._open()
        options = job.options
        self.mask = mask_of(job.connector.source, job.settings)
        context = Context.of(
            job.settings,
            job.secrets,
            window=Window(options.backfill_from, options.backfill_to),
            row_limit=options.row_limit,
            mask=self.mask,
            full_refresh=self.full_refresh,
            directory=job.directory,
            remarks=self.remarks,
        )
        found = open_source(job.connector.source, context)
        resources = self._chosen(found)
        for resource in resources:
            self._prepare(resource)
        with row_counts.counting_rejected(self._measured.counts):
            extracted = self.pipeline.extract(
                source_of(self.name, resources, self._contract()),
                loader_file_format=self.target.file_format,  # type: ignore[arg-type]
                table_format=self.target.table_format,  # type: ignore[arg-type]
                refresh="drop_resources" if self.full_refresh else None,
            )
        self.mask.check(every_table=len(resources) == len(found))
        older = newest_rows.keep_newest(self.pipeline, extracted, job.directory, self._versions)
        self._measured.counts.repeated.update(older)
        self._measured.extracted, self._measured.until = extracted, self._cursors()
        for table, fitter in self._fitters.items():
            columns = self.pipeline.default_schema.tables.get(table, {}).get("columns", {})
            for sentence in remarks_of(table, fitter, columns, by_row=self._contract_is("discard_row")):
                self.remarks.add(sentence)
            self._rows_left_out += rows_left_out(fitter, columns)
        if not self.full_refresh and self.pipeline.default_schema_name:
            tables = job.connector.source.landings()
            hold_empty(self.pipeline, [name for name, how in tables.items() if how and how.allow_empty], self.remarks)

    def normalize(self) -> None:
        """Make load files of what was read."""
        self.pipeline.normalize()

    def load(self) -> None:
        """Write the load files to the destination. Tried again, it goes on where it stopped."""
        if self.pipeline.default_schema_name:
            for table in self.pipeline.default_schema.data_tables():
                self.job.names.update({table["name"], *table["columns"]})
        self._measured.counts.check(self._rows())
        # Another run may have begun if the locks were lost while this one read, and removed what was read ...
        self.job.locks.check()
        load_ids = self.pipeline.list_normalized_load_packages()
        if not load_ids:
            return
        with self._alone():
            if not self._announced:
                # Makes dataset and tables: two connectors that share a dataset must not both create it.
                with self.job.locks.hold(name_key(f"dataset:{self.job.connector.dataset}"), lambda: None):
                    exactness.announce(
                        self.pipeline,
                        load_ids,
                        full_refresh=self.full_refresh,
                        look=self._size_before,
                    )
                self._announced = True
            if self._known.uneven or self._widening.done:
                self._widening.align_staging()
            self.pipeline.load()
            try:
                # ... or wrote, and what that one has announced is not this one's to withdraw.
                self.job.locks.check()
            except LockLostError as lost:
                raise LockLostError(
                    f"{lost} By then this one had written its rows: should appended ones be there twice, "
                    "run it with full_refresh."
                ) from None
            exactness.confirm(self.pipeline, look=self._size_after)

    def _rows(self) -> dict[str, int]:
        """The rows in the load files, by table."""
        trace = self.pipeline.last_trace
        normalized = trace.last_normalize_info if trace else None
        counts = normalized.row_counts if normalized else {}
        return {name: count for name, count in counts.items() if name[:4] != "_dlt"}

    def _size_before(self, client: Any) -> None:
        """Count the rows of the tables in which rows may be replaced, by a client that is open anyway."""
        replaced = [table for table in self._rows() if self.full_refresh or not self._appends(table)]
        self._measured.before = sizes(client, replaced, sum(self.seconds.values()))

    def _size_after(self, client: Any) -> None:
        """Count the rows of the tables that were written, but for those that were too large to be counted before."""
        known = [table for table in self._rows() if table in self._measured.before or self._appends(table)]
        self._measured.after = sizes(client, known, sum(self.seconds.values()))

    def _appends(self, table: str) -> bool:
        return self.pipeline.default_schema.tables[table].get("write_disposition") == "append"

    def summary(self) -> Summary:
        """What this run loaded."""
        trace = self.pipeline.last_trace
        loaded = trace.last_load_info if trace else None
        rows = self._rows()
        schema = self.pipeline.default_schema if self.pipeline.default_schema_name else None
        new_columns: dict[str, list[str]] = {}
        size = 0
        for package in loaded.load_packages if loaded else ():
            for name, table in package.schema_update.items():
                if not name.startswith("_dlt"):
                    new_columns[name] = [column for column in table["columns"] if not column.startswith("_dlt")]
            size += sum(job.file_size or 0 for job in package.jobs["completed_jobs"])
        return Summary(
            connector_id=self.job.connector.id,
            destination=self.job.destination.type,
            dataset=self.job.connector.dataset,
            rows=rows,
            new_columns=new_columns,
            seconds=self.seconds,
            size_bytes=size,
            since=self.since,
            full_refresh=self.full_refresh,
            masked=self.mask.met,
            rows_left_out=self._rows_left_out,
            remarks=tuple(self.remarks),
            tables=self._measured.tables(self._fitters, rows, schema, loaded),
        )

    def _open(self) -> None:
        job = self.job
        # Where operations have the platform's own default destination is their matter.
        named = job.connector.destination is not None
        roots = tuple(job.settings.local_destination_roots) if named else None
        self.target = open_target(
            job.destination,
            job.connector.id,
            job.secrets,
            job.settings.data_dir,
            roots=roots,
            dataset=job.connector.dataset,
            denied=DeniedHosts.of(job.settings) if named else None,
        )
        self.pipeline = dlt.pipeline(
            pipeline_name=self.name,
            # A new directory for each try: a failed extract leaves nothing that the next could pick up.
            pipelines_dir=str(job.directory / str(self._attempts)),
            destination=self.target.destination,
            dataset_name=job.connector.dataset,
            progress=Progress(job.report),
        )
        with self._alone():
            self.job.locks.check()
            self.target.make()
            self._repeats_refresh = exactness.recover(self.pipeline, self.name)
            self.full_refresh = self._repeats_refresh or self.full_refresh
            self.pipeline.sync_destination()
            # A full refresh drops what was there.
            self._known = Known() if self.full_refresh else known_columns(self.pipeline)
            self._widening = Widening(self.pipeline, self._alone)
        self._fitters, self._versions, self._rows_left_out = {}, {}, 0
        self.since = {} if self.full_refresh else self._cursors()
        self._measured = Measured(since=self.since, full_refresh=self.full_refresh)

    def _cursors(self) -> dict[str, str]:
        """What the tables' increments go on from, by the destination's state, as far as a sentence may show it."""
        found = {}
        for name, state in self.pipeline.state.get("sources", {}).get(self.name, {}).get("resources", {}).items():
            if (value := value_of(state)) is not None:
                found[normalised(name)] = shown_cursor(value)
        return found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the destination where it takes only one run at a time: a DuckDB file."""
        if self.target.exclusive is None:
            yield
            return
        with self.job.locks.hold(name_key(self.target.exclusive), _wait_for_the_file):
            yield

    def _chosen(self, resources: list[DltResource]) -> list[DltResource]:
        """The resources of the tables that the run was asked for: all, when it names none."""
        # A full refresh that died may have dropped any table: it is repeated for all of them.
        if not self.job.options.tables or self._repeats_refresh:
            return resources
        wanted = {normalised(name) for name in self.job.options.tables}
        chosen = [resource for resource in resources if normalised(resource.name) in wanted]
        if unknown := wanted - {normalised(resource.name) for resource in chosen}:
            known = ", ".join(resource.name for resource in resources)
            raise ConfigurationError(f"The connector has no table {', '.join(sorted(unknown))}: it has {known}.")
        return chosen

    def _prepare(self, resource: DltResource) -> None:
        if resource.write_disposition == "merge" and not self.target.merges:
            if self.job.connector.source.type not in {"fhir", "redcap"}:
                raise ConfigurationError(
                    f"{resource.name} can't be merged into plain files: set its write_disposition to append or "
                    "replace, or the destination's format to delta."
                )
            # Where the connector says nothing about it, files keep each version of a row.
            resource.apply_hints(write_disposition="append")
        if resource.write_disposition == "append" and self.job.options.partial:
            raise ConfigurationError(
                f"{resource.name} appends, so a backfill would double its rows: run a full refresh, "
                "or give it a primary key and merge."
            )
        # A full refresh drops what was there.
        schema = self.pipeline.default_schema if self.pipeline.default_schema_name and not self.full_refresh else None
        self.mask.put_into(resource, {} if schema is None else column_types(schema, resource.name))
        increment = increment_of(resource)
        cursor = None if increment is None else increment.cursor.path.removeprefix("$.").partition(".")[0]
        to_arrow.put_into(resource, schema, self.remarks, cursor)
        table = to_arrow.table_name_of(resource, schema)
        of_files = self.job.connector.source.type == "files"
        row_counts.put_into(resource, table, self._measured.counts, of_files=of_files)
        self._fitters[table] = fitting_step.put_into(
            resource,
            self._known.tables.get(table, {}),
            landed_name(self.pipeline),
            () if schema is None else required_columns(schema, table),
            widen=self._widening.of_table(table) if self._contract_is(None, "evolve") else never,
            by_row=self._contract_is("discard_row"),
            without_nul=isinstance(self.job.destination, PostgresDestination),
        )
        if resource.write_disposition == "merge":
            resource.apply_hints(additional_table_hints=newest_rows.DEDUPLICATED)
        if increment is not None:
            versions = newest_rows.Versions(
                place_of(increment.cursor).column,
                lambda landed: increment.order(increment.inside(landed)),
                fitting_step.key_of(resource, landed_name(self.pipeline)),
            )
            self._versions[table] = versions
            self._leave_out_what_stands_there(resource, increment, schema, versions)

    def _contract_is(self, *modes: str | None) -> bool:
        """Whether what a table may become is one of these; None for what is said nowhere."""
        return (self.job.connector.source.schema_contract or self.job.destination.schema_contract) in modes

    def _leave_out_what_stands_there(
        self,
        resource: DltResource,
        increment: Increment,
        schema: dlt.Schema | None,
        versions: newest_rows.Versions,
    ) -> None:
        """Let the rows that come again at the cursor's border land no second time."""
        known = {} if schema is None else column_types(schema, resource.name)
        landing = Landing(
            columns=frozenset(name for name in known if not name.startswith("_dlt")),
            nested=frozenset(name for name, kind in known.items() if kind == "json"),
            masked=frozenset(self.mask.columns),
            hashed=self._hashed,
            optional=self.job.connector.source.type != "sql_database",
            merges=resource.write_disposition == "merge",
        )
        place = place_of(increment.cursor)
        table = to_arrow.table_name_of(resource, schema)
        resource.add_step(
            NewRows(
                increment,
                resource.name,
                place,
                lambda: self._standing(table, place, increment),
                landing,
                note=versions.note if landing.merges else lambda _: None,
                count=lambda known: self._measured.counts.repeated.update({table: known}),
            )
        )

    def _hashed(self, value: Any) -> str | None:
        # The key, also where nothing is masked any more: what stands there may be from when it was.
        if self._mask_key is None:
            settings = self.job.settings
            self._mask_key = masking_key(settings.data_dir, required=settings.mask_key_required)
        return hashed(value, self._mask_key)

    def _standing(self, table: str, place: Place, increment: Increment) -> Iterator[Batch]:
        # The words of an error are the destination's here, though the source is being read.
        with as_fault(self.job.secrets.redact, "load"), self._alone():
            if increment.cursor.appends or narrowed_by(self.pipeline, table, place, increment.start):
                yield from standing_rows(self.pipeline, table, place, increment.start)

    def _contract(self) -> Any:
        contract = self.job.connector.source.schema_contract or self.job.destination.schema_contract
        if contract is None:
            return None
        # A new table is one that the user has named; the contract is about what the source does to it.
        return {"tables": "evolve", "columns": contract, "data_type": contract}


def _wait_for_the_file() -> None:
    logger.info("Waiting for another connector to finish with the DuckDB file.")


def source_of(name: str, resources: list[DltResource], contract: Any) -> DltSource:
    """One source, whose schema has the connector's name. Nested parts land as JSON: one table a resource."""
    make = dlt.source(lambda: resources, name=name, max_table_nesting=0, schema_contract=contract)
    return make()
