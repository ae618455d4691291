"""Servers of other makers that tests talk to: each on a free port of this machine, for as long as its block lasts.

Where one isn't installed, the test that asks for it is skipped with a sentence.
"""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pymysql
import pytest

SECONDS = 90


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def _process(command: list[str], directory: Path, ready: Callable[[], bool]) -> Iterator[None]:
    with (directory / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + SECONDS
            while not ready():
                assert process.poll() is None, (directory / "server.log").read_text()
                assert time.monotonic() < deadline, command
                time.sleep(0.05)  # the condition is `ready`; this is only how often it is asked
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


@contextlib.contextmanager
def mysql_server(directory: Path) -> Iterator[str]:
    """A MariaDB server; the address of its database `emr`."""
    if shutil.which("mariadbd") is None:
        pytest.skip("No MySQL here: install Debian's mariadb-server, whose mariadbd this test starts for itself.")
    port, data = free_port(), directory / "data"
    common = ["--no-defaults", f"--datadir={data}", "--user=root"]
    install = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(install, check=True, capture_output=True, cwd=directory)
    serve = ["mariadbd", *common, f"--port={port}", "--bind-address=127.0.0.1", f"--socket={directory}/s"]

    def ready() -> bool:
        with contextlib.suppress(pymysql.err.OperationalError):
            with pymysql.connect(host="127.0.0.1", port=port, user="root") as connection, connection.cursor() as cursor:
                cursor.execute("CREATE DATABASE IF NOT EXISTS emr DEFAULT CHARSET utf8mb4")
                cursor.execute("CREATE USER IF NOT EXISTS clinic IDENTIFIED BY 'reads'")
                cursor.execute("GRANT ALL ON emr.* TO clinic")
            return True
        return False

    with _process(serve, directory, ready):
        yield f"mysql://clinic:reads@127.0.0.1:{port}/emr"
