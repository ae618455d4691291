"""Around a load: what the source says is gone, what was found by looking at it once more, and what people must know."""

import logging
from collections.abc import Mapping, Sequence

from connectors.comparisons import TableComparison
from connectors.loads import Sweep
from connectors.sources.deletes import Deletes
from connectors.sources.fhir import FhirSource
from connectors.sources.views.landing import KEY
from connectors.sources.write_rules import landed_table
from pipelines.error_causes.classification import as_fault
from pipelines.errors import Step
from pipelines.loading.comparing.deleting import Deleted
from pipelines.loading.comparing.histories import Histories
from pipelines.loading.comparing.named import Named, delete_named
from pipelines.loading.comparing.proving import sentence_of
from pipelines.loading.comparing.reading import Place
from pipelines.loading.comparing.sessions import session
from pipelines.loading.comparing.sweeping import sweep_tables
from pipelines.loading.comparing.verifying import verify_tables
from pipelines.loading.job import Job
from pipelines.remarks import Remarks
from pipelines.sources.exports import Exports

logger = logging.getLogger("prefect.pipelines")


class AfterLoad:
    """The looks of one run. Each begins anew when it is tried again."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._swept: list[Deleted] = []
        self._compared: list[TableComparison] = []
        self._histories = Histories(job.connector.source)
        self.listed: dict[str, frozenset[str]] = {}
        """Of tables whose rows go with their files, the names of these, as the load found them."""
        self.named: dict[str, int] = {}
        """How many rows were deleted or marked before the load, since the source said so, by table."""

    def expect(self, place: Place, loads: Sequence[str]) -> None:
        """Note in the destination that tables with a history are about to change. It is held by the caller."""
        if self._histories:
            with session(place.pipeline, place.job.destination) as there:
                self._histories.begin(there, place.pipeline, loads)

    def follow(self, place: Place, *, full_refresh: bool) -> None:
        """Bring the histories up to their tables, where there are any."""
        pipeline = place.pipeline
        if not self._histories or not pipeline.default_schema_name:
            return
        with (
            as_fault(place.job.secrets.redact, Step.LOAD),
            place.alone(),
            session(pipeline, place.job.destination) as there,
        ):
            followed = self._histories.follow(there, pipeline, full_refresh=full_refresh)
        for table, found in followed.items():
            logger.info("History of %s: %s versions begun, %s ended.", table, found.begun, found.ended)

    def delete_named(self, place: Place, exports: Exports) -> None:
        """Delete or mark rows by the ids of their resources, as a run has them. Done again, it finds none."""
        source, gone = self._job.connector.source, exports.gone
        if not isinstance(source, FhirSource) or not (gone or exports.without):
            return
        named = [Named(landed_table(name), files, source.deletes) for name, files in gone.items()]
        named += [
            Named(landed_table(view.name), gone[view.resource], source.deletes, KEY)
            for view in source.all_views
            if view.resource in gone
        ]
        named += [Named(table, files, Deletes.REMOVE, KEY, as_landed=True) for table, files in exports.without.items()]
        for table, rows in delete_named(place, named, self._histories).items():
            self.named[table] = self.named.get(table, 0) + rows

    def sweep(self, place: Place, remarks: Remarks) -> None:
        """Look for rows that are gone, and say which are kept because they are too many."""
        self._swept = sweep_tables(place, self._job.connector, self._job.options, self._histories, self.listed)
        for found in self._swept:
            if sentence := found.remark(self._job.settings.max_delete_fraction):
                remarks.add(sentence)

    def verify(self, place: Place, remarks: Remarks, how: str) -> None:
        """Compare what landed with the source, and say what differs."""
        self._compared = verify_tables(place, self._job.connector.source, self._job.options, how)
        for found in self._compared:
            if not found.is_equal:
                remarks.add(sentence_of(found, place.job.connector.dataset))

    @property
    def gone(self) -> Mapping[str, int]:
        """How many rows were deleted or marked, by table."""
        return {found.table: found.done for found in self._swept}

    @property
    def removed(self) -> Mapping[str, int]:
        """How many rows were deleted, by table."""
        return {found.table: found.done for found in self._swept if found.mode is Deletes.REMOVE}

    @property
    def withheld(self) -> tuple[str, ...]:
        """The tables of which too many rows are gone, and were not before."""
        return tuple(found.table for found in self._swept if found.withheld and not found.told_before)

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """The tables that were looked through, for the load history."""
        return tuple(Sweep(found.table, found.gone, found.rows, found.withheld) for found in self._swept)

    @property
    def compared(self) -> tuple[str, ...]:
        """A sentence a table, of a run that does nothing but compare."""
        if self._job.options.reconcile is None:
            return ()
        if not self._compared:
            return ("Nothing was compared, for nothing has landed yet: load the connector first.",)
        return tuple(sentence_of(found, self._job.connector.dataset) for found in self._compared)

    @property
    def comparisons(self) -> tuple[TableComparison, ...]:
        """The tables that were compared."""
        return tuple(self._compared)
