"""Histories of a connector's tables: before a load noted as behind, after it brought up to the tables.

A load of few rows costs a comparison of few rows: those that came by its load ids. That holds only as long as nothing
happened to the table that its history has not followed, so the dataset notes of each history whether it is behind, and
after which load of the connector it was not: one that was switched off for a while, or whose run died anywhere between
its first row and the end of this, compares every row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dlt

from connectors.sources import Source
from connectors.sources.write_rules import normalised
from pipelines.loading.comparing.sessions import Session
from pipelines.loading.comparing.versions import Followed, follow, follow_keys, refuse_own_columns

NOTES = "_cai_histories"
"""The table of the dataset that holds how far each history is."""


@dataclass(frozen=True, slots=True)
class Note:
    """How far one history is."""

    current: bool
    """It has followed all that happened to its table."""
    loads: int
    """Complete loads of the connector by then."""


class Histories:
    """The histories of one connector, over one run."""

    def __init__(self, source: Source) -> None:
        self._tables = tuple(normalised(name) for name in source.histories())
        self._loads: tuple[str, ...] = ()
        self._current: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self._tables)

    def has(self, table: str) -> bool:
        """Whether a table has one."""
        return table in self._tables

    def begin(self, session: Session, pipeline: dlt.Pipeline, loads: Sequence[str]) -> None:
        """Note that the tables are about to change, by these loads.

        Raises:
            ConfigurationError: a table has a column of the name of one of its history's own.
        """
        schema = pipeline.default_schema
        for table in self._tables:
            refuse_own_columns(table, [*schema.tables.get(table, {}).get("columns", {})])
        complete, notes = _complete(session, pipeline), _notes(session)
        self._loads = tuple(loads)
        self._current = frozenset(
            table for table in self._tables if notes.get(table, Note(False, 0)) == Note(True, complete)
        )
        for table in self._tables:
            _note(session, table, "current = FALSE")

    def follow(self, session: Session, pipeline: dlt.Pipeline, *, full_refresh: bool) -> dict[str, Followed]:
        """Bring all histories up to their tables, at one moment."""
        schema = pipeline.default_schema
        complete, notes = _complete(session, pipeline), _notes(session)
        moment = _moment(session)
        found = {}
        for table in self._tables:
            if not self._loads and notes.get(table) == Note(True, complete):
                continue  # nothing was loaded, and nothing was missed
            hints = schema.tables.get(table, {})
            replaced = full_refresh or hints.get("write_disposition") != "merge"
            loads = self._loads if table in self._current and not replaced else None
            found[table] = follow(session, table, _key(pipeline, table), moment, loads)
            _note(session, table, f"current = TRUE, loads = {complete}, followed_at = '{moment}'")
        return found

    def follow_keys(self, session: Session, pipeline: dlt.Pipeline, table: str) -> None:
        """Bring a table's history up to it after rows were deleted or marked, in the same transaction."""
        moment = _moment(session)
        follow_keys(session, table, _key(pipeline, table), moment)
        _note(session, table, f"followed_at = '{moment}'")


def _key(pipeline: dlt.Pipeline, table: str) -> tuple[str, ...]:
    columns = pipeline.default_schema.tables.get(table, {}).get("columns", {})
    return tuple(name for name, hint in columns.items() if hint.get("primary_key"))


def _complete(session: Session, pipeline: dlt.Pipeline) -> int:
    """How many loads of the connector are complete."""
    name, schema = pipeline.default_schema.loads_table_name, pipeline.default_schema.name
    if not session.columns(name):
        return 0
    status, of = session.column("status"), session.column("schema_name")
    ((count,),) = session.ask(
        f"SELECT count(*) FROM {session.table(name)} WHERE {status} = 0 AND {of} = '{schema}'"  # noqa: S608  # names
    )
    return int(count)


def _notes(session: Session) -> dict[str, Note]:
    kinds = "table_name varchar, current boolean, loads bigint, followed_at timestamp with time zone"
    session.ask(f"CREATE TABLE IF NOT EXISTS {session.table(NOTES)} ({kinds})")
    rows = session.ask(f"SELECT table_name, current, loads FROM {session.table(NOTES)}")  # noqa: S608  # a name, escaped
    return {table: Note(bool(current), int(loads)) for table, current, loads in rows}


def _note(session: Session, table: str, what: str) -> None:
    name = session.table(NOTES)
    if not session.change(f"UPDATE {name} SET {what} WHERE table_name = '{table}'"):  # noqa: S608  # a landed name
        session.ask(f"INSERT INTO {name} (table_name, current, loads) VALUES ('{table}', FALSE, 0)")  # noqa: S608
        session.change(f"UPDATE {name} SET {what} WHERE table_name = '{table}'")  # noqa: S608


def _moment(session: Session) -> str:
    """This moment, but later than all in the dataset's histories, whatever another worker's clock has said."""
    last = "CAST(extract(epoch FROM max(followed_at)) AS double precision)"
    ((epoch,),) = session.ask(f"SELECT {last} FROM {session.table(NOTES)}")  # noqa: S608  # a name, escaped
    now = datetime.now(UTC)
    if epoch is not None:
        # A double holds a microsecond of these centuries; not always the very one.
        now = max(now, datetime.fromtimestamp(epoch, UTC) + timedelta(microseconds=2))
    return now.isoformat(timespec="microseconds")
