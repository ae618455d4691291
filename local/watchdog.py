"""The last one out: ends what a killed supervisor left behind.

`make run` gives it the reading end of a pipe as its standard input. While the supervisor lives the pipe stays open;
when it is closed by a clean stop there is nothing left to do, and when the supervisor was killed, everything that
carries its mark is ended here. If this process is killed too, the next `make run` finds the same mark.
"""

import signal
import sys

from local.processes import end, marked

_GRACE_SECONDS = 10.0


def main() -> None:
    """Waits for the supervisor's end, then ends every process with our mark."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end(marked(sys.argv[1]), _GRACE_SECONDS)


if __name__ == "__main__":
    main()
