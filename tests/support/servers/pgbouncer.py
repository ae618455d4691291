"""A real PgBouncer in front of a test's database, in transaction or session mode."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import pytest

from tests.support.servers.prefect_server import free_port

CONFIGURATION = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 5
ignore_startup_parameters = extra_float_digits
logfile = {directory}/pgbouncer.log
pidfile = {directory}/pgbouncer.pid
[users]
"""


@contextlib.contextmanager
def pgbouncer(url: str, mode: str) -> Iterator[str]:
    """The address of the same database through a PgBouncer. Skips the test where none is installed."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("No PgBouncer here: install it (apt-get install pgbouncer), which this test starts.")
    parts, own = urlsplit(url), free_port()
    query = parse_qs(parts.query)
    host = query.get("host", [parts.hostname or "127.0.0.1"])[0]
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    database = parts.path.lstrip("/")
    credentials = f"user={user}" + (f" password={password}" if password else "")
    # It refuses to run as root, and another user comes into no directory of pytest's.
    directory = Path(tempfile.mkdtemp(prefix="pgbouncer"))
    text = CONFIGURATION.format(host=host, port=parts.port or 5432, own=own, mode=mode, directory=directory)
    text = text.replace("* = host", f"{database} = {credentials} dbname={database} host")
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(text)
    command = [program, str(configuration)]
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (directory, configuration):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        command = [program, "-u", "nobody", str(configuration)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", own), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                log = directory / "pgbouncer.log"
                raise RuntimeError(f"PgBouncer did not start: {log.read_text() if log.exists() else 'it said nothing'}")
            time.sleep(0.05)  # the condition is the open port; this is only how often it is asked
        yield urlunsplit(parts._replace(netloc=f"{parts.username}@127.0.0.1:{own}", query=""))
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory, ignore_errors=True)
