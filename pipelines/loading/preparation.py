"""Preparation of resources: the steps that their rows go through before they are written into load files.

Masked, made Arrow tables, counted, fitted to the columns that stand there, and without the rows that stand there too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import dlt
from dlt.extract import DltResource

from connectors.destinations.filesystem import DestinationFormat
from connectors.destinations.postgres import PostgresDestination
from connectors.sources import Source
from connectors.sources.write_rules import BadRows, SchemaContract, normalised
from database.decisions import by_runs
from pipelines.error_causes.classification import as_fault
from pipelines.errors import ConfigurationError, Step
from pipelines.loading.columns import fitting_step
from pipelines.loading.columns.known_columns import landed_name, required_columns
from pipelines.loading.columns.shape_changes import Change, changes_of
from pipelines.loading.deduplication import newest_rows
from pipelines.loading.deduplication.borders import Landing, NewRows, place_of
from pipelines.loading.deduplication.standing_rows import Batch, Place, narrowed_by, standing_rows
from pipelines.loading.job import Job
from pipelines.loading.measures import row_counts
from pipelines.loading.measures.table_loads import Measured
from pipelines.loading.opening import Opened, alone
from pipelines.loading.streaming.streams import Streams
from pipelines.protection.masking import Mask, masking_key
from pipelines.protection.methods.hashing import hashed
from pipelines.protection.protecting import Protection
from pipelines.protection.sealing import Seal
from pipelines.protection.table import STATE as PROTECTED
from pipelines.remarks import Remarks
from pipelines.rows import to_arrow
from pipelines.rows.fitting import Fitter, Widen, never, remarks_of, rows_left_out
from pipelines.rows.rejected import Rejected, RejectedRows
from pipelines.rows.types.columns import Column, of_hint
from pipelines.rows.types.known_types import column_types
from pipelines.sources.cursors.incremental import Increment, increment_of
from pipelines.sources.sql.streams.wishes import Wish
from pipelines.sources.together import is_made_of_others


class Preparation:
    """The preparation of one try of a run; afterwards, what it has to say of the rows."""

    def __init__(
        self,
        job: Job,
        opened: Opened,
        hiding: tuple[Mask, Protection],
        measured: Measured,
        told: tuple[Remarks, RejectedRows],
        *,
        streams: Streams,
    ) -> None:
        self._job = job
        self._opened = opened
        self._mask, self._protection = hiding
        self._measured = measured
        self._remarks, self._all_rejected = told
        self._streams = streams
        self._mask_key: bytes | None = None
        asks = self.contract_is(SchemaContract.ASK)
        self._approved = by_runs.approved_columns(job.locks.query, job.connector.id) if asks else {}
        """The columns whose changes a person has approved, by table."""
        self.fitters: dict[str, Fitter] = {}
        """Of each table that is read."""
        self.rejected: dict[str, Rejected] = {}
        """What can't land, by table."""
        self.versions: dict[str, newest_rows.Versions] = {}
        """Of each table with an increment."""

    def prepare(self, resource: DltResource) -> None:
        """Give a resource the steps between its rows and the load files.

        Raises:
            ConfigurationError: when the destination can't write as the connector asks.
        """
        if resource.write_disposition == "merge" and not self._opened.target.merges:
            if self._job.connector.source.type not in {"fhir", "redcap"}:
                raise ConfigurationError(
                    f"{resource.name} can't be merged into plain files: set its write_disposition to append or "
                    "replace, or the destination's format to delta."
                )
            # Where the connector says nothing about it, files keep each version of a row.
            resource.apply_hints(write_disposition="append")
        if resource.write_disposition == "append" and self._job.options.partial:
            raise ConfigurationError(
                f"{resource.name} appends, so a backfill would double its rows: run a full refresh, "
                "or give it a primary key and merge."
            )
        # A full refresh drops what was there.
        pipeline = self._opened.pipeline
        schema = pipeline.default_schema if pipeline.default_schema_name and not self._opened.full_refresh else None
        loaded: dict[str, str] = {} if schema is None else column_types(schema, resource.name)
        increment = increment_of(resource)
        if not is_made_of_others(resource):
            self._mask.put_into(resource, loaded)
            self._protect(resource, loaded, increment)
        cursor = None if increment is None else increment.cursor.path.removeprefix("$.").partition(".")[0]
        to_arrow.put_into(resource, schema, self._remarks, cursor)
        table = to_arrow.table_name_of(resource, schema)
        of_files = self._job.connector.source.type == "files"
        row_counts.put_into(resource, table, self._measured.counts, of_files=of_files)
        required = () if schema is None else required_columns(schema, table)
        self.fitters[table] = fitting_step.put_into(
            resource,
            self._known(table),
            landed_name(pipeline),
            required,
            widen=self._widen(table),
            **self._asked(table),
            rejected=self._rejected(resource.name, table),
            rejects=rejects(self._job.connector.source, resource.name),
            contract=self._contract,
            without_nul=isinstance(self._job.destination, PostgresDestination),
            finite=getattr(self._job.destination, "format", None) is DestinationFormat.JSONL,
        )
        self._streams.let(resource, table, self.fitters[table], self._wish(resource, increment, table, required))
        if resource.write_disposition == "merge":
            resource.apply_hints(additional_table_hints=newest_rows.DEDUPLICATED)
        # A cursor that lands otherwise than it is tells neither which version is newer nor what stands there.
        if increment is not None and self.contract_is(SchemaContract.ASK):
            self._read_anew_once_approved(increment, table)
        if increment is not None and not self._protection.treats(resource.name, increment.cursor.path):
            versions = newest_rows.Versions(
                place_of(increment.cursor).column,
                lambda landed: increment.order(increment.inside(landed)),
                fitting_step.key_of(resource, landed_name(pipeline)),
            )
            self.versions[table] = versions
            self._leave_out_what_stands_there(resource, increment, schema, versions)

    def _protect(self, resource: DltResource, loaded: Mapping[str, str], increment: Increment | None) -> None:
        """Let the rows of a resource be protected, and say what rows of loads before are not.

        Raises:
            ConfigurationError: when rows would be appended that can't be compared with those that stand there.
        """
        protection, table = self._protection, resource.name
        appends = increment is not None and increment.cursor.appends
        if increment is not None and appends and protection.treats(table, increment.cursor.path):
            raise ConfigurationError(
                f"source.protect treats the cursor of {table}, which appends: its rows could not be told from those "
                "that stand there. Give it a primary key and merge, or let a rule of the connector's own land it as_is."
            )
        protection.put_into(resource, loaded)
        # What a FHIR server counts on by is its own clock, and the state of exports has it too.
        if increment is not None and not increment.cursor.fhir and protection.treats(table, increment.cursor.path):
            increment.seal = Seal(self._key())
        state = self._opened.pipeline.state.get("sources", {}).get(self._job.name, {}).get("resources", {})
        if not loaded or state.get(table, {}).get(PROTECTED) == protection.mark(table):
            return
        changed = f"How {table} is protected is not what it was in the loads before"
        if appends:
            raise ConfigurationError(
                f"{changed}, and the table appends: run a full refresh, which loads everything as it is protected now."
            )
        self._remarks.add(f"{changed}: rows that landed before stay as they are until a full refresh.")

    def _widen(self, table: str) -> Widen:
        """What makes columns of a table wider; where a person is asked, those that were approved."""
        asks = self.contract_is(SchemaContract.ASK)
        if self.contract_is(None, SchemaContract.EVOLVE) or (asks and not self._opened.full_refresh):
            return self._opened.widening.of_table(table)
        return never

    def _known(self, table: str) -> Mapping[str, Column]:
        """The columns that stand in a table. A full refresh makes their types anew, unless a person is asked."""
        pipeline = self._opened.pipeline
        if not (self._opened.full_refresh and self.contract_is(SchemaContract.ASK) and pipeline.default_schema_name):
            return self._opened.known.tables.get(table, {})
        columns = pipeline.default_schema.tables.get(table, {}).get("columns", {})
        return {name: of_hint(columns[name]) for name in self._asked(table)["standing"]}

    def _asked(self, table: str) -> dict[str, Any]:
        """The columns of a table that may land, where a person is asked; a full refresh asks as well."""
        pipeline = self._opened.pipeline
        if not self.contract_is(SchemaContract.ASK) or not pipeline.default_schema_name:
            return {}
        columns = pipeline.default_schema.tables.get(table, {}).get("columns", {})
        standing = frozenset(name for name, hint in columns.items() if "data_type" in hint and name[:4] != "_dlt")
        approved = self._approved.get(table, frozenset[tuple[str, str]]())
        return {"standing": standing, "approved": approved, "anew": self._opened.full_refresh}

    def _read_anew_once_approved(self, increment: Increment, table: str) -> None:
        """Let the cursor begin anew when a column was approved, so that old rows have it too."""
        asked = increment.cursor.asked
        same = {**asked.same, "approved columns": sorted(self._approved.get(table, ()))}
        increment.cursor = replace(increment.cursor, asked=replace(asked, same=same))

    def changes(self) -> tuple[Change, ...]:
        """The columns that are not what they were at the source; nothing of a run of a part."""
        if not self.contract_is(None, SchemaContract.EVOLVE, SchemaContract.ASK) or self._job.options.row_limit:
            return ()
        source = self._job.connector.source
        keeps_empty = source.type == "sql_database" or getattr(source, "format", None) == "parquet"
        return tuple(
            change
            for table, fitter in self.fitters.items()
            for change in changes_of(table, fitter, keeps_empty=keeps_empty)
            if (change.column_name, change.type_after) not in fitter.approved
        )

    def contract_is(self, *modes: SchemaContract | None) -> bool:
        """Whether what a table may become is one of these; None for what is said nowhere."""
        return self._contract in modes

    @property
    def _contract(self) -> SchemaContract | None:
        return self._job.connector.source.schema_contract or self._job.destination.schema_contract

    def _rejected(self, resource: str, table: str) -> Rejected:
        """What takes the rows of a resource that can't land in its table."""
        counts = self._measured.counts

        def count(rows: int, uncounted: bool) -> None:
            counts.rejected[table] += rows
            counts.came[table] += rows if uncounted else 0

        self.rejected[table] = rejected = self._all_rejected.of(resource)
        rejected.table, rejected.count = table, count
        return rejected

    def _wish(self, resource: DltResource, increment: Increment | None, table: str, required: tuple[str, ...]) -> Wish:
        """What this run wants of rows that may stream."""
        key = fitting_step.key_of(resource, landed_name(self._opened.pipeline))
        cursor = None if increment is None else increment.cursor.path
        known, masks = dict(self.fitters[table].known), frozenset(self._mask.columns)
        split = getattr(self._job.connector.source.landings().get(resource.name), "split", None)
        # A load that is not written down has no parts that others could find.
        asked = (None, None) if self._job.load_id is None else (split, self._job.settings.split_bytes)
        return Wish(str(resource.write_disposition), key, cursor, self._contract, known, required, *asked, masks)

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
            masked=frozenset(self._mask.columns),
            hashed=self._hashed,
            optional=self._job.connector.source.type != "sql_database",
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
        return hashed(value, self._key())

    def _key(self) -> bytes:
        if self._mask_key is None:
            settings = self._job.settings
            self._mask_key = masking_key(settings.data_dir, required=settings.mask_key_required)
        return self._mask_key

    def _standing(self, table: str, place: Place, increment: Increment) -> Iterator[Batch]:
        # The words of an error are the destination's here, though the source is being read.
        with as_fault(self._job.secrets.redact, Step.LOAD), alone(self._job, self._opened.target):
            if increment.cursor.appends or narrowed_by(self._opened.pipeline, table, place, increment.start):
                yield from standing_rows(self._opened.pipeline, table, place, increment.start)

    def remark(self) -> int:
        """Remark what did not fit, and count the rows that were left out for it."""
        left_out = 0
        for table, fitter in self.fitters.items():
            columns = self._opened.pipeline.default_schema.tables.get(table, {}).get("columns", {})
            for sentence in remarks_of(table, fitter, columns, by_row=self.contract_is(SchemaContract.DISCARD_ROW)):
                self._remarks.add(sentence)
            left_out += rows_left_out(fitter, columns)
            for sentence in self.rejected[table].sentences:
                self._remarks.add(sentence)
        return left_out


def rejects(source: Source, resource: str) -> bool:
    """Whether rows of a resource that can't land are rejected; else they end the run."""
    landings = source.landings()
    how = next((how for name, how in landings.items() if normalised(name) == normalised(resource)), None)
    return how is not None and how.bad_rows is BadRows.REJECT
