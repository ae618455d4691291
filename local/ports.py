"""Ports that people see: a taken one is said before anything starts, and `make run` asks before anything is installed.

So nothing but the standard library is imported here.
"""

import os
import socket
import sys

PORTS = (("the Prefect server", "PREFECT_SERVER_API_PORT", 4200), ("the REST API", "CAI_API_PORT", 8080))
"""What listens, the variable that moves it, and where it listens else."""


class PortTakenError(RuntimeError):
    """Somebody else listens there; the message names the variable to set."""


def require_free(port: int, what: str, variable: str) -> None:
    """Checks that ``port`` of 127.0.0.1 can be listened on.

    Args:
        port: the port.
        what: what wants it, for the sentence.
        variable: the environment variable that moves it.

    Raises:
        PortTakenError: it is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise PortTakenError(
                f"Port {port}, which {what} wants, is taken: end the program that listens on 127.0.0.1:{port}, or "
                f"choose another port, for example {variable}={port + 1000} make run."
            ) from None


def main() -> None:
    """Check both; the sentence and exit code 1 for one that is taken."""
    for what, variable, usual in PORTS:
        port = os.environ.get(variable, str(usual))
        try:
            if port.isdigit():  # else the platform's own settings say what is wrong with it
                require_free(int(port), what, variable)
        except PortTakenError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
