"""The two ports that people see: a taken one is said before anything starts."""

import socket


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
