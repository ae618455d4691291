"""The SSH server through which a database is reached: a source's, or a destination's. Pure."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from connectors.sources.secret_references import Credential, HostKeyText, Name, Strict, refused


def _ssh_host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:]+", value):
        raise refused("{field} must be a host's name alone, such as 'bastion.example.org': its port goes into port.")
    return value


class SshTunnel(Strict):
    """The SSH server through which a database is reached."""

    host: Annotated[Name, AfterValidator(_ssh_host), Field(description="The SSH server's name or address.")]
    port: Annotated[int, Field(ge=1, le=65_535, description="Its port.")] = 22
    user: Annotated[Name, Field(description="Whom to log in as.")]
    private_key: Annotated[
        Credential,
        Field(
            description="The private key to log in with, as OpenSSH writes it: a secret that holds it, or JSON with "
            "`private_key` and `passphrase`."
        ),
    ]
    host_key: Annotated[
        HostKeyText | None,
        Field(
            description="The fingerprint of the SSH server's own key, as `SHA256:...`, or `first_use`, which accepts "
            "the key that comes first and no other later. null: a key that the worker's known_hosts holds."
        ),
    ] = None


Ssh = Annotated[
    SshTunnel | None,
    Field(
        description="The SSH server through which the database is reached, whose address in `credentials` is then "
        "as that server sees it. null: it is reached directly."
    ),
]
"""What a database that may be behind an SSH server has as its `ssh`."""


def refuse_ssh(value: Any, known: Mapping[str, Any], where: str) -> Any:
    """The JSON of a model as it is, unless it asks for an SSH server and the model's `known` fields have none.

    Raises:
        PydanticCustomError: it does; the sentence says `where` there is one.
    """
    if "ssh" not in known and isinstance(value, Mapping) and value.get("ssh") is not None:
        raise refused(
            f"{{field}} works with {where} only, and what is named here is reached directly: remove it.", "ssh"
        )
    return value
