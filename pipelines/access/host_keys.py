"""Host keys of SFTP and SSH servers: a login is sent only to the server that is meant.

A key is expected by its fingerprint (`host_key` of the connector), or known to the worker (`known_hosts`, as ssh has),
or, where the connector says `first_use`, accepted once and remembered below the data directory. Whatever is presented
otherwise ends the run before a login is sent, with the fingerprint, which is no secret, so that it can be compared.
"""

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectors.sources.secret_references import FIRST_USE
from pipelines.errors import ConfigurationError

if TYPE_CHECKING:
    import paramiko

SYSTEM_FILES = (Path("~/.ssh/known_hosts"), Path("/etc/ssh/ssh_known_hosts"))
"""Where ssh keeps the keys of hosts that the worker's user, or the whole machine, knows."""


def fingerprint(key: bytes) -> str:
    """The fingerprint of a public key's bytes, as `ssh-keygen -l` writes it: `SHA256:` and base64 without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def host_key_policy(host_key: str | None, remembered: Path, field: str, server: str) -> Any:
    """What judges each key that a server presents, as paramiko and the file system on it take it.

    Args:
        host_key: a fingerprint, `first_use`, or None: what the worker knows already.
        remembered: the file of keys that were accepted at first use; it is made when it is needed.
        field: of the connector that names the key, such as `source.host_key`: for the sentence of a refusal.
        server: what the server is, in such a sentence.
    """
    import paramiko  # noqa: PLC0415  # an extra

    class HostKeyPolicy(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
        """Asked for every host, since the client itself is given no known ones."""

        def missing_host_key(self, client: Any, hostname: str, key: "paramiko.PKey") -> None:
            """Returns for the right key.

            Raises:
                ConfigurationError: for any other.
            """
            del client
            presented = fingerprint(key.asbytes())
            if host_key not in {None, FIRST_USE}:
                if presented != host_key:
                    raise _refusal(server, field, f"is not the one that {field} names", presented)
                return
            files = [remembered, *(path.expanduser() for path in SYSTEM_FILES)]
            known = [keys for path in files if path.is_file() for keys in [_keys_of(path, hostname)] if keys]
            if any(presented == fingerprint(each.asbytes()) for keys in known for each in keys):
                return
            if any(each.get_name() == key.get_name() for keys in known for each in keys):
                raise _refusal(server, field, "is not the one that this worker knows", presented)
            if host_key is None:
                raise _refusal(server, field, "is not known to this worker", presented)
            _remember(remembered, hostname, key)

    return HostKeyPolicy()


def _refusal(server: str, field: str, what: str, presented: str) -> ConfigurationError:
    return ConfigurationError(
        f"The key of {server} {what}, so no login was sent: it has the fingerprint {presented}. "
        f"Compare that with what the people who run the server say, and set {field} to it."
    )


def _keys_of(path: Path, hostname: str) -> list["paramiko.PKey"]:
    import paramiko  # noqa: PLC0415  # an extra

    try:
        found = paramiko.HostKeys(str(path)).lookup(hostname)
    except OSError:
        return []
    return list(found.values()) if found else []


def _remember(path: Path, hostname: str, key: "paramiko.PKey") -> None:
    """Add a line to the file of known hosts. Two runs at once add two lines, which do no harm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with path.open("a") as lines:
        lines.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")
