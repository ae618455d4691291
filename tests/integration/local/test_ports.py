import socket

import pytest

from local.ports import PortTakenError, require_free


def test_a_taken_port_is_refused_with_the_variable_that_moves_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"Port {port}.*PREFECT_SERVER_API_PORT={port + 1000} make run"):
            require_free(port, "the Prefect server", "PREFECT_SERVER_API_PORT")
    require_free(port, "the Prefect server", "PREFECT_SERVER_API_PORT")
