"""The checks of one load: after its rows were read, before one of them is visible in the destination.

They are counted as the rows are written to files, as they would land: masked, typed, the newest of each key. What fails
ends the run, and with it its files, so that nothing of the load is ever seen; whether it waits for a person stands in
the platform's database. If the process dies here, nothing was written anywhere.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import dlt
from dlt.common.pipeline import ExtractInfo
from dlt.extract import DltResource

from connectors.loads import Decision
from connectors.sources.checks import Checks, OnFailure, checks_of
from connectors.sources.write_rules import WriteDisposition, normalised
from database.decisions import by_runs
from pipelines.error_causes.classification import as_fault
from pipelines.errors import ChecksError, Held, HeldError, Step
from pipelines.loading.checking import rows_of_load, standing
from pipelines.loading.checking.findings import Finding, marks, of_age, of_counts, sentence_of
from pipelines.loading.checking.passing import Passing
from pipelines.loading.checking.rows_of_load import Duck, RowsOfLoad
from pipelines.loading.columns.fitting_step import key_of
from pipelines.loading.columns.known_columns import landed_name
from pipelines.loading.job import Job
from pipelines.loading.opening import Opened
from pipelines.remarks import Remarks
from pipelines.rows.to_arrow import table_name_of
from pipelines.wording import counted, quoted


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of a connector's source, ready to be checked."""

    opened: Opened
    tables: Sequence[str]
    """The tables that the run was asked for, as they land."""
    since: Mapping[str, str]
    """Where the cursors of tables began."""
    hints: Mapping[str, Any]
    """What dlt's schema says of the tables. It reads its schema anew each time that it is asked for it."""
    extracted: ExtractInfo | None
    """What was read; None: nothing was."""

    @classmethod
    def of(cls, opened: Opened, tables: Sequence[str], since: Mapping[str, str], extracted: ExtractInfo | None) -> Self:
        """The same with what the pipeline knows by now."""
        pipeline = opened.pipeline
        hints: Any = pipeline.default_schema.tables if pipeline.default_schema_name else {}
        return cls(opened, tables, since, hints, extracted)

    def disposition(self, table: str) -> str:
        """How the rows of a table are written."""
        return str(self.hints.get(table, {}).get("write_disposition", ""))

    def replaces(self, table: str) -> bool:
        """Whether nothing is left of the rows that stand there."""
        return self.opened.full_refresh or self.disposition(table) == WriteDisposition.REPLACE

    def key(self, table: str) -> tuple[str, ...]:
        """The columns by which the rows are merged: no two of the load have the same; none where they are not."""
        if self.disposition(table) != WriteDisposition.MERGE:
            return ()
        return tuple(column for column, hint in self.hints[table]["columns"].items() if hint.get("primary_key"))


class Checking:
    """The checks of one run."""

    def __init__(self, job: Job, clock: Callable[[], float] = time.time) -> None:
        self._job = job
        self._clock = clock
        self._checks = checks_of(job.connector.source)
        self._passing = Passing({}, clock)
        self.settled: tuple[str, ...] = ()
        """The tables whose checks were all judged, and let the load through."""

    def counting(self, pipeline: dlt.Pipeline, resources: Sequence[DltResource]) -> AbstractContextManager[None]:
        """Count the rows of resources while they are written and this lasts."""
        self._passing = Passing(self._checks, self._clock)
        schema = pipeline.default_schema if pipeline.default_schema_name else None
        for resource in resources if self._checks else ():
            merges = resource.write_disposition == "merge"
            key = key_of(resource, landed_name(pipeline)) if merges else ()
            self._passing.expect(table_name_of(resource, schema), key)
        return self._passing.counting()

    def check(self, read: Read, remarks: Remarks) -> None:
        """Judge the rows of a load.

        Raises:
            ChecksError: one failed that ends the load.
            HeldError: one failed that a person must let through.
        """
        checks = {name: each for name, each in self._checks.items() if name in read.tables}
        found: dict[str, list[Finding]] = {name: [] for name in checks}
        with rows_of_load.lazily(self._job.directory) as duck:
            files = _files(read.extracted)
            for name, each in checks.items():
                rows = RowsOfLoad(duck, name, files.get(name, ()), self._job.directory)
                found[name] = list(self._of_table(read, rows, each, duck))
        self._judge(checks, found, remarks)
        self.settled = () if self._is_part else tuple(checks)

    @property
    def _is_part(self) -> bool:
        """Whether the run reads a part of the rows: their number and age say nothing."""
        return self._job.options.partial or self._job.options.row_limit is not None

    def _of_table(self, read: Read, rows: RowsOfLoad, checks: Checks, duck: Duck) -> Iterator[Finding]:
        table, known = rows.table, read.opened.known.tables.get(rows.table, {})
        lacking = [name for name in checks.columns if normalised(name) not in {*rows.types, *known}]
        if rows.rows and lacking:
            for name in dict.fromkeys(lacking):
                yield Finding(table, "column", (name,), f"it has no column {quoted([name])}, which is to be checked")
        if not self._is_part:
            yield from of_counts(table, checks, rows.rows, self._earlier(read, table, checks))
        now = self._clock()
        rows.count(checks, read.key(table), now, self._passing)
        yield from rows.failing(checks)
        # The words of an error are the destination's here, though nothing is being loaded yet.
        with as_fault(self._job.secrets.redact, Step.LOAD, lambda: self._job.names):
            yield from self._standing(read, rows, checks, duck, now)

    def _standing(self, read: Read, rows: RowsOfLoad, checks: Checks, duck: Duck, now: float) -> Iterator[Finding]:
        """What must be known of rows in the destination that this load leaves there: values that may not come twice,
        and moments, where those of the load are old."""
        table = rows.table
        columns, replaces = self._compared(read, rows, checks), read.replaces(table)
        is_judged = checks.freshness is not None and not self._is_part
        newest = rows.newest(checks.freshness.column, now) if checks.freshness and is_judged else None
        is_old = is_judged and bool(list(of_age(table, checks, newest, now)))
        if not replaces and table in read.opened.known.tables and (columns or is_old):
            with standing.asks(self._job, read.opened, duck)(table) as there:
                if there is not None:
                    yield from self._doubled(read, rows, columns, there)
                    if checks.freshness is not None and is_old:
                        newest = self._newest(read, table, normalised(checks.freshness.column), newest, there)
        if is_judged:
            yield from of_age(table, checks, newest, now)

    def _compared(self, read: Read, rows: RowsOfLoad, checks: Checks) -> dict[tuple[str, ...], tuple[str, ...]]:
        """The columns of which a row that stands there may have the same values, by how they are named."""
        known, found = read.opened.known.tables.get(rows.table, {}), {}
        key = read.key(rows.table)
        for names in checks.unique if rows.rows else ():
            columns = tuple(dict.fromkeys(normalised(name) for name in names))
            is_json = any(known[name].kind == "json" for name in columns if name in known)
            if rows.has(names) and not is_json and not (key and set(key) <= set(columns)):
                found[names] = columns
        return found

    def _doubled(
        self, read: Read, rows: RowsOfLoad, columns: Mapping[tuple[str, ...], tuple[str, ...]], there: standing.Asked
    ) -> Iterator[Finding]:
        landing = standing.Landing(rows.table, read.key(rows.table))
        counts = standing.doubled(there, landing, list(columns.values()), rows)
        for names, count in zip(columns, counts, strict=True):
            if count:
                words = f"{counted(count, 'row')} whose {quoted(names)} a row in the destination has too (unique)"
                yield Finding(rows.table, "unique", names, words)

    @staticmethod
    def _newest(read: Read, table: str, column: str, newest: float | None, there: standing.Asked) -> float | None:
        """The newest moment of the load and of what stands there."""
        known = read.opened.known.tables[table]
        stands = standing.newest(there, table, column, known[column].kind if column in known else "")
        return max((each for each in (newest, stands) if each is not None), default=None)

    def _earlier(self, read: Read, table: str, checks: Checks) -> list[int]:
        if checks.max_drop_percent is None:
            return []
        job = self._job
        of_files = job.connector.source.type == "files"
        if of_files and read.opened.full_refresh:
            return []
        return by_runs.earlier_rows(
            job.locks.query, job.connector.id, table, from_cursor=table in read.since, increments=of_files
        )

    def _judge(self, checks: Mapping[str, Checks], found: Mapping[str, list[Finding]], remarks: Remarks) -> None:
        def of(how: OnFailure) -> list[Finding]:
            return [each for name, failed in found.items() if checks[name].on_failure is how for each in failed]

        for each in of(OnFailure.WARN):
            remarks.add(f"A check of {sentence_of([each])}.")
        if failing := of(OnFailure.FAIL):
            also = of(OnFailure.HOLD)
            raise ChecksError(f"Nothing was loaded, since checks failed: {sentence_of([*failing, *also])}.")
        decided = by_runs.held_tables(self._job.locks.query, self._job.connector.id) if of(OnFailure.HOLD) else {}
        held = []
        for name, failed in found.items():
            if checks[name].on_failure is not OnFailure.HOLD or not failed:
                continue
            decision = decided.get(name)
            if decision is not None and decision["marks"] == marks(failed) and decision["state"] == Decision.APPROVED:
                remarks.add(f"Checks failed and {decision['decided_by']} let it through: {sentence_of(failed)}.")
            else:
                held.append(Held(name, marks(failed), self._job.secrets.redact(sentence_of(failed))))
        if held:
            refused = [
                f" {decided[each.table]['decided_by']} has refused that."
                for each in held
                if each.table in decided
                and decided[each.table]["state"] == Decision.REFUSED
                and decided[each.table]["marks"] == each.marks
            ]
            raise HeldError(
                f"Nothing was loaded, since checks failed, and the load waits for a person: "
                f"{'; '.join(each.sentence for each in held)}.{''.join(refused[:1])}",
                tuple(held),
            )


def _files(extracted: ExtractInfo | None) -> dict[str, list[Path]]:
    """The files that were extracted and are still there, by table: one whose rows all came again may be gone."""
    found: dict[str, list[Path]] = {}
    for package in extracted.load_packages if extracted else ():
        for job in package.jobs["new_jobs"]:
            path = Path(job.file_path)
            if path.suffix == ".parquet" and path.exists():
                found.setdefault(job.job_file_info.table_name, []).append(path)
    return found
