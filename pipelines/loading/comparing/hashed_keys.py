"""Keys compared by hashes, which two PostgreSQL servers make alike: only keys of parts that differ are read.

Each side hashes its keys where they are, in one pass, and answers with a number of rows and a hash for each of some
thousand parts, by ranges of the key where it is a number. Of a table from which little is gone nearly all are equal,
and no key of those is read, sent or joined. What is deleted is decided
by the keys themselves, as in every sweep: a hash only says where nothing has to be looked for. Whatever is in its way
(a server without these functions, a key that lands as another value, too much that differs) leaves the table to the
reading of all keys. If the process dies here, nothing was changed.
"""

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import sqlalchemy as sa

from connectors.destinations.postgres import PostgresDestination
from connectors.sources import Source
from connectors.sources.sql_database import SqlDatabaseSource, SqlTable
from connectors.sources.write_rules import landed_table, letters_and_digits, normalised
from pipelines.access import postgres_sessions
from pipelines.access.postgres_cancelling import cancel_of
from pipelines.loading.columns.known_columns import landed_name
from pipelines.loading.comparing.deleting import DELETED_AT
from pipelines.loading.comparing.reading import Place, Reread
from pipelines.loading.comparing.sessions import Session, session
from pipelines.rows.read_ahead import ahead
from pipelines.sources import Context
from pipelines.sources.sql.postgres_reader import address
from pipelines.sources.sql.reaching import reached

logger = logging.getLogger("prefect.pipelines")

PARTS_BITS = 12
"""2 to the power of this: the parts of a table's keys."""
MOST = 0.25
"""Of the source's rows in parts that differ, above which all keys are read at once."""

MOST_RANGES = 200
"""That a condition names."""

Sums = Mapping[int, tuple[int, int]]
"""Of each part its number of rows and the exclusive or of its hashes."""

_WHOLE = frozenset({"smallint", "integer", "bigint"})
_TEXTS = frozenset({"text", "character varying", "uuid"})

_KINDS = (
    "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute "
    "WHERE attrelid = to_regclass('{}') AND attnum > 0 AND NOT attisdropped"
)
_ENCODING = "SELECT current_setting('server_encoding')"


def differing(place: Place, source: Source, tables: Iterable[str]) -> dict[str, Reread]:
    """Of those tables of a source that can be compared so, the keys in parts that differ.

    Args:
        place: the connector's dataset.
        source: the connector's own.
        tables: by their names at the source.

    Returns:
        what was read, by the table's name at the source; tables that are not in it have to be read as others are.

    Raises:
        ConfigurationError: the source's address is none that may be reached.
    """
    if not isinstance(source, SqlDatabaseSource) or not isinstance(place.job.destination, PostgresDestination):
        return {}
    engine = reached(source, Context.of(place.job.settings, place.job.secrets))
    if source.protect is not None or engine.dialect.name != "postgresql":
        return {}
    from adbc_driver_manager import dbapi  # noqa: PLC0415  # only for PostgreSQL

    masked = {letters_and_digits(name) for name in source.mask}
    wanted = frozenset(tables)
    found: dict[str, Reread] = {}
    for table in source.tables:
        if table.name not in wanted or masked & {letters_and_digits(name) for name in table.primary_key}:
            continue
        try:
            at = address(engine.url)
            with postgres_sessions.adbc(at) as connection, connection.cursor() as cursor:
                there = _At(cursor, cancel_of(connection, cursor, at), engine, source.schema_name, table)
                read = _compared(place, there, table)
        except dbapi.Error as error:
            logger.debug("The keys of %s are read as a whole: %s", table.name, place.job.secrets.redact(str(error)))
            continue
        if read is not None:
            found[table.name] = read
    return found


class _At:
    """A table at the source."""

    def __init__(
        self,
        cursor: Any,
        stop: Callable[[], None],
        engine: sa.Engine,
        schema: str | None,
        table: SqlTable,
    ) -> None:
        quote = engine.dialect.identifier_preparer
        self._cursor, self._stop = cursor, stop
        self.name = quote.format_table(sa.table(table.name, schema=schema))
        self.quoted = quote.quote_identifier

    def batches(self, statement: str) -> Iterator[pa.RecordBatch]:
        """The rows of a query."""

        def read() -> Iterator[pa.RecordBatch]:
            self._cursor.execute(statement)
            yield from self._cursor.fetch_record_batch()

        return ahead(read, self._stop)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a short answer."""
        batches = self.batches(statement)
        return [row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the greatest number of a key at the source, between which its ranges lie."""

    least: int = 0
    most: int = 0

    @property
    def width(self) -> int:
        """Of a range, as a power of 2; negative where there are fewer numbers than parts."""
        return (self.most - self.least).bit_length() - PARTS_BITS

    def ranges(self, parts: Sequence[int]) -> list[tuple[int, int]]:
        """The ranges of these parts, which are in order: neighbours are one."""
        found: list[tuple[int, int]] = []
        for part in parts:
            least, most = part << self.width, ((part + 1) << self.width) - 1
            if found and found[-1][1] + 1 == least:
                least = found.pop()[0]
            found.append((least, most))
        return found


@dataclass(frozen=True, slots=True)
class Key:
    """A key as both sides hash it, in SQL."""

    hashed: str
    first: str | None
    """Its first column, where that is a number."""
    is_single: bool = False
    """It has no other."""

    def part(self, bounds: Bounds) -> str:
        """The part that a key is in: a range, or one by its hash where there are few numbers."""
        if self.first is None or bounds.width < 0:
            return f"({self.hashed} & {2**PARTS_BITS - 1})"
        return f"(least(greatest({self.first}::bigint, {bounds.least}), {bounds.most}) >> {bounds.width})"

    def sums_of_parts(self, bounds: Bounds, table: str) -> str:
        """A query: each part with the number of its rows, of those with a key, and its hash."""
        # A server makes the hash anew for each mention of it.
        with_key = self.first if self.is_single and self.first else self.hashed
        counted = f"count(*), count({with_key}), bit_xor({self.hashed})"
        return f"SELECT {self.part(bounds)}, {counted} FROM {table} GROUP BY 1"  # noqa: S608  # names, escaped

    def within(self, bounds: Bounds, parts: Sequence[int]) -> str:
        """The condition that a key is in one of some parts, for an index where these are few ranges."""
        ranges = [] if self.first is None or bounds.width < 0 else bounds.ranges(parts)
        if not 0 < len(ranges) <= MOST_RANGES:
            return f"{self.part(bounds)} = ANY('{{{','.join(map(str, parts))}}}'::bigint[])"
        named = [(f"{self.first} >= {least}", f"{self.first} <= {most}") for least, most in ranges]
        # Beyond the bounds there are rows in the destination, and those that came to the source meanwhile.
        named[0] = ("TRUE", named[0][1]) if ranges[0][0] <= bounds.least else named[0]
        named[-1] = (named[-1][0], "TRUE") if ranges[-1][1] >= bounds.most else named[-1]
        return f"({' OR '.join(f'({least} AND {most})' for least, most in named)})"


def _compared(place: Place, source: _At, table: SqlTable) -> Reread | None:
    landing, landed = landed_table(table.name), landed_name(place.pipeline)
    names = [landed(normalised(column)) for column in table.primary_key]
    kinds = dict(source.ask(_KINDS.format(source.name.replace("'", "''"))))
    here = [(source.quoted(column), kinds.get(column)) for column in table.primary_key]
    with session(place.pipeline, place.job.destination) as there:
        standing = there.kinds(landing)
        keys = keys_of(here, [(f"t.{there.column(name)}", standing.get(name)) for name in names])
        if keys is None or there.ask(_ENCODING) != source.ask(_ENCODING):
            return None
        at_source, in_table = keys
        live, bounds = _live(there, landing, standing), Bounds()
        if at_source.first is not None:
            asked = f"SELECT min({at_source.first})::bigint, max({at_source.first})::bigint FROM {source.name}"  # noqa: S608
            ((least, most),) = source.ask(asked)
            if least is None:
                return None
            bounds = Bounds(least, most)
        mine = _sums(source.ask(at_source.sums_of_parts(bounds, source.name)))
        others = _sums(there.ask(in_table.sums_of_parts(bounds, live)))
        if mine is None or others is None or not mine:
            return None
    of_source = place.pipeline.default_schema.tables.get(landing, {}).get("columns", {})
    read = Reread(landing, tuple(names), tuple(of_source), (), "FALSE")
    parts = unequal(mine, others)
    if not parts:
        return read
    if sum(mine.get(each, (0, 0))[0] for each in parts) > MOST * sum(rows for rows, _ in mine.values()):
        return None
    columns = ", ".join(
        f"{column}{'' if kind in _WHOLE else '::text'} AS {source.quoted(name)}"
        for (column, kind), name in zip(here, names, strict=True)
    )
    path = place.job.directory / f"{uuid.uuid4().hex}.parquet"
    _save(source.batches(f"SELECT {columns} FROM {source.name} WHERE {at_source.within(bounds, parts)}"), path)  # noqa: S608  # names
    return replace(read, files=(path,) if path.exists() else (), part=in_table.within(bounds, parts))


def _live(there: Session, table: str, columns: Mapping[str, str]) -> str:
    """A table in the destination, without the rows that are marked."""
    mark = f" WHERE t.{there.column(DELETED_AT)} IS NULL" if DELETED_AT in columns else ""
    return f"{there.table(table)} t{mark}"


def keys_of(
    source: Sequence[tuple[str, str | None]], standing: Sequence[tuple[str, str | None]]
) -> tuple[Key, Key] | None:
    """A key in SQL, at the source and in the destination; None where equal values would not have equal hashes.

    Both sides: of each column how a statement names it, and its type, None where there is no such column.
    """
    hashes = ["0", "0"]
    for (one, kind), (other, landed) in zip(source, standing, strict=True):
        whole = kind in _WHOLE
        if not whole and kind not in _TEXTS:
            return None
        if (landed or "").partition("(")[0] not in (_WHOLE if whole else _TEXTS - {"uuid"}):
            return None
        # The hash of each column begins with that of the one before.
        hashes = [
            f"hashint8extended({column}::bigint, {before})"
            if whole
            else f'hashtextextended({column}::text COLLATE "C", {before})'
            for column, before in zip((one, other), hashes, strict=True)
        ]
    numbered = bool(source) and source[0][1] in _WHOLE
    return (
        Key(hashes[0], source[0][0] if numbered else None, len(source) == 1),
        Key(hashes[1], standing[0][0] if numbered else None, len(source) == 1),
    )


def _sums(rows: Iterable[tuple[Any, ...]]) -> Sums | None:
    """What a side has answered; None where rows have no key."""
    found = {}
    for part, count, with_key, hashed in rows:
        if count != with_key:
            return None
        found[part] = (count, hashed)
    return found


def unequal(one: Sums, other: Sums) -> list[int]:
    """The parts that differ, in order."""
    return sorted(part for part in one.keys() | other.keys() if one.get(part) != other.get(part))


def _save(batches: Iterator[pa.RecordBatch], path: Path) -> None:
    """Write batches to a file, if there are any."""
    with contextlib.ExitStack() as stack:
        writer = None
        for batch in batches:
            writer = writer or stack.enter_context(pa.parquet.ParquetWriter(path, batch.schema))
            writer.write_batch(batch)
