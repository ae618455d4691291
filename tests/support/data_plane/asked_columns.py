"""Columns that a person is asked about: what was told of a connector's tables, what is decided, and what may stand."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.data_plane.changing_tables import Changing, Landed

_KINDS = {"smallint": "bigint", "int": "bigint", "bigint": "bigint", "varchar(12)": "text", "text": "text",
          "date": "date", "timestamp": "timestamp", "timestamptz": "timestamp", "boolean": "bool",
          "numeric(22,2)": "decimal", "numeric(28,4)": "decimal", "double precision": "double"}  # fmt: skip
"""What changes of shape call a column's type."""


@dataclass
class Asked:
    """What people were asked of one connector under `schema_contract: ask`."""

    connection: Any
    connector: int
    rng: random.Random
    _first: dict[str, dict[str, str]] = field(default_factory=dict)
    """By table, the columns it was made with, and the types they had in the destination."""
    _types: dict[tuple[str, str], str] = field(default_factory=dict)
    """Of columns since: their types when they came."""

    def judge(self, table: Changing, there: Landed) -> Iterator[str]:
        """What stands in the destination though nobody has approved it, or does not though somebody has.

        Sets what of the table's columns is held back, and in which of them values may be missing.
        """
        approved = {(name, kind) for name, kind, state in self._told(table.name) if state == "approved"}
        standing = {name: kind for name, kind in _types(there, table.name).items() if name != "_deleted_at"}
        if not standing:  # new, or a refresh has removed it with its last row: a new table lands as it is
            self._first.pop(table.name, None)
            self._types = {place: kind for place, kind in self._types.items() if place[0] != table.name}
            table.held = table.unsure = frozenset()
            return
        first = self._first.setdefault(table.name, dict(standing))
        for name, kind in standing.items():
            before = first.get(name) or self._types.setdefault((table.name, name), kind)
            if name not in first and all(name != column for column, _ in approved):
                yield f"{table.name}.{name}: nobody has approved it"
            if kind != before and all(name != column for column, _ in approved):
                yield f"{table.name}.{name}: was {before} and is {kind}, and nobody has approved it"
        beside = {*_types(there, f"{table.name}__history")} - {*standing, "_deleted_at", "valid_from", "valid_to"}
        yield from (f"{table.name}__history.{name}: does not stand in the table" for name in beside)
        rows = table.source().values()
        for name, kind in table.columns.items():
            # Of a table without a row nothing is read, and so nothing is added.
            if name not in standing and (name, _KINDS[kind]) in approved and rows:
                yield f"{table.name}.{name}: was approved and does not stand there"
        waiting = {name for name, _, state in self._told(table.name, "retyped") if state != "approved"}
        table.held = frozenset(table.columns) - standing.keys()
        untold = {*table.held} - {name for name, _, _ in self._told(table.name)}
        yield from (
            f"{table.name}.{name}: nobody was asked" for name in untold if any(row[name] is not None for row in rows)
        )
        table.unsure = frozenset(waiting & standing.keys())

    def decide(self) -> int:
        """Approve some of what waits, refuse some, and change some minds; how much was approved."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT id FROM cai_schema_changes WHERE connector_id = %s ORDER BY id", [self.connector])
            approved = 0
            for (number,) in cursor.fetchall():
                state = self.rng.choice(["approved", "refused", None, None])
                approved += state == "approved"
                if state:
                    cursor.execute(
                        "UPDATE cai_schema_changes SET state = %s WHERE id = %s AND state <> 'approved'",
                        [state, number],
                    )
            return approved

    def _told(self, table: str, kind: str = "") -> list[tuple[str, str, str]]:
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT column_name, type_after, state FROM cai_schema_changes WHERE connector_id = %s "
                "AND table_name = %s AND kind IN ('new', 'renamed', 'retyped') AND (kind = %s OR %s = '')",
                [self.connector, table, kind, kind],
            )
            return list(cursor.fetchall())


def _types(there: Landed, table: str) -> dict[str, str]:
    found = there.ask(
        "SELECT column_name, data_type || coalesce(numeric_precision::text, '') || coalesce(numeric_scale::text, '') "
        f"FROM information_schema.columns WHERE table_schema = '{there.dataset}' AND table_name = '{table}'"
    )
    return {name: kind for name, kind in found if not name.startswith("_dlt")}
