"""Streams of a run: where a table's rows go from database to database, dlt has a note in the place of a load file.

The note goes through dlt's steps as a file of rows would, so that tables, state and the note of the complete load are
dlt's as ever. Where the file would be written to the destination, the rows are copied: all rows of a table in one
transaction, which is committed when as many were written as were read, and as were counted when the table was taken. If
the process dies before, there is none of them; after, they are a dead run's like any others.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

import pyarrow as pa
from dlt.common.destination.client import HasFollowupJobs, RunnableLoadJob
from dlt.common.metrics import DataWriterMetrics
from dlt.extract import DltResource
from dlt.extract.extractors import ImportFileMeta
from dlt.extract.hints import HintsMeta
from dlt.extract.items import DataItemWithMeta
from dlt.extract.items_transform import ItemTransform

from connectors.destinations.postgres import PostgresDestination
from connectors.sources.checks import checks_of
from connectors.sources.sql_database import SqlDatabaseSource
from pipelines.error_causes.classification import as_fault
from pipelines.errors import Step, TransientError, UnexpectedError
from pipelines.loading.job import Job
from pipelines.loading.measures.row_counts import RowCounts
from pipelines.loading.streaming.column_types import sql_types
from pipelines.loading.streaming.pump import Pumped, SourceError, pump
from pipelines.loading.streaming.splitting import READ, Aim, Splitting
from pipelines.rows.fitting import Fitter
from pipelines.sources.sql.names import quoted_name
from pipelines.sources.sql.streams.snapshot import Snapshot
from pipelines.sources.sql.streams.wishes import Wish
from pipelines.wording import quoted

if TYPE_CHECKING:
    from pipelines.sources.sql.streams.offers import Offer

NOTE: Literal["csv"] = "csv"
"""The format that dlt takes the note for. No load file of ours for PostgreSQL is one."""

_SHAPE = (
    "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass(%s) "
    "AND attnum > 0 AND NOT attisdropped"
)


@dataclass(frozen=True, slots=True)
class Stream:
    """The rows of one table on their way."""

    offer: "Offer"
    fitter: Fitter
    """Knows the types in which they land."""


@dataclass
class Streams:
    """The streams of one try of a run, by the table that they land in."""

    job: Job
    counts: RowCounts
    snapshot: Snapshot | None = None
    """The moment that they are of; None where each row goes through files."""
    of_table: dict[str, Stream] = field(default_factory=dict)
    direct: frozenset[str] = frozenset()
    """Tables without rows so far: what comes needs no staging table, whatever its disposition."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes that passed, by table."""

    @classmethod
    def of(cls, job: Job, counts: RowCounts) -> "Streams":
        """The streams of a job. `counts`: told of their rows."""
        source = job.connector.source
        may = (
            isinstance(source, SqlDatabaseSource)
            and isinstance(job.destination, PostgresDestination)
            and source.protect is None
            and not checks_of(source)
            and not (job.options.row_limit or job.options.partial)
        )
        return cls(job, counts, Snapshot() if may else None)

    def let(self, resource: DltResource, table: str, fitter: Fitter, wish: Wish) -> None:
        """Let the rows of a resource stream as the run wishes, if its source has offered that."""
        if self.snapshot is None:
            return  # nothing is offered
        from pipelines.sources.sql.streams.offers import offer_of  # noqa: PLC0415  # databases cost 40 MB

        if (offer := offer_of(resource)) is not None:
            offer.wish = wish
            resource.add_step(_Noting(self, table, Stream(offer, fitter)))

    @property
    def rows(self) -> dict[str, int]:
        """How many rows stream, by table."""
        return {table: stream.offer.seen.rows for table, stream in self.of_table.items()}

    @contextmanager
    def loading(self, before: Mapping[str, int]) -> Iterator[None]:
        """While this lasts, dlt's notes become copies. `before`: how many rows tables have that may replace some."""
        self.direct = frozenset(
            table for table, stream in self.of_table.items() if before.get(table) == 0 and stream.offer.is_whole
        )
        token = _STREAMS.set(self)
        try:
            yield
        finally:
            _STREAMS.reset(token)

    def close(self) -> None:
        """Let go of the source."""
        if self.snapshot is not None:
            self.snapshot.close()


_STREAMS: ContextVar[Streams | None] = ContextVar("streams", default=None)


def is_direct(table: str) -> bool:
    """Whether the rows of a table go there without a staging table between."""
    streams = _STREAMS.get()
    return streams is not None and table in streams.direct


def job_of(table: str, file_path: str) -> "StreamJob | None":
    """The job of a note; None for a load file."""
    streams = _STREAMS.get()
    if streams is None or not file_path.endswith(f".{NOTE}") or table not in streams.of_table:
        return None
    return StreamJob(file_path, streams)


class _Noting(ItemTransform[Any, dict[str, Any]]):
    """The very last step of a pipe: puts a note in the place of the table of no rows that stands for a stream."""

    placement_affinity: ClassVar[float] = 6

    def __init__(self, streams: Streams, table: str, stream: Stream) -> None:
        super().__init__(lambda page: page)
        self._streams = streams
        self._table = table
        self._stream = stream

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """The item as it is, or the note."""
        offer = self._stream.offer
        if not isinstance(item, pa.Table) or not offer.is_taken or self._table in self._streams.of_table:
            return item
        if {*item.column_names} != {*offer.columns} or item.num_rows:
            raise UnexpectedError(
                f"Columns of table {self._table} would stream into others, so nothing was loaded. That is a fault of "
                "ours; operations must look."
            )
        rows = offer.seen.rows
        self._streams.of_table[self._table] = self._stream
        self._stream.fitter.rows += rows
        self._streams.counts.came[self._table] += rows
        note = self._streams.job.directory / f"{self._table}.{NOTE}"
        note.write_text("The rows of this table stream.\n")
        hints: Any = meta.hints if isinstance(meta, HintsMeta) else None
        metrics = DataWriterMetrics(str(note), rows, 0, 0, 0)
        return DataItemWithMeta(ImportFileMeta(str(note), metrics, NOTE, hints, False), item)


class StreamJob(RunnableLoadJob, HasFollowupJobs):
    """Copies the rows of one table. What fails is tried again by dlt, and then by the run."""

    def __init__(self, file_path: str, streams: Streams) -> None:
        super().__init__(file_path)
        self._streams = streams

    def run(self) -> None:
        """Copy, compare the counts, commit."""
        table = self.load_table_name
        stream = self._streams.of_table[table]
        client: Any = self._job_client
        sql = client.sql_client
        name = sql.make_qualified_table_name(table)
        offer = stream.offer
        with self._of_source(), offer.snapshot.held():
            offer.look_again()
        with offer.snapshot.held() as snapshot:
            if offer.is_stale:
                raise TransientError(f"The source's session ended before the rows of {table} were read.")
            types = self._types(name, stream)
            columns = ", ".join(map(quoted_name, (*types, "_dlt_load_id")))
            casts = ", ".join(f"CAST({quoted_name(column)} AS {kind})" for column, kind in types.items())
            select = f"SELECT {casts}, '{self._load_id}'::text FROM ({READ}) AS read"  # noqa: S608  # escaped
            aim = Aim(table, name, columns, bool(sql.is_staging_dataset_active), table in self._streams.direct, select)
            try:
                if offer.runs > 1:
                    self._copy_in_parts(snapshot, aim, offer)
                else:
                    self._copy(snapshot, aim, offer)
            except SourceError as error:
                self._tell(error, table)

    def _copy(self, snapshot: Snapshot, aim: Aim, offer: "Offer") -> None:
        sql = self._job_client.sql_client  # type: ignore[attr-defined]
        with sql.begin_transaction(), sql.native_connection.cursor() as cursor:
            self._refuse_rows(aim)
            copy = f"COPY {aim.name}({aim.columns}) FROM STDIN (FORMAT binary)"
            pumped = pump(snapshot, aim.select.replace(READ, offer.query), cursor, copy)
            _check(aim.table, offer.seen.rows, pumped)
        self._streams.sizes[aim.table] = pumped.size

    def _copy_in_parts(self, snapshot: Snapshot, aim: Aim, offer: "Offer") -> None:
        sql = self._job_client.sql_client  # type: ignore[attr-defined]
        splitting = Splitting(self._streams.job, sql, offer, aim)
        self._streams.sizes[aim.table] = splitting.copy(snapshot)
        with sql.begin_transaction(), sql.native_connection.cursor() as cursor:
            if not aim.is_staged:
                self._refuse_rows(aim)
            splitting.finish(cursor)

    def _tell(self, error: SourceError, table: str) -> NoReturn:
        """Raise what the source has raised, in words about it."""
        with self._of_source():
            # An error of the server's has a code; a session that is gone has none, and this driver no class for it.
            if getattr(error.__cause__, "pgcode", None) is None:
                raise TransientError(
                    f"The source's session ended while the rows of {table} were on their way, so nothing of them was "
                    "loaded."
                ) from None
            raise error.__cause__ or error
        raise AssertionError  # `as_fault` lets nothing pass

    def _of_source(self) -> Any:
        """What fails in here is told as the source's."""
        return as_fault(self._streams.job.secrets.redact, Step.EXTRACT)

    def _refuse_rows(self, aim: Aim) -> None:
        """Hold others off a table that must be empty."""
        if aim.table not in self._streams.direct:
            return
        sql = self._job_client.sql_client  # type: ignore[attr-defined]
        sql.execute_sql(f"LOCK TABLE {aim.name} IN SHARE ROW EXCLUSIVE MODE")
        if sql.execute_sql(f"SELECT 1 FROM {aim.name} LIMIT 1"):  # noqa: S608  # a name, escaped
            raise TransientError(
                f"Table {aim.table} has got rows from somebody else while this run read, so nothing of it was loaded: "
                "the next run takes them into account."
            )

    def _types(self, name: str, stream: Stream) -> dict[str, str]:
        """The types in SQL that the columns have in the destination, which must be those that were counted on."""
        sql = self._job_client.sql_client  # type: ignore[attr-defined]
        standing = dict(sql.execute_sql(_SHAPE, name) or ())
        known = stream.fitter.known
        others = [name for name in stream.offer.columns if standing.get(name) not in sql_types(known[name])]
        if others:
            raise TransientError(
                f"{quoted(others)} of table {self.load_table_name} has become another column while this run read, so "
                "nothing of it was loaded: the next run takes it as it is."
            )
        return {name: standing[name] for name in stream.offer.columns}


def _check(table: str, counted: int, pumped: Pumped) -> None:
    if not counted == pumped.read == pumped.written:
        raise UnexpectedError(
            f"Of table {table}, {counted:,} rows were counted, {pumped.read:,} read and {pumped.written:,} written, so "
            "nothing of it was loaded. That is a fault of ours; operations must look."
        )
