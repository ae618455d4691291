"""Versions of rows: beside a table its history, with the moments at which each version came and went.

The table itself stays what it is, the rows as they are now, and its history is made of it in one transaction: versions
whose row is another one now, or gone, end, and those that are new begin. So a full refresh, a key that comes again and
all that makes a load exact need no rule of their own, and a history that has missed something catches up by comparing
every row. If the process dies here, nothing of it has happened, and the next run compares every row.

Not dlt's `scd2`: it ends what an increment does not bring, makes each row a new version as soon as a column is new, and
a full refresh drops all versions with the table.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.errors import ConfigurationError
from pipelines.loading.comparing.deleting import DELETED_AT
from pipelines.loading.comparing.sessions import Session
from pipelines.wording import quoted

HISTORY = "__history"
"""After the name of a table: that of the one which holds its versions."""

VALID_FROM, VALID_TO = "valid_from", "valid_to"
"""The columns of a version: when it came and, unless it stands there now, when it went."""

LOAD_ID = "_dlt_load_id"

LONGEST_NAME = 63
"""Bytes of a name in PostgreSQL: it cuts what is longer, and two tables could become one."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What a history has learnt."""

    ended: int = 0
    begun: int = 0


def history_of(table: str) -> str:
    """The name of the table that holds the versions of another one's rows."""
    if len(table.encode()) + len(HISTORY) <= LONGEST_NAME:
        return f"{table}{HISTORY}"
    digest = hashlib.blake2b(table.encode(), digest_size=5).hexdigest()
    kept = table.encode()[: LONGEST_NAME - len(HISTORY) - len(digest) - 1].decode(errors="ignore")
    return f"{kept}_{digest}{HISTORY}"


def refuse_own_columns(table: str, columns: Sequence[str]) -> None:
    """Refuse a table whose source has a column of the name of one of a history's own.

    Raises:
        ConfigurationError: it has.
    """
    if own := [name for name in (VALID_FROM, VALID_TO) if name in columns]:
        raise ConfigurationError(
            f"Table '{table}' has {'a column' if len(own) == 1 else 'columns'} {quoted(own)} of its own, which its "
            "history needs, so nothing was loaded: set history to false, or leave the column out."
        )


def follow(session: Session, table: str, key: Sequence[str], moment: str, loads: Sequence[str] | None) -> Followed:
    """Bring a table's history up to the table.

    Args:
        session: one transaction, which its caller ends.
        table: the table.
        key: the columns that tell its rows apart; none of a table that has no rows.
        moment: when its rows of now became what they are; later than all moments before.
        loads: the loads by which all rows came that may be new; None: all rows are compared, and what is gone ends.
    """
    standing = session.kinds(table)
    if not standing or not key:
        # A full refresh has found a source without rows, and of such a table nothing is known any more.
        return Followed(*_ended(session, table, moment, "TRUE"))
    pair = _Pair(session, table, key, standing)
    pair.fit()
    ended = 0
    if loads is None:
        ended += sum(_ended(session, table, moment, f"NOT {pair.stands}"))
    came = "TRUE" if loads is None else pair.came_by(loads)
    ended += pair.end_changed(moment, came)
    return Followed(ended, pair.begin(moment, came))


def follow_keys(session: Session, table: str, key: Sequence[str], moment: str) -> Followed:
    """End the versions of rows that are gone from a table or marked, and begin those that are back, of equal values."""
    standing = session.kinds(table)
    pair = _Pair(session, table, key, standing)
    pair.fit()
    ended = sum(_ended(session, table, moment, f"NOT {pair.stands}"))
    return Followed(ended, pair.begin(moment, "TRUE"))


def _ended(session: Session, table: str, moment: str, which: str) -> tuple[int]:
    """End versions that stand."""
    name = history_of(table)
    if not session.kinds(name):
        return (0,)
    to = session.column(VALID_TO)
    where = f"h.{to} IS NULL AND {which}"
    return (session.change(f"UPDATE {session.table(name)} AS h SET {to} = '{moment}' WHERE {where}"),)  # noqa: S608


class _Pair:
    """A table and its history, as statements see them: `t` and `h`."""

    def __init__(self, session: Session, table: str, key: Sequence[str], standing: dict[str, str]) -> None:
        self._session = session
        self._table = table
        self._history = history_of(table)
        self._columns = {
            name: kind
            for name, kind in standing.items()
            if name == LOAD_ID or not (name.startswith("_dlt") or name == DELETED_AT)
        }
        self._kinds: dict[str, str] = {}
        name, column = session.table, session.column
        self._t, self._h = name(table), name(self._history)
        self._to = column(VALID_TO)
        self._live = f"t.{column(DELETED_AT)} IS NULL" if DELETED_AT in standing else "TRUE"
        self._key = key

    @property
    def _same(self) -> str:
        """A row and a version have one key."""
        return " AND ".join(f"{self._value(part)} = h.{self._session.column(part)}" for part in self._key)

    @property
    def stands(self) -> str:
        """A version's row is there."""
        return f"EXISTS (SELECT 1 FROM {self._t} t WHERE {self._live} AND {self._same})"  # noqa: S608  # names, escaped

    def came_by(self, loads: Sequence[str]) -> str:
        """A row came by one of these loads."""
        ids = ", ".join(f"'{load}'" for load in loads) or "NULL"
        return f"t.{self._session.column(LOAD_ID)} IN ({ids})" if LOAD_ID in self._columns else "TRUE"

    def fit(self) -> None:
        """Give the history all columns of the table, each of a type that holds both sides' values as they are."""
        session, column = self._session, self._session.column
        self._kinds = session.kinds(self._history)
        if not self._kinds:
            asked = ", ".join(f"t.{column(name)}" for name in self._columns)
            moments = ", ".join(
                f"CAST(NULL AS timestamp with time zone) AS {column(n)}" for n in (VALID_FROM, VALID_TO)
            )
            session.ask(f"CREATE TABLE {self._h} AS SELECT {asked}, {moments} FROM {self._t} t WHERE FALSE")  # noqa: S608
            self._kinds = session.kinds(self._history)
        for name, kind in self._columns.items():
            if name not in self._kinds:
                session.ask(f"ALTER TABLE {self._h} ADD COLUMN {column(name)} {kind}")
                self._kinds[name] = kind
            elif (wanted := holding(self._kinds[name], kind)) != self._kinds[name]:
                self._alter(name, wanted)
                self._kinds[name] = wanted
        # A planner that knows nothing of the two takes them for small, and has each row compared with each version.
        for name in (self._table, self._history):
            session.study(name)

    def _alter(self, name: str, kind: str) -> None:
        if views := self._session.views_on(self._history, name):
            raise ConfigurationError(
                f"Column {quoted([name])} of table {quoted([self._history])} must become {kind}, since the table's is "
                f"another one now, and {quoted(views)} in the destination uses it, so the history stays as it is: drop "
                "the view, run the connector again, and make the view anew. The rows themselves were loaded."
            )
        column = self._session.column(name)
        self._session.ask(f"ALTER TABLE {self._h} ALTER COLUMN {column} TYPE {kind} USING CAST({column} AS {kind})")

    def _value(self, name: str) -> str:
        """A column of the table as its history has it."""
        plain = f"t.{self._session.column(name)}"
        return plain if self._columns[name] == self._kinds[name] else f"CAST({plain} AS {self._kinds[name]})"

    def end_changed(self, moment: str, came: str) -> int:
        """End the versions whose rows have other values now; how many those are."""
        column = self._session.column
        differs = []
        for name, kind in self._kinds.items():
            if name in {VALID_FROM, VALID_TO, LOAD_ID, *self._key}:
                continue
            if name not in self._columns:
                differs.append(f"h.{column(name)} IS NOT NULL")
            elif _has_order(kind):
                differs.append(f"{self._value(name)} IS DISTINCT FROM h.{column(name)}")
            else:
                differs.append(f"CAST(t.{column(name)} AS varchar) IS DISTINCT FROM CAST(h.{column(name)} AS varchar)")
        if not differs:
            return 0
        # A row of the load that brought its version is that version.
        if LOAD_ID in self._columns:
            came += f" AND t.{column(LOAD_ID)} IS DISTINCT FROM h.{column(LOAD_ID)}"
        return self._session.change(
            f"UPDATE {self._h} AS h SET {self._to} = '{moment}' FROM {self._t} AS t "  # noqa: S608
            f"WHERE h.{self._to} IS NULL AND {self._live} AND {self._same} AND {came} AND ({' OR '.join(differs)})"
        )

    def begin(self, moment: str, came: str) -> int:
        """Begin a version of each row that has none; how many those are."""
        column = self._session.column
        names = ", ".join(map(column, (*self._columns, VALID_FROM)))
        values = ", ".join(map(self._value, self._columns))
        found = f"EXISTS (SELECT 1 FROM {self._h} h WHERE h.{self._to} IS NULL AND {self._same})"  # noqa: S608
        moment = f"CAST('{moment}' AS timestamp with time zone)"
        return self._session.change(
            f"INSERT INTO {self._h} ({names}) SELECT {values}, {moment} FROM {self._t} AS t "  # noqa: S608
            f"WHERE {self._live} AND {came} AND NOT {found}"
        )


def _has_order(kind: str) -> bool:
    """Whether a type has an equality, in PostgreSQL and DuckDB."""
    return not re.match("json|xml|point|polygon|box|circle|line|path", kind)


_WHOLE = {
    "tinyint": 3, "smallint": 5, "integer": 10, "bigint": 19, "hugeint": 39,
    "utinyint": 3, "usmallint": 5, "uinteger": 10, "ubigint": 20,
}  # fmt: skip
"""Digits of whole numbers, by type."""

_RANKS = {"utinyint": "smallint", "usmallint": "integer", "uinteger": "bigint", "ubigint": "hugeint"}
_SIGNED = ("tinyint", "smallint", "integer", "bigint", "hugeint")


def holding(standing: str, arriving: str) -> str:
    """The type for a column that has one type and is to take values of another, and changes none of both."""
    old, new = standing.lower(), arriving.lower()
    if _holds(old, new):
        return standing
    if _holds(new, old):
        return arriving
    both = _digits(old), _digits(new)
    if both[0] and both[1]:
        scale = max(digits[1] for digits in both if digits)
        whole = max(digits[0] - digits[1] for digits in both if digits)
        if whole + scale <= 38:
            return f"decimal({whole + scale},{scale})"
    return "varchar"


def _holds(one: str, other: str) -> bool:
    """Whether a type holds each value of another as it is."""
    if one == other:
        return True
    if one in _SIGNED and other in _WHOLE:
        return _SIGNED.index(one) >= _SIGNED.index(_RANKS.get(other, other) if other in _RANKS else other)
    mine, theirs = _digits(one), _digits(other)
    if mine and theirs and one not in _WHOLE:
        return mine[1] >= theirs[1] and mine[0] - mine[1] >= theirs[0] - theirs[1]
    if _is_text(one) and (_is_text(other) or other.startswith("character varying(")):
        return True
    pairs = {("double", "float"), ("double precision", "real")}
    pairs |= {(moment, "date") for moment in ("timestamp", "timestamp without time zone")}
    return (one, other) in pairs or (one == "numeric" and bool(theirs))


def _is_text(kind: str) -> bool:
    return kind in {"text", "varchar", "character varying"}


def _digits(kind: str) -> tuple[int, int] | None:
    """Digits of a number, and those after its point; None where it is no number with a limit."""
    if kind in _WHOLE:
        return _WHOLE[kind], 0
    found = re.fullmatch(r"(?:decimal|numeric)\((\d+)(?:,\s*(\d+))?\)", kind)
    return (int(found[1]), int(found[2] or 0)) if found else None
