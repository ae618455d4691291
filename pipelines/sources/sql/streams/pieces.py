"""Pieces of a table by its blocks, which several sessions read at one moment. Pure.

By where rows lie rather than by a key: any table has blocks, they are of one size, and a piece is read from beginning
to end (TID range scans, PostgreSQL 14). Within one snapshot a row stays where it is: what could move it (VACUUM FULL,
CLUSTER) waits for the transaction that has looked at the table.
"""

from dataclasses import dataclass

PIECES_A_RUN = 4
"""More pieces than runs: one that dies costs little, and a slow run takes fewer."""

MOST_RUNS = 64

LEAST_VERSION = 140_000
"""Of the server, as libpq numbers it: older ones read the whole table for each piece."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Blocks of a table: from `first`, None for its beginning, up to `end`, None for its end."""

    first: int | None
    end: int | None

    @property
    def condition(self) -> str:
        """What rows of the piece fulfil, in SQL."""
        found = []
        if self.first is not None:
            found.append(f"ctid >= CAST('({self.first:d},0)' AS tid)")
        if self.end is not None:
            found.append(f"ctid < CAST('({self.end:d},0)' AS tid)")
        return " AND ".join(found) or "true"


def pieces(blocks: int, count: int) -> list[Piece]:
    """Pieces of one size, which together are the whole table, whatever it has grown to since it was measured."""
    borders = sorted({blocks * number // count for number in range(1, count)} - {0})
    return [Piece(first, end) for first, end in zip([None, *borders], [*borders, None], strict=True)]


def runs_for(split: int | None, size: int, bytes_a_run: int | None) -> int:
    """How many runs load a table at once.

    Args:
        split: what the connector says of it.
        size: bytes of the table at its source.
        bytes_a_run: how many are for one run, where the connector says nothing; None: all.
    """
    if split is not None:
        return split
    return 1 if bytes_a_run is None else max(1, min(MOST_RUNS, -(-size // bytes_a_run)))
