"""Keys that rows lack: told before anything is written, with the way out.

A row without its key can't be told from others, and its column takes no empty value in any destination. Drivers say so
after all rows were read, and in words of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from connectors.sources.write_rules import BESIDE
from pipelines.errors import ConfigurationError
from pipelines.wording import counted, quoted


@dataclass(frozen=True, slots=True)
class Keys:
    """The columns of a table that are never empty: its key, and those of a key before, which still can't be."""

    table: str
    key: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    standing: frozenset[str] = frozenset()
    """The columns that the table has, when it has rows that others are merged into."""

    def check(self, rows: pa.Table) -> None:
        """See that each row of a table has them.

        Raises:
            ConfigurationError: when one has not.
        """
        if self.standing and (new := [name for name in self.key if name not in self.standing]):
            raise ConfigurationError(
                f"{quoted(new)} of table {self.table} {'is' if len(new) == 1 else 'are'} in the key now, and the rows "
                "of loads before have no value there, so nothing was loaded: run a full refresh, which makes the table "
                "anew."
            )
        for name in (*self.key, *self.before):
            there = name in rows.column_names
            empty = rows.column(name).null_count if there else rows.num_rows
            if empty:
                refusal = self._without_key if name in self.key else self._without_key_before
                raise ConfigurationError(refusal(name, empty, rows))

    def split(self, rows: pa.Table) -> tuple[pa.Table, pa.Table, str]:
        """The rows with their key, those without it, and why these can't land."""
        empty = [name for name in self.key if name not in rows.column_names or rows.column(name).null_count]
        if not empty:
            return rows, rows.slice(0, 0), ""
        lacks = pa.array([False] * rows.num_rows)
        for name in empty:
            there = name in rows.column_names
            lacks = pc.or_(lacks, pc.is_null(rows.column(name))) if there else pa.array([True] * rows.num_rows)
        reason = f"without a value that fits in the key {quoted(empty)}"
        return rows.filter(pc.invert(lacks)), rows.filter(lacks), reason

    def check_texts(self, without_nul: Mapping[str, int]) -> None:
        """See that no key loses a character on its way: `without_nul` counts the texts of each column that did.

        Raises:
            ConfigurationError: when one did, for then two rows might become one.
        """
        for name in self.key:
            if count := without_nul.get(name, 0):
                raise ConfigurationError(
                    f"At least {counted(count, 'row')} of table {self.table} {_have(count)} the character NUL in "
                    f"the key column {quoted([name])}, which the destination can't hold; without it two rows might "
                    "become one, so nothing was loaded: correct the source, or name a primary_key that never has it."
                )

    def _without_key(self, name: str, empty: int, rows: pa.Table) -> str:
        beside = [column for column in rows.column_names if column.startswith(f"{name}{BESIDE}")]
        if any(rows.column(column).null_count < rows.num_rows for column in beside):
            kinds = " or ".join(sorted(column.partition(BESIDE)[2] for column in beside))
            return (
                f"At least {counted(empty, 'row')} of table {self.table} {_have(empty)} a value ({kinds}) in the key "
                f"column {quoted([name])} that the column's type can't hold, so nothing was loaded: run a full "
                "refresh, which gives the column a type anew; where its first values would be numbers again, set types "
                f'to {{"{name}": "text"}} before it.'
            )
        return (
            f"At least {counted(empty, 'row')} of table {self.table} {_have(empty)} no value in the key column "
            f"{quoted([name])}, so nothing was loaded: correct the source, or name a primary_key that each row "
            "has and run a full refresh, or append."
        )

    def _without_key_before(self, name: str, empty: int, _: pa.Table) -> str:
        return (
            f"Column {quoted([name])} was in the key of table {self.table} and can't be empty in the destination, and "
            f"at least {counted(empty, 'row')} {_have(empty)} no value there now that the key is "
            f"{quoted(self.key)}, so nothing was loaded: run a full refresh, which makes the table anew."
        )


def _have(count: int) -> str:
    return "has" if count == 1 else "have"
