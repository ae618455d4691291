"""The connection to a DuckDB file, opened once for all that a run asks of it in a row.

dlt opens a file anew for each of its clients, of which a load has some ten, and opening and closing one (threads,
buffers, a checkpoint) takes longer than loading a thousand rows into it. So all clients of a destination borrow from
one pool, which keeps its connection while the run has the file for itself, and lets go of it before another run may
have it. A large load does not keep it: what DuckDB has in memory it gives back only with the file. If the process dies,
DuckDB's log holds what was committed, as with any connection.
"""

import contextlib
from collections.abc import Iterator

from dlt.destinations.impl.duckdb.configuration import DuckDbConnectionPool


class KeptConnection(DuckDbConnectionPool):
    """A pool of connections to one file, which does not close it between two borrowers while it is kept."""

    _keepers = 0

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Leave the file open from the first who borrows until the end of this block, or of the outermost such."""
        with self._conn_lock:
            self._keepers += 1
        try:
            yield
        finally:
            with self._conn_lock:
                self._keepers -= 1
                self._close_conn()

    def _close_conn(self) -> None:
        if not self._keepers:
            super()._close_conn()
