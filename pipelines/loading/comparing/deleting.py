"""Rows whose keys are gone at the source: deleted from the destination, or marked with the moment of that.

One transaction a table, in which the guard counts before anything is touched: if the process dies here, either all of
it has happened, note of the sweep included, or nothing. A row that comes again loses its mark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from connectors.sources.deletes import Deletes
from pipelines.errors import ConfigurationError
from pipelines.loading.comparing.reading import Reread
from pipelines.loading.comparing.sessions import Session

DELETED_AT = "_deleted_at"
"""The column in which a row's mark stands: the moment at which it was found to be gone."""

SWEEPS = "_cai_sweeps"
"""The table of the dataset that holds when each of its tables was last swept."""

PARTS = 4096
"""Of a table's keys, by their hashes."""
MOST = 0.25
"""Of the keys of a source in parts that differ, above which all are compared at once."""


@dataclass(frozen=True, slots=True)
class Guard:
    """How much may go at once."""

    fraction: float
    """Of a table's rows, 0 to 1."""
    lifted: bool = False
    """Somebody has looked, and lets it through."""
    shown: Mapping[str, int] = field(default_factory=dict)
    """How many rows were said to be gone, by table, of those that waited: that is what was looked at."""

    def withholds(self, table: str, gone: int, rows: int) -> bool:
        """Whether so many of so many rows are too many: more than usual, and more than usual beyond what was shown."""
        if self.lifted and table not in self.shown:
            return False
        return gone > self.fraction * rows + (self.shown[table] if self.lifted else 0)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was done to one table."""

    table: str
    rows: int | None
    """Rows that were there, without those that were marked before; None: nobody counted, for none of them is gone."""
    gone: int
    """Of these: rows whose keys are gone."""
    withheld: bool = False
    """The guard has kept them."""
    told_before: bool = False
    """As it had by the sweep before."""
    mode: Deletes = Deletes.REMOVE
    back: int = 0
    """Rows that have lost their mark."""

    @property
    def done(self) -> int:
        """Rows that were deleted or marked."""
        return 0 if self.withheld else self.gone

    def remark(self, fraction: float) -> str | None:
        """What people must know of it."""
        if not self.withheld:
            return None
        return (
            f"{self.gone:,} of {self.rows:,} rows of table '{self.table}' are gone at the source, more than "
            f"CAI_MAX_DELETE_FRACTION ({fraction:g}) allows, so none of them was deleted: if that is right, run "
            "the connector once with allow_mass_delete."
        )


def sweep(session: Session, keys: Reread, mode: Deletes, guard: Guard, together: str | None = None) -> Deleted:
    """Delete or mark the rows of a table whose keys are none of these, which are all that the source has.

    `together`: a table in which all rows of a key come anew when one of them changes, here and in the table itself;
    what did not come then is gone as well.
    """
    table, key, files = keys.table, keys.key, keys.files
    columns = session.columns(table)
    if not columns:
        return Deleted(table, 0, 0, mode=mode)
    if mode is Deletes.MARK and DELETED_AT not in columns:
        kind = "timestamp with time zone"
        session.ask(f"ALTER TABLE {session.table(table)} ADD COLUMN {session.column(DELETED_AT)} {kind}")
        columns = [*columns, DELETED_AT]
    name, mark = session.table(table), session.column(DELETED_AT)
    same = " AND ".join(f"k.{session.column(part)} = t.{session.column(part)}" for part in key)
    found = f"EXISTS (SELECT 1 FROM swept_keys k WHERE {same})" if files else "FALSE"  # noqa: S608  # names, escaped
    live = f"t.{mark} IS NULL" if DELETED_AT in columns else "TRUE"
    narrowed = _narrowed(session, keys, live) if files and keys.part is None and together is None else None
    if files and narrowed is None:
        session.put("swept_keys", files, key)
    part = narrowed or keys.part or "TRUE"
    if together is not None:
        found = f"({found} AND NOT {_left_behind(session, together, key)})"
    # Looked for once, and then found by their places, which hold as long as the transaction.
    place = session.row_place
    is_gone = f"{live} AND {part} AND NOT {found}"
    session.ask(f"CREATE TEMP TABLE gone_rows AS SELECT t.{place} AS place FROM {name} t WHERE {is_gone}")  # noqa: S608
    ((gone,),) = session.ask("SELECT count(*) FROM gone_rows")
    rows = session.ask(f"SELECT count(*) FROM {name} t WHERE {live}")[0][0] if gone else None  # noqa: S608
    missed, before = (gone, rows) if rows is None or not keys.appended else _replaced(session, keys, live, rows)
    withheld = before is not None and guard.withholds(table, missed, before)
    now = datetime.now(UTC).isoformat()
    if gone and not withheld:
        change = f"UPDATE {name} AS t SET {mark} = '{now}'" if mode is Deletes.MARK else f"DELETE FROM {name} AS t"  # noqa: S608
        session.ask(f"{change} WHERE t.{place} IN (SELECT place FROM gone_rows)")  # noqa: S608
    back = 0
    if mode is Deletes.MARK:
        back = session.change(f"UPDATE {name} AS t SET {mark} = NULL WHERE t.{mark} IS NOT NULL AND {found}")  # noqa: S608
    session.ask("DROP TABLE gone_rows")
    if files:
        session.ask("DROP TABLE swept_keys")
    told = _note(session, table, now, withheld=withheld)
    return Deleted(table, before, missed if withheld else gone, withheld, told, mode, back)


def _narrowed(session: Session, keys: Reread, live: str) -> str | None:
    """Make `swept_keys` of those keys alone that stand in parts in which both sides differ, by hashes of them.

    Of a table from which little is gone that is next to nothing, where a join of all keys takes memory by row.

    Returns:
        the condition on rows `t` of these parts; None where all keys have to be compared, and nothing was made.
    """
    columns = [session.column(part) for part in keys.key]
    here, there = (session.hashed([f"{side}.{column}" for column in columns]) for side in ("k", "t"))
    if keys.appended or here is None or there is None:
        return None
    session.show("all_swept_keys", keys.files, keys.key)
    sums = "SELECT {0} % {1}, count(*), bit_xor({0}) FROM {2} GROUP BY 1"
    mine, others = (
        {number: tuple(of_part) for number, *of_part in session.ask(sums.format(hashed, PARTS, rows))}
        for hashed, rows in ((here, "all_swept_keys k"), (there, f"{session.table(keys.table)} t WHERE {live}"))
    )
    parts = sorted(number for number in mine.keys() | others.keys() if mine.get(number) != others.get(number))
    if sum(mine[number][0] for number in parts if number in mine) > MOST * sum(rows for rows, _ in mine.values()):
        session.ask("DROP VIEW all_swept_keys")
        return None
    some = f"% {PARTS} IN ({', '.join(map(str, parts)) or 'NULL'})"
    chosen = f"SELECT {', '.join(columns)} FROM all_swept_keys k WHERE {here} {some}"  # noqa: S608  # names, escaped
    session.ask(f"CREATE TEMP TABLE swept_keys AS {chosen}")
    session.ask("DROP VIEW all_swept_keys")
    return f"{there} {some}"


def _replaced(session: Session, keys: Reread, live: str, rows: int) -> tuple[int, int]:
    """Rows that are gone and in whose place none came, of how many before: a file that came anew is not gone."""
    name, key = session.table(keys.table), ", ".join(f"t.{session.column(part)}" for part in keys.key)
    ((missed, came),) = session.ask(
        "SELECT coalesce(sum(CASE WHEN gone > came THEN gone - came ELSE 0 END), 0)::bigint, "  # noqa: S608
        "coalesce(sum(came), 0)::bigint FROM (SELECT count(g.place) AS gone, count(*) - count(g.place) AS came "
        f"FROM {name} t LEFT JOIN gone_rows g ON g.place = t.{session.row_place} WHERE {live} "
        f"GROUP BY {key} HAVING count(g.place) > 0) f"
    )
    return missed, rows - came


def _left_behind(session: Session, together: str, key: Sequence[str]) -> str:
    """The condition that a row did not come when the rows of its key last came: they are read and written as one."""
    load, parts = session.column("_dlt_load_id"), ", ".join(map(session.column, key))
    newest = f"SELECT {parts}, max({load}) AS newest FROM {session.table(together)} GROUP BY {parts}"  # noqa: S608
    same = " AND ".join(f"n.{session.column(part)} = t.{session.column(part)}" for part in key)
    return f"EXISTS (SELECT 1 FROM ({newest}) n WHERE {same} AND n.newest > t.{load})"  # noqa: S608  # names, escaped


def _note(session: Session, table: str, moment: str, *, withheld: bool) -> bool:
    """Note a sweep; whether the one before it was withheld."""
    name = session.table(SWEEPS)
    kinds = "table_name varchar, swept_at timestamp with time zone, withheld boolean"
    session.ask(f"CREATE TABLE IF NOT EXISTS {name} ({kinds})")
    before = session.ask(f"SELECT withheld FROM {name} WHERE table_name = '{table}'")  # noqa: S608  # a landed name
    session.ask(f"DELETE FROM {name} WHERE table_name = '{table}'")  # noqa: S608
    session.ask(f"INSERT INTO {name} VALUES ('{table}', '{moment}', {withheld})")  # noqa: S608
    return bool(before and before[0][0])


def last_sweeps(session: Session) -> dict[str, datetime]:
    """When each table was last swept; none that never was."""
    if not session.columns(SWEEPS):
        return {}
    moments = "CAST(extract(epoch FROM swept_at) AS double precision)"
    rows = session.ask(f"SELECT table_name, {moments} FROM {session.table(SWEEPS)}")  # noqa: S608  # a name, escaped
    return {table: datetime.fromtimestamp(epoch, UTC) for table, epoch in rows}


def refuse_own_column(table: str, columns: Sequence[str]) -> None:
    """Refuse a table whose source has a column of the mark's name.

    Raises:
        ConfigurationError: it has.
    """
    if DELETED_AT in columns:
        raise ConfigurationError(
            f"Table '{table}' has a column '{DELETED_AT}' of its own, which deletes 'mark' needs: set deletes to "
            "remove, or leave the column out."
        )
