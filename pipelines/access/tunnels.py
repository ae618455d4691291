"""SSH tunnels: a database that only an SSH server sees, reached through a port of this machine's loopback.

The server's key is checked before a login is sent (`host_keys`), and its host is judged as every other. A tunnel lasts
as long as the run, or the test, that asked for it; one whose SSH connection was lost opens another for the next
session, so a step that is tried again needs to know nothing of it. What a database is asked for goes through it unread:
its own TLS stays, and so does the name that its certificate is checked against.

The tunnel's threads are Python's. A driver that waits for an answer without letting go of Python's lock would wait for
ever: both of PostgreSQL's do so when they cancel (`pipelines.access.postgres_cancelling`).
"""

import contextlib
import hashlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.sources.asking.ssh import SshTunnel
from pipelines.access.buckets import KNOWN_HOSTS, as_json, private_key
from pipelines.access.denied_hosts import DeniedHosts, address_of
from pipelines.access.host_keys import host_key_policy
from pipelines.error_causes.database_errors import TUNNELS
from pipelines.errors import ConfigurationError, TransientError

LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 15.0
"""How long the SSH server may take for each of its answers until it lets us in, and for a way to the database."""

ALIVE_SECONDS = 30
"""Between two signs of life, which keep firewalls from dropping a connection that is silent."""

SILENT_MILLISECONDS = 60_000
"""How long what was sent may stay unconfirmed until the connection counts as lost."""

PIECE = 1 << 16
REFUSED = 2
"""OPEN_CONNECT_FAILED: the SSH server tried, and the database did not answer it."""

logger = logging.getLogger("prefect.pipelines")


@dataclass(frozen=True, slots=True)
class Way:
    """An SSH server, how to log in there, and what is behind it."""

    side: str
    """Whose `ssh` it is, in sentences: `source` or `destination`."""
    ssh: SshTunnel
    login: Any = field(repr=False)
    """The resolved private key: a text, or JSON in one."""
    to: tuple[str, int]
    """Host and port of the database, as the SSH server sees it."""
    denied: DeniedHosts
    data_dir: Path

    @property
    def key(self) -> str:
        """What tells two ways apart, without the private key."""
        return hashlib.sha256(repr((self.side, self.ssh, self.login, self.to)).encode()).hexdigest()


class Tunnel:
    """One open tunnel: `port` of the loopback leads to the database."""

    def __init__(self, way: Way) -> None:
        """Log in, and find the way to the database.

        Raises:
            ConfigurationError: the server has another key than expected, refuses the login, or forwards nothing.
            TransientError: it, or the database behind it, does not answer.
        """
        self._way = way
        self._lock = threading.Lock()
        self._client: Any = None
        self._spare: Any = None
        try:
            self._spare = self._channel()
            self._listener = socket.create_server((LOOPBACK, 0))
        except BaseException:
            self._hang_up()
            raise
        self.port = int(self._listener.getsockname()[1])
        TUNNELS.add(self.port)
        threading.Thread(target=self._accept, name="ssh-tunnel", daemon=True).start()

    def close(self) -> None:
        """End it, and every session that goes through it."""
        TUNNELS.discard(self.port)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()

    def _channel(self) -> Any:
        """A way from the SSH server to the database; raises what opening a tunnel does."""
        import paramiko  # noqa: PLC0415  # an extra

        side, (host, port) = self._way.side, self._way.to
        with self._lock:
            transport = None if self._client is None else self._client.get_transport()
            if transport is None or not transport.is_active():
                self._hang_up()
                self._client = _logged_in(self._way)
                transport = self._client.get_transport()
        try:
            return transport.open_channel("direct-tcpip", (host, port), (LOOPBACK, 0), timeout=CONNECT_SECONDS)
        except paramiko.ChannelException as error:
            if error.code == REFUSED:
                raise TransientError(
                    f"The SSH server of {side}.ssh reaches no database at the host and port that {side}.credentials "
                    "names: it is down, or its address is not what the SSH server knows it by."
                ) from None
            raise ConfigurationError(
                f"The SSH server of {side}.ssh lets this user forward no connection to the database: have its people "
                "allow it (AllowTcpForwarding, PermitOpen)."
            ) from None
        except (paramiko.SSHException, OSError, EOFError):
            raise _lost(self._way.side) from None

    def _taken(self) -> Any:
        """The way that was found at first, if nobody has used it and it still stands, else a new one."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is None:
            return self._channel()
        if spare.closed or spare.eof_received:
            spare.close()
            return self._channel()
        return spare

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), name="ssh-tunnel", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                channel = self._taken()
            except (ConfigurationError, TransientError) as error:
                # The driver only sees a connection that ends, which is worth another try of the step.
                logger.warning("The SSH tunnel leads nowhere now: %s", error)
                return
            _joined(connection, channel)


def _joined(connection: socket.socket, channel: Any) -> None:
    """Carry bytes both ways until the far side has ended."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def outwards() -> None:
        with contextlib.suppress(OSError, EOFError):
            while piece := connection.recv(PIECE):
                channel.sendall(piece)
        with contextlib.suppress(OSError, EOFError):
            channel.shutdown_write()

    thread = threading.Thread(target=outwards, name="ssh-tunnel", daemon=True)
    thread.start()
    with contextlib.suppress(OSError, EOFError):
        while piece := channel.recv(PIECE):
            connection.sendall(piece)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError, EOFError):  # the SSH connection may be gone
        channel.close()
    thread.join()


def _lost(side: str) -> TransientError:
    return TransientError(f"The SSH server of {side}.ssh does not answer, or has ended the connection.")


def _logged_in(way: Way) -> Any:
    """A paramiko client that is logged in; raises what opening a tunnel does."""
    import paramiko  # noqa: PLC0415  # an extra

    ssh, side = way.ssh, way.side
    login = as_json(way.login)
    login = login if isinstance(login, dict) else {"private_key": login}
    text, passphrase = login.get("private_key", login.get("value")), login.get("passphrase")
    key = private_key(text if isinstance(text, str) else "", passphrase, f"{side}.ssh.private_key")
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(
        host_key_policy(ssh.host_key, way.data_dir / KNOWN_HOSTS, f"{side}.ssh.host_key", f"the {side}'s SSH server")
    )
    try:
        address = address_of(way.denied, ssh.host, ssh.port)
        connection = socket.create_connection((address, ssh.port), CONNECT_SECONDS)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_MILLISECONDS)
        client.connect(
            ssh.host, ssh.port, ssh.user, pkey=key, sock=connection, allow_agent=False, look_for_keys=False,
            timeout=CONNECT_SECONDS, banner_timeout=CONNECT_SECONDS, auth_timeout=CONNECT_SECONDS,
        )  # fmt: skip
    except paramiko.AuthenticationException:
        client.close()
        raise ConfigurationError(
            f"The SSH server of {side}.ssh refuses the login: check {side}.ssh.user, and that it knows the public half "
            f"of {side}.ssh.private_key."
        ) from None
    except (paramiko.SSHException, OSError, EOFError):
        client.close()
        raise _lost(side) from None
    except ConfigurationError:  # of its key, or its host
        client.close()
        raise
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(ALIVE_SECONDS)
    return client


class _Open:
    """The tunnels of this process, by their ways, for as long as somebody needs tunnels at all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, Tunnel] = {}
        self._users = 0

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                found = [] if self._users else list(self._found.values())
                if found:
                    self._found = {}
            for tunnel in found:
                tunnel.close()

    def through(self, way: Way) -> int:
        with self._lock:
            if not self._users:
                raise RuntimeError("A tunnel would be closed by nobody.")
            if way.key not in self._found:
                self._found[way.key] = Tunnel(way)
            return self._found[way.key].port


_OPEN = _Open()

kept: Callable[[], contextlib.AbstractContextManager[None]] = _OPEN.kept
"""Inside, tunnels are opened and used again; at the end of the last such block all are closed."""

through: Callable[[Way], int] = _OPEN.through
"""The port of the loopback that leads through an SSH server to a database. Raises what opening a tunnel does."""
