"""An SSH server that forwards connections, as a clinic's bastion does: paramiko's own server."""

import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from typing import Any

import paramiko

from pipelines.access.host_keys import fingerprint


class SshGate(paramiko.ServerInterface):  # type: ignore[misc]
    """Lets `clinic` in by a key, and forwards to what it is told by name; counts what it did."""

    def __init__(self, key: paramiko.PKey, known: dict[str, str]) -> None:
        self.key, self.known = key, known
        self.host_key = paramiko.ECDSAKey.generate()
        self.asked: list[tuple[str, int]] = []
        """Where each forwarded connection was to go."""
        self.logins = 0
        self.forwards = True
        self.transports: list[paramiko.Transport] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> Any:
        """Judge a login."""
        self.logins += 1
        return paramiko.AUTH_SUCCESSFUL if (username, key) == ("clinic", self.key) else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        """Keys only."""
        return "publickey"

    def check_channel_direct_tcpip_request(self, chanid: int, origin: Any, destination: tuple[str, int]) -> Any:
        """Forward, or say why not."""
        self.asked.append(destination)
        if not self.forwards:
            return paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        try:
            far = socket.create_connection((self.known.get(destination[0], destination[0]), destination[1]), 5)
        except OSError:
            return paramiko.OPEN_FAILED_CONNECT_FAILED
        far.settimeout(None)  # a session may be silent for long
        transport = threading.current_thread()
        threading.Thread(target=_forward, args=(transport, chanid, far), daemon=True).start()
        return paramiko.OPEN_SUCCEEDED

    def cut(self) -> None:
        """Lose every connection that there is."""
        for transport in self.transports:
            transport.close()

    def serve(self) -> None:
        """Take connections until it is closed."""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                transport = paramiko.Transport(connection)
                self.transports.append(transport)
                transport.add_server_key(self.host_key)
                with contextlib.suppress(paramiko.SSHException, EOFError):
                    transport.start_server(event=threading.Event(), server=self)

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


def _forward(transport: Any, chanid: int, far: socket.socket) -> None:
    channel = None
    while channel is None or channel.get_id() != chanid:
        channel = transport.accept(5)
        if channel is None:
            return

    def back() -> None:
        with contextlib.suppress(OSError, EOFError):
            while piece := far.recv(65536):
                channel.sendall(piece)
        with contextlib.suppress(OSError, EOFError):  # the connection may be gone
            channel.close()

    threading.Thread(target=back, daemon=True).start()
    with contextlib.suppress(OSError, EOFError):
        while piece := channel.recv(65536):
            far.sendall(piece)
    with contextlib.suppress(OSError):
        far.shutdown(socket.SHUT_RDWR)
    far.close()


@contextlib.contextmanager
def ssh_gate(key: paramiko.PKey, known: dict[str, str] | None = None) -> Iterator[SshGate]:
    """A running gate. `known`: addresses of hosts that only it knows."""
    gate = SshGate(key, known or {})
    thread = threading.Thread(target=gate.serve, daemon=True)
    thread.start()
    try:
        yield gate
    finally:
        gate.close()
        thread.join(10)


def text_of(key: paramiko.PKey, passphrase: str | None = None) -> str:
    """A private key as OpenSSH writes it."""
    text = io.StringIO()
    key.write_private_key(text, passphrase)
    return text.getvalue()


def ssh_of(gate: SshGate, **more: Any) -> dict[str, Any]:
    """The `ssh` of a connector that goes through a gate; what is None is left out."""
    ssh = {
        "host": "127.0.0.1",
        "port": gate.port,
        "user": "clinic",
        "private_key": {"env": "CAI_SECRET_SSH"},
        "host_key": fingerprint(gate.host_key.asbytes()),
    }
    return {name: value for name, value in (ssh | more).items() if value is not None}
