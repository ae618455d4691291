"""The fork server: a process that has imported everything, and forks each run from itself.

`python -m workers.fork_server FD`, started by a warm worker, which holds the other end of the socket `FD`. It is one
thread in one loop. It holds no connection, and of secrets none: it is started without them, and what a run is told it
hands on unread.

When its worker says that it wants no more (or dies), it waits for its children and goes: their runs end as they would
have. When it dies itself its children live on, and the worker, a subreaper, is told of their ends by the kernel.
"""

import gc
import os
import selectors
import signal
import socket
import sys
import traceback
from pathlib import Path

from workers import child
from workers.messages import LARGEST_PACKET, Event, Said, open_sockets, say
from workers.preload import preload


class NotForkableError(RuntimeError):
    """What was imported left something behind that no child may share; the message names it."""


def tasks() -> list[str]:
    """The threads of this process by name, those of libraries too, which Python knows nothing of."""
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


def require_nothing_shared() -> None:
    """Make sure that a fork copies memory and nothing else.

    Raises:
        NotForkableError: there is another thread, whose locks a child would wait for, or a connection.
    """
    if len(threads := tasks()) > 1:
        raise NotForkableError(f"The fork server has more threads than one: {', '.join(sorted(threads))}.")
    if len(found := open_sockets()) > 1:
        raise NotForkableError(f"The fork server has {len(found) - 1} open connection(s).")


class ForkServer:
    """The loop. `channel` leads to the worker."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._selector = selectors.PollSelector()  # no descriptor of its own, which children would have too
        self._selector.register(channel, selectors.EVENT_READ)
        self._children: dict[int, int] = {}
        """Process ids of the runs, by the descriptor that tells of their end."""
        self._forked = 0
        self._asked = True
        """Whether the worker may still send orders."""

    def serve(self) -> None:
        """Fork as asked, until nobody asks any more and the last child has ended."""
        while self._asked or self._children:
            for key, _ in self._selector.select():
                if key.fileobj is self._channel:
                    self._hear()
                else:
                    self._reap(key.fd)

    def _hear(self) -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._channel, LARGEST_PACKET, 1)
        except ConnectionError:
            packet, descriptors = b"", []
        if not packet:
            self._asked = False
            self._selector.unregister(self._channel)
            return
        number = int(packet)
        try:
            require_nothing_shared()
            self._fork(number, descriptors[0])
        except (OSError, NotForkableError) as error:
            self._say(Said(Event.REFUSED, number, why=str(error)))
        finally:
            os.close(descriptors[0])

    def _fork(self, number: int, order: int) -> None:
        pid = os.fork()
        if pid == 0:
            child.live(order)
        # Nobody else waits for it, so the number stays its own until it is reaped here.
        end = os.pidfd_open(pid)
        self._children[end] = pid
        self._selector.register(end, selectors.EVENT_READ)
        self._forked += 1
        self._say(Said(Event.FORKED, number, pid=pid), end)

    def _reap(self, end: int) -> None:
        pid = self._children.pop(end)
        self._selector.unregister(end)
        os.close(end)
        _, status = os.waitpid(pid, 0)
        self._say(Said(Event.ENDED, pid=pid, exit_code=os.waitstatus_to_exitcode(status)))

    def _say(self, said: Said, *descriptors: int) -> None:
        try:
            say(self._channel, said, descriptors)
        except ConnectionError:
            self._asked = False  # the worker has died: its runs go on


def main() -> int:
    """Entry point; the exit code is 0 when nobody asks any more, and 1 when nothing can be forked here."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # it goes when its worker does, and not before its children
    # ADBC's driver imports polars where it is installed and does without it where not; polars starts threads.
    sys.modules["polars"] = None  # type: ignore[assignment]  # Python's way to say that a module is not to be had
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # else numpy's library starts a thread a core as it is imported
    try:
        preload()
        require_nothing_shared()
    except Exception:  # whatever an import raises: the worker's log shows it
        traceback.print_exc()
        return 1
    # What is there now stays: looking for garbage in it would copy its pages into each child.
    gc.collect()
    gc.freeze()
    say(channel, Said(Event.READY, pid=os.getpid()))
    ForkServer(channel).serve()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # taking apart what was imported takes longer than anything, and some of it complains
