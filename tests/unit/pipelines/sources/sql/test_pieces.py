"""Pieces of a table: together they are all of it, and each block is in one."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.sql.streams.pieces import MOST_RUNS, Piece, pieces, runs_for


@given(blocks=st.integers(0, 10_000_000), count=st.integers(1, 300))
def test_each_block_is_in_one_piece_and_all_are_of_one_size(blocks: int, count: int) -> None:
    found = pieces(blocks, count)
    assert 1 <= len(found) <= count
    assert found[0].first is None
    assert found[-1].end is None
    assert all(one.end == other.first for one, other in pairwise(found))
    borders = [0, *(piece.end for piece in found[:-1] if piece.end is not None), blocks]
    sizes = [end - first for first, end in pairwise(borders)]
    assert blocks == 0 or max(sizes) - min(sizes) <= 1


def test_a_piece_says_in_sql_which_rows_it_has() -> None:
    assert Piece(None, None).condition == "true"
    assert Piece(3, 5).condition == "ctid >= CAST('(3,0)' AS tid) AND ctid < CAST('(5,0)' AS tid)"


def test_a_connector_says_how_many_runs_or_the_size_does() -> None:
    assert runs_for(4, 10**12, None) == runs_for(4, 0, 1) == 4
    assert [runs_for(None, size, 100) for size in (0, 100, 101, 10**6)] == [1, 1, 2, MOST_RUNS]
    assert runs_for(None, 10**12, None) == 1
