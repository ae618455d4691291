"""Child processes that read one file for us: given its bytes by their standard input, heard by their standard output.

What a hostile file does to such a child is the child's alone: it may die, and then the file is named and left. Nothing
of the file stands on a disk, and the child sees nothing of our environment.
"""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Self, cast

READ_BYTES = 1024 * 1024


class FedChild:
    """A child under way. It is killed at the end of the block, also when the rest of its answer is not wanted."""

    def __init__(self, script: Path, *arguments: str, given: Iterable[bytes]) -> None:
        """`script` imports nothing of ours; `given` is read in a thread of its own."""
        self._child = subprocess.Popen(
            [sys.executable, "-I", str(script), *arguments],
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._given = given
        self._fault: Exception | None = None
        self._feeding = threading.Thread(target=self._feed, daemon=True)
        self._feeding.start()

    @property
    def answer(self) -> IO[bytes]:
        """What the child says."""
        return cast(IO[bytes], self._child.stdout)

    def status(self) -> int:
        """How the child ended, once it has said all.

        Raises:
            Exception: what went wrong while `given` was read, which is no fault of the child's.
        """
        self._feeding.join()
        if self._fault is not None:
            raise self._fault
        return self._child.wait()

    def _feed(self) -> None:
        with contextlib.suppress(BrokenPipeError), cast(IO[bytes], self._child.stdin) as pipe:
            try:
                for block in self._given:
                    pipe.write(block)
            except BrokenPipeError:
                # A child that has died says so by its status.
                raise
            except Exception as error:  # a network's or a disk's, told by the thread that waits
                self._fault = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()
        self._feeding.join()
        self.answer.close()


def blocks(stream: Any) -> Iterator[bytes]:
    """A stream's bytes from its beginning."""
    stream.seek(0)
    while block := stream.read(READ_BYTES):
        yield block
