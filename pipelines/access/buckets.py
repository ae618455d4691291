"""Object stores and SFTP: a connector's address and resolved credentials as dlt and its file systems take them.

Whoever keeps a secret keeps it in the shape that the cloud's console, or Prefect's block, gives it; each is understood.
"""

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pipelines.access.host_keys import host_key_policy
from pipelines.errors import ConfigurationError

KNOWN_HOSTS = "known_hosts"
"""The file below the data directory that holds the keys of SFTP servers that were accepted at first use."""

_AWS = {"region_name", "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "endpoint_url"}


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where files are and how to get there: what dlt's `FilesystemConfiguration` is made of."""

    url: str
    credentials: Any = field(default=None, repr=False)
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    """For the file system itself, what dlt's credentials have no place for."""


def bucket_of(url: str, value: Any, setting: str, *, host_key: str | None, known_hosts: Path) -> Bucket:
    """A bucket's address with a resolved credential: a text, JSON in a text, or what a block of Prefect holds.

    Args:
        url: of the bucket.
        value: the credential.
        setting: names the credential in a refusal: `source.credentials`, say.
        host_key: what an SFTP server's key must be, as the connector has it.
        known_hosts: the file of keys that were accepted at first use.

    Raises:
        ConfigurationError: when the credential is not one for this kind of address.
    """
    value = as_json(value)
    scheme = url.partition("://")[0]
    if scheme == "sftp":
        bucket = _sftp(url, value, setting)
        side = setting.partition(".")[0]
        policy = host_key_policy(host_key, known_hosts, f"{side}.host_key", f"the {side}'s SFTP server")
        return replace(bucket, options=bucket.options | {"host_key_policy": policy})
    if scheme in {"az", "abfs", "abfss"}:
        return _azure(url, value)
    if isinstance(value, dict) and "service_account_info" in value:
        value = as_json(value["service_account_info"])
    if isinstance(value, dict) and value.keys() & _AWS:
        value = {key: item for key, item in value.items() if key in _AWS and item is not None}
    return Bucket(url, value)


def host_of(bucket: Bucket) -> tuple[str | None, int | None]:
    """Host and port that a bucket is reached at, where the connector names them: an SFTP server, an S3 endpoint."""
    credentials = bucket.credentials if isinstance(bucket.credentials, dict) else {}
    if bucket.url.startswith("sftp://"):
        return urlsplit(bucket.url).hostname, credentials.get("sftp_port")
    endpoint = urlsplit(str(credentials.get("endpoint_url") or ""))
    return endpoint.hostname, endpoint.port or (443 if endpoint.scheme == "https" else 80)


def _azure(url: str, value: Any) -> Bucket:
    text = value.get("connection_string") if isinstance(value, dict) else value
    if not isinstance(text, str) or "AccountName=" not in text:
        return Bucket(url, value)
    parts = {key: item for key, _, item in (part.partition("=") for part in text.split(";"))}
    credentials = {
        "azure_storage_account_name": parts["AccountName"],
        "azure_storage_account_key": parts.get("AccountKey"),
        "azure_storage_sas_token": parts.get("SharedAccessSignature"),
    }
    return Bucket(
        url, {key: item for key, item in credentials.items() if item is not None}, {"connection_string": text}
    )


def _sftp(url: str, value: Any, setting: str) -> Bucket:
    """Only what the connector names opens a session: neither the worker's own keys nor an agent."""
    parts = urlsplit(url)
    keys = value if isinstance(value, dict) else {"password": value}
    credentials: dict[str, Any] = {
        "sftp_username": keys.get("username", parts.username),
        "sftp_password": keys.get("password"),
        "sftp_port": parts.port or int(keys.get("port") or 22),
        "sftp_allow_agent": False,
        "sftp_look_for_keys": False,
    }
    options = {}
    if "private_key" in keys:
        options["pkey"] = private_key(keys["private_key"], keys.get("passphrase"), setting)
    if not credentials["sftp_username"] or not (keys.get("password") or options):
        raise ConfigurationError(
            f'{setting} must hold JSON with "username" and "password" or "private_key", for an sftp:// address.'
        )
    given = {key: item for key, item in credentials.items() if item is not None}
    return Bucket(urlunsplit(parts._replace(netloc=parts.hostname or "")), given, options)


def private_key(text: str, passphrase: str | None, setting: str) -> Any:
    """A private key, as paramiko has it.

    Raises:
        ConfigurationError: it is none, or its passphrase is another.
    """
    import paramiko  # noqa: PLC0415  # an extra

    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text), password=passphrase)
        except (paramiko.SSHException, ValueError):
            continue
    raise ConfigurationError(f'The "private_key" of {setting} is no OpenSSH key, or its "passphrase" is another.')


def as_json(value: Any) -> Any:
    """The object in a text that holds JSON; any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
