"""Offers: a reader of PostgreSQL says of a table that its rows can stream; the engine, whether they may.

An offer goes with the resource of its table. The engine wishes; the reader asks the server how many rows there are, how
far the cursor goes, and whether one has a value that would stand beside its column. Then the table is taken, and an
Arrow table without rows goes through the pipe, which makes names, types and state as rows would; or the offer is
declined, and the reader reads as ever. Nothing is written here, so nothing is left if the process dies.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
from dlt.extract import DltResource
from dlt.extract.items_transform import ItemTransform

from pipelines.errors import TransientError
from pipelines.sources.cursors.incremental import Increment
from pipelines.sources.sql.names import quoted_name
from pipelines.sources.sql.streams import fitness
from pipelines.sources.sql.streams.fitness import Origin, arrow_of, odd_values, reason_against
from pipelines.sources.sql.streams.pieces import LEAST_VERSION, Piece, runs_for
from pipelines.sources.sql.streams.snapshot import Snapshot
from pipelines.sources.sql.streams.wishes import Wish

logger = logging.getLogger("prefect.pipelines")


_BLOCKS = """
    SELECT max(pg_relation_size(id)) / current_setting('block_size')::int, sum(pg_relation_size(id))::bigint
    FROM (SELECT relid::oid FROM pg_partition_tree({oid:d}) UNION SELECT {oid:d}::oid) AS found(id)
"""
"""Rows of partitions lie in blocks of their own."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a snapshot has of the rows that are asked for."""

    rows: int
    newest: Any = None
    """The greatest value of the cursor."""
    without_cursor: int = 0
    odd: bool = False
    """One of them has a value that would stand beside its column."""


class Offer:
    """One table that can stream."""

    def __init__(self, table: str, origin: Origin, snapshot: Snapshot) -> None:
        self.table = table
        self.origin = origin
        self.snapshot = snapshot
        self.wish: Wish | None = None
        """Set by the engine; without one, the table goes through files."""
        self.increment: Increment | None = None
        self.remark: Callable[[str], object] = lambda _: None
        """Told what people must know of how it is loaded."""
        self.query = ""
        """What is read, once the offer is taken."""
        self.is_whole = True
        """It is all that is asked for; else the rows at the cursor's border, which may be known, go through files."""
        self.shared = ""
        """The name of the moment at which those are to be read."""
        self.seen = Seen(0)
        self.runs = 1
        """How many copy it at once."""
        self.blocks = 0
        """Of its largest part, in which pieces are cut."""
        self._piece: Callable[[str], str] | None = None
        self._number = 0

    @property
    def is_taken(self) -> bool:
        """Whether the rows stream."""
        return bool(self.query)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read, which land by the same names."""
        return tuple(self.origin.columns)

    def empty(self) -> pa.Table:
        """A table of no rows, as the reader gives those that have some."""
        types = {name: arrow_of(stored) for name, stored in self.origin.columns.items()}
        return pa.schema(types.items()).empty_table()

    def may_stream(self) -> bool:
        """Whether nothing speaks against it that is known before the server is asked."""
        if self.wish is None:
            return False
        reason = reason_against(self.origin, self.wish)
        if not reason and self.increment is not None and self.increment.bounds is not None:
            reason = "it is a backfill"
        return self._said(reason)

    def piece(self, piece: Piece) -> str:
        """What is read of a piece of the table."""
        return self._piece(piece.condition) if self._piece is not None else self.query

    def take(self, query: str, *, is_whole: bool, piece: Callable[[str], str] | None = None) -> bool:
        """Whether the rows of a query stream, by what the server says of them. Moves the cursor to the newest value.

        Args:
            query: what is asked for.
            is_whole: that is all. Else the rows at the cursor's border are read as ever.
            piece: the query for the rows that fulfil a condition, too.
        """
        reason = self._reason(query, is_whole=is_whole)
        if not reason:
            self.query, self.is_whole, self._piece = query, is_whole, piece
            self._measure()
            self._move_cursor()
            logger.info("%s streams: %s rows, from database to database.", self.table, f"{self.seen.rows:,}")
        return self._said(reason)

    def _said(self, reason: str) -> bool:
        if reason:
            logger.debug("%s goes through files, since %s.", self.table, reason)
            whole = self.increment is None or (self.increment.last is None and self.increment.bounds is None)
            if whole and self.wish is not None and self.wish.split and self.origin.size >= fitness.LEAST_BYTES:
                self.remark(f"Table {self.table} was loaded by one run, whatever its split is, since {reason}.")
        return not reason

    def _measure(self) -> None:
        """Find out how many runs copy it, and where it can be cut."""
        wish = self.wish
        if wish is None or not self.is_whole or self._piece is None or not (wish.split or wish.bytes_a_run):
            return
        with self.snapshot.held() as snapshot:
            self.blocks, size = snapshot.row(_BLOCKS.format(oid=self.origin.oid))
            self.runs = runs_for(wish.split, size, wish.bytes_a_run)
            if self.runs > 1 and snapshot.version < LEAST_VERSION:
                self.runs = 1
                self.remark(f"Table {self.table} was loaded by one run: to be split, its server must be PostgreSQL 14.")

    def _reason(self, query: str, *, is_whole: bool) -> str:
        with self.snapshot.held() as snapshot:
            if not is_whole and snapshot.at_most(query, self.origin.oid) < fitness.LEAST_ROWS:
                return "few rows are new"
            self.seen = self._look(query)
            if not is_whole and self.seen.rows < fitness.LEAST_ROWS:
                return "few rows are new"
            self.shared = "" if is_whole else snapshot.shared()
        if not self.seen.rows:
            return "it has no rows"
        if self.seen.odd:
            return "some values stand beside their columns"
        if self.seen.without_cursor and self.increment is not None and self.increment.cursor.appends:
            return "rows without a value of the cursor are refused"
        return ""

    def _look(self, query: str) -> Seen:
        cursor = self.wish.cursor if self.wish is not None else None
        found = [condition for name, kind in self.origin.columns.items() if (condition := odd_values(name, kind))]
        odd = " OR ".join(f"coalesce({each}, false)" for each in found) or "false"
        asked = [
            "count(*)",
            # What is odd may be no value to Python either.
            f"CASE WHEN NOT ({odd}) THEN max({quoted_name(cursor)}) END" if cursor else "NULL",
            f"count(*) - count({quoted_name(cursor)})" if cursor else "0",
            odd,
        ]
        with self.snapshot.held() as snapshot:
            self._number = snapshot.number
            if snapshot.encoding == "SQL_ASCII":
                return Seen(1, odd=True)  # its bytes may be no text
            return Seen(*snapshot.row(f"SELECT {', '.join(asked)} FROM ({query}) AS read"))  # noqa: S608  # escaped

    def _move_cursor(self) -> None:
        increment = self.increment
        if increment is None or self.seen.newest is None:
            return
        path = increment.cursor.path
        kind = arrow_of(self.origin.columns[path])
        # The step compares and keeps it as it does those of rows.
        increment(pa.table({path: pa.array([self.seen.newest], kind)}))

    @property
    def is_stale(self) -> bool:
        """Whether the moment at which the rows were counted has gone. Within `held`."""
        return self.snapshot.number != self._number

    def look_again(self) -> None:
        """See that what is there is what was told. Within `held`.

        Raises:
            TransientError: it is not, so nothing of it may land.
        """
        if not self.is_stale:
            return
        before = self.seen
        # Rows at the border were read at that moment: one that has moved since would be in both parts, or in none.
        self.seen = self._look(self.query) if self.is_whole else Seen(-1)
        if self.seen != before:
            self.seen, self._number = before, 0
            raise TransientError(
                f"The source's session ended while the rows of {self.table} were on their way, and they may have "
                "changed since, so nothing of them was loaded: the next run reads them anew."
            )


class _Offered(ItemTransform[Any, dict[str, Any]]):
    """A step that does nothing: it says that a resource's rows can stream."""

    placement_affinity: ClassVar[float] = 0.5

    def __init__(self, offer: Offer) -> None:
        super().__init__(lambda page: page)
        self.offer = offer

    def __call__(self, item: Any, meta: Any = None) -> Any:
        return item


def put_into(resource: DltResource, offer: Offer) -> None:
    """Let an offer go with a resource."""
    resource.add_step(_Offered(offer))


def offer_of(resource: DltResource) -> Offer | None:
    """The offer that goes with a resource, if there is one."""
    return next((step.offer for step in resource._pipe.steps if isinstance(step, _Offered)), None)
