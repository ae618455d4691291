"""Ports that are taken are said before anything starts."""

import os
import socket
import subprocess
import sys

import pytest

from local.ports import PortTakenError, require_free
from settings import ROOT


def test_a_taken_port_is_refused_with_the_variable_that_moves_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"Port {port}.*PREFECT_SERVER_API_PORT={port + 1000} make run"):
            require_free(port, "the Prefect server", "PREFECT_SERVER_API_PORT")
    require_free(port, "the Prefect server", "PREFECT_SERVER_API_PORT")


def test_make_run_says_so_before_it_installs_anything() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = {**os.environ, "CAI_API_PORT": str(port), "PREFECT_SERVER_API_PORT": "0"}
        # -S -E: as a Python does that has nothing installed.
        command = [sys.executable, "-S", "-E", "local/ports.py"]
        found = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.startswith(f"Port {port}, which the REST API wants, is taken")
