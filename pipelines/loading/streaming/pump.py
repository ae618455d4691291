"""The pump of a stream: one COPY reads, another writes, and a pipe of the operating system lies between.

To the COPY that writes, a source that was killed looks like the end of its rows: what came until then would be
committed without an error. So the pump raises what the source raised, and where the stream does not end with the
trailer of the binary form; what both servers have counted is for the caller to compare, before it commits.
"""

import contextlib
import fcntl
import os
import threading
from dataclasses import dataclass
from typing import IO, Any

from pipelines.errors import TransientError
from pipelines.sources.sql.streams.snapshot import BLOCK_BYTES, Snapshot

PIPE_BYTES = 1024 * 1024
"""What Linux lets anybody have."""

_TRAILER = b"\xff\xff"


class SourceError(Exception):
    """The side that reads has failed; the cause says how."""


@dataclass(frozen=True, slots=True)
class Pumped:
    """What passed: rows as each server has counted them, and bytes."""

    read: int
    written: int
    size: int


class _Counted:
    """The end of the pipe that is read, with what came by."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.size = 0
        self.end = b""

    def read(self, size: int = -1) -> bytes:
        """So many bytes; fewer at the end."""
        block = self._out.read(size)
        self.size += len(block)
        self.end = (self.end + block[-2:])[-2:]
        return block


def pump(snapshot: Snapshot, select: str, writing: Any, copy: str) -> Pumped:
    """Let the rows of a query pass into a table.

    Args:
        snapshot: reads, and is held by this thread.
        select: the query.
        writing: a cursor of the destination, in a transaction that the caller ends.
        copy: the COPY statement of the destination.

    Raises:
        SourceError: the source failed. What was written must be rolled back.
        TransientError: the stream has no end.
        Exception: what the destination's driver raises.
    """
    ends = os.pipe()
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    told: list[int] = []
    failed: list[BaseException] = []
    with os.fdopen(ends[0], "rb", BLOCK_BYTES) as out:
        into = os.fdopen(ends[1], "wb", BLOCK_BYTES)

        def read() -> None:
            try:
                with into:
                    told.append(snapshot.rows(select, into))
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=read, name="stream", daemon=True)
        thread.start()
        counted = _Counted(out)
        try:
            writing.copy_expert(copy, counted, BLOCK_BYTES)
        except BaseException as error:
            first = not failed
            # Whoever still reads is told to stop, and finds nobody at the other end of the pipe.
            snapshot.cancel()
            out.close()
            thread.join()
            if first or isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            raise SourceError from failed[0]
        thread.join()
    if failed:
        raise SourceError from failed[0]
    if counted.end != _TRAILER:
        raise TransientError("The rows of a stream ended before their end, so nothing of them was loaded.")
    return Pumped(told[0], int(writing.rowcount), counted.size)
