"""Servers of other makers that tests talk to: each on a free port of this machine, for as long as its block lasts.

Where one isn't installed, the test that asks for it is skipped with a sentence.
"""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pymysql
import pytest
from gcp_storage_emulator.server import create_server

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


def _listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def s3_server(directory: Path) -> Iterator[str]:
    """An S3 server; its address. A process of its own: Delta's driver waits for it without letting go of Python."""
    port = free_port()
    with _process(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], directory, lambda: _listening(port)
    ):
        yield f"http://127.0.0.1:{port}"


AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key of the account `devstoreaccount1` that Azure's emulator has, as its documentation says."""


@contextlib.contextmanager
def azure_server(directory: Path) -> Iterator[str]:
    """Azurite, Microsoft's own emulator; its connection string."""
    if shutil.which("azurite-blob") is None:
        pytest.skip("No Azure here: install Azurite (npm install -g azurite), whose azurite-blob this test starts.")
    port = free_port()
    command = ["azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(directory)]

    with _process(
        [*command, "--skipApiVersionCheck", "--disableTelemetry", "--silent"], directory, lambda: _listening(port)
    ):
        yield (
            f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURE_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
        )


@contextlib.contextmanager
def google_server() -> Iterator[str]:
    """An emulator of Google's storage; its address."""
    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


class _Door(paramiko.ServerInterface):  # type: ignore[misc]
    """Lets `clinic` in, with a password or a key."""

    def __init__(self, password: str, key: paramiko.PKey) -> None:
        self._password, self._key = password, key

    def check_auth_password(self, username: str, password: str) -> Any:
        known = (username, password) == ("clinic", self._password)
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> Any:
        return paramiko.AUTH_SUCCESSFUL if (username, key) == ("clinic", self._key) else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "password,publickey"

    def check_channel_request(self, kind: str, chanid: int) -> Any:
        return paramiko.OPEN_SUCCEEDED


class _Files(paramiko.SFTPServerInterface):  # type: ignore[misc]
    """The files below a directory, to be listed, read and written."""

    root: Path

    def _real(self, path: str) -> Path:
        return self.root / str(self.canonicalize(path)).lstrip("/")

    def _attempt(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def _told(self, path: Path) -> paramiko.SFTPAttributes:
        return paramiko.SFTPAttributes.from_stat(path.stat(), path.name)

    def list_folder(self, path: str) -> Any:
        return self._attempt(lambda: [self._told(found) for found in self._real(path).iterdir()])

    def stat(self, path: str) -> Any:
        return self._attempt(lambda: self._told(self._real(path)))

    lstat = stat

    def mkdir(self, path: str, attr: Any) -> Any:
        return self._attempt(self._real(path).mkdir) or paramiko.SFTP_OK

    def remove(self, path: str) -> Any:
        return self._attempt(self._real(path).unlink) or paramiko.SFTP_OK

    def posix_rename(self, oldpath: str, newpath: str) -> Any:
        return self._attempt(lambda: self._real(oldpath).replace(self._real(newpath)) and None) or paramiko.SFTP_OK

    rename = posix_rename

    def open(self, path: str, flags: int, attr: Any) -> Any:
        def work() -> Any:
            handle = paramiko.SFTPHandle(flags)
            opened = os.fdopen(os.open(self._real(path), flags, 0o600), "r+b" if flags & os.O_ACCMODE else "rb")
            handle.readfile = handle.writefile = opened
            return handle

        return self._attempt(work)


@contextlib.contextmanager
def sftp_server(root: Path, password: str, key: paramiko.PKey, host_key: paramiko.PKey | None = None) -> Iterator[int]:
    """An SFTP server for the files below `root`; its port. Each session is a thread that ends with its client."""
    host_key = host_key or paramiko.RSAKey.generate(2048)
    files = type("Files", (_Files,), {"root": root})
    transports: list[paramiko.Transport] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                transport = paramiko.Transport(connection)
                transports.append(transport)
                transport.add_server_key(host_key)
                transport.set_subsystem_handler("sftp", paramiko.SFTPServer, files)
                with contextlib.suppress(paramiko.SSHException, EOFError):
                    transport.start_server(event=threading.Event(), server=_Door(password, key))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        for transport in transports:
            transport.close()


@contextlib.contextmanager
def fhir_server(directory: Path) -> Iterator[str]:
    """fhirsnake, which serves the resources in `resources/{type}/{id}.json` of a directory; its address."""
    package = importlib.util.find_spec("fhirsnake")
    assert package is not None
    port, code = free_port(), str(Path(str(package.origin)).parent)
    command = [sys.executable, "-m", "uvicorn", "main:app", "--app-dir", code, "--port", str(port)]
    with _process(command, directory, lambda: _listening(port)):
        yield f"http://127.0.0.1:{port}"


def _of_npm(package: str) -> tuple[str, Path]:
    """Node, and the `node_modules` that has a package; without them the test is skipped."""
    node, npm = shutil.which("node"), shutil.which("npm")
    found = subprocess.run([npm, "root", "--global"], capture_output=True, text=True, check=True) if npm else None
    home = Path(found.stdout.strip()) if found else Path()
    if node is None or not (home / package).is_dir():
        pytest.skip(f"No {package} here: npm install --global {package}.")
    return node, home


@contextlib.contextmanager
def medplum_router(directory: Path) -> Iterator[str]:
    """npm's `@medplum/fhir-router` with its repository in memory, which is empty; its address."""
    node, home = _of_npm("@medplum/fhir-router")
    port, script = free_port(), Path(__file__).with_name("medplum_router.mjs")
    with _process([node, str(script), str(home), str(port)], directory, lambda: _listening(port)):
        yield f"http://127.0.0.1:{port}/fhir"


@contextlib.contextmanager
def asymmetrik_core(directory: Path, file: Path) -> Iterator[str]:
    """npm's `@asymmetrik/node-fhir-server-core` with the resources of a file, a JSON list; its address."""
    node, home = _of_npm("@asymmetrik/node-fhir-server-core")
    port, script = free_port(), Path(__file__).with_name("asymmetrik_core.cjs")
    with _process([node, str(script), str(home), str(port), str(file)], directory, lambda: _listening(port)):
        yield f"http://127.0.0.1:{port}/4_0_1"


@contextlib.contextmanager
def oidc_provider(directory: Path, callback: str, seconds: int) -> Iterator[str]:
    """npm's `oidc-provider`: its issuer. Its users are ann (of the group oncology) and eve (strangers).

    Args:
        directory: for its log.
        callback: to where it sends browsers back.
        seconds: how long its access tokens last.
    """
    node, home = _of_npm("oidc-provider")
    port, script = free_port(), Path(__file__).with_name("oidc_provider.mjs")
    package = home / "oidc-provider"
    with _process(
        [node, str(script), str(package), str(port), callback, str(seconds)], directory, lambda: _listening(port)
    ):
        yield f"http://localhost:{port}"
