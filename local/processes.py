"""Children that end with their parent, even when the parent is killed and can say nothing."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(how: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends ``how`` to the child when the thread that started it ends (Linux only).

    It runs after the child has changed its user, which would clear the request.
    """
    parent = os.getpid()

    def request() -> None:
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(how))
        if os.getppid() != parent:  # the parent died in between: nobody would send the signal
            os._exit(1)

    return request
