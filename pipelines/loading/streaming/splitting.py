"""Splitting: a large table is copied in parts, by the run itself and by other runs that Prefect starts to help.

Nobody waits for a run that has not begun: the run takes one part after the other, as its helpers do, and where none
comes it has copied them all. It stays until the last is in, for its transaction at the source is the moment of which
all of them read. Rows lie in a table that nobody reads until then, and become visible in one transaction.

A part that dies with its run is nobody's (its lock falls), so it is taken again, alone. If this run dies, its helpers
end, nothing is visible, and the next run makes all of it anew.
"""

import contextlib
import hashlib
import json
import logging
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from database.control import load_parts
from pipelines.connector_lock import name_key
from pipelines.errors import TransientError
from pipelines.loading.job import Job
from pipelines.loading.streaming.parts import Part, copy_part, make_notes
from pipelines.loading.streaming.places import take_place
from pipelines.sources.sql.names import quoted_name
from pipelines.sources.sql.streams.pieces import PIECES_A_RUN, pieces
from pipelines.sources.sql.streams.snapshot import Snapshot

if TYPE_CHECKING:
    from pipelines.sources.sql.streams.offers import Offer

logger = logging.getLogger("prefect.pipelines")

POLL_SECONDS = 0.5
"""Between two looks at the parts that others have."""

READ = "{read}"
"""Stands in a query where the rows do."""

LOCK_SECONDS = 120
"""How long a helper of a dead run is waited for, which ends as soon as it sees that."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Where the rows of a table go, in names as SQL has them."""

    table: str
    name: str
    columns: str
    is_staged: bool
    """Nobody reads it: parts go there at once, and what follows is as ever."""
    is_empty: bool
    """It has no rows, and whoever loads holds others off it at the end."""
    select: str
    """What is read, with `READ` in the place of the rows."""


def part_key(load_id: int, part: load_parts.Open) -> int:
    """The key of the lock of whoever copies a part."""
    return name_key(f"part {load_id} {part.table} {part.number} {part.how['token']}")


class Splitting:
    """The copying of one table in parts, at the moment of the offer."""

    def __init__(self, job: Job, sql: Any, offer: "Offer", aim: Aim) -> None:
        self._job, self._sql, self._offer, self._aim = job, sql, offer, aim
        self._load_id = job.load_id or 0  # without one no table is split
        # A table of two connectors is copied by both.
        name = hashlib.blake2b(f"{job.connector.id} {aim.table}".encode(), digest_size=8).hexdigest()
        self._notes = sql.make_qualified_table_name(f"_cai_parts_{name}")
        self._into = aim.name if aim.is_staged else sql.make_qualified_table_name(f"_cai_rows_{name}")
        self._count = 0

    def copy(self, snapshot: Snapshot) -> int:
        """Have all parts copied; how many bytes they were. Nothing of them is visible before `finish`."""
        self._begin(snapshot)
        try:
            with self._job.helped(self._load_id, self._offer.runs - 1):
                self._copy_all(snapshot)
        except BaseException:
            self._drop()
            raise
        return load_parts.size_of(self._job.locks.query, self._load_id, self._aim.table)

    def finish(self, cursor: Any) -> None:
        """Let the rows be seen, in a transaction that the caller commits.

        Raises:
            TransientError: they are not those that were counted; the caller rolls back.
        """
        cursor.execute(f"SELECT count(*), coalesce(sum(rows), 0) FROM {self._notes}")  # noqa: S608  # escaped
        found = cursor.fetchone()
        if not self._aim.is_staged and not (
            self._aim.is_empty and take_place(cursor, self._aim.name, self._into, quoted_name(self._aim.table))
        ):
            columns = self._aim.columns
            cursor.execute(f"INSERT INTO {self._aim.name}({columns}) SELECT {columns} FROM {self._into}")  # noqa: S608
            found = (found[0], cursor.rowcount)
            cursor.execute(f"DROP TABLE {self._into}")
        cursor.execute(f"DROP TABLE {self._notes}")
        if found != (self._count, self._offer.seen.rows):
            raise TransientError(
                f"The parts of table {self._aim.table} are not all there any more, so nothing of it was loaded: the "
                "next run copies them anew."
            )

    def _begin(self, snapshot: Snapshot) -> None:
        token = uuid.uuid4().hex
        shared = snapshot.shared()
        found = pieces(self._offer.blocks, self._offer.runs * PIECES_A_RUN)
        self._count = len(found)
        with self._sql.begin_transaction(), self._sql.native_connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            make_notes(cursor, self._notes, token)
            if self._aim.is_staged:
                cursor.execute(f"TRUNCATE TABLE {self._into}")
            else:
                cursor.execute(f"DROP TABLE IF EXISTS {self._into}")
                # Of one that is copied again nothing need survive the server: the rows are counted as they are copied.
                kind = "TABLE" if self._aim.is_empty else "UNLOGGED TABLE"
                cursor.execute(f"CREATE {kind} {self._into} (LIKE {self._aim.name})")
        copy = f"COPY {self._into}({self._aim.columns}) FROM STDIN (FORMAT binary)"
        part = Part(0, "", copy, self._notes, token, shared)
        parts = [replace(part, select=self._aim.select.replace(READ, self._offer.piece(each))) for each in found]
        hows = json.dumps([each.how for each in parts])
        load_parts.plan(self._job.locks.query, self._load_id, self._aim.table, hows)
        logger.info("%s is copied in %s parts, by up to %s runs.", self._aim.table, len(parts), self._offer.runs)

    def _copy_all(self, snapshot: Snapshot) -> None:
        while todo := load_parts.open_parts(self._job.locks.query, self._load_id, self._aim.table):
            if not any(self._took(part, snapshot) for part in todo):
                time.sleep(POLL_SECONDS)

    def _took(self, part: load_parts.Open, snapshot: Snapshot) -> bool:
        """Copy a part, unless somebody else does or has done so."""
        query = self._job.locks.query
        with self._job.locks.trying(part_key(self._load_id, part)) as ours:
            if not ours or not load_parts.is_open(query, self._load_id, part):
                return ours
            with self._sql.begin_transaction(), self._sql.native_connection.cursor() as cursor:
                rows, size = copy_part(Part.of(part.number, part.how), snapshot, cursor)
            load_parts.is_in(query, self._load_id, part, rows=rows, size=size, run_id=None)
        return True

    def _drop(self) -> None:
        """Leave nothing behind, as far as that can be done; the next try of the table drops what is left."""
        sql = self._sql
        with contextlib.suppress(Exception), sql.begin_transaction(), sql.native_connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '5s'")
            cursor.execute(f"DROP TABLE IF EXISTS {self._notes}")
            if not self._aim.is_staged:
                cursor.execute(f"DROP TABLE IF EXISTS {self._into}")
