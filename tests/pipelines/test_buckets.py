"""Files in S3, Azure, Google and over SFTP, as source and as destination, each against a server that speaks it."""

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import paramiko
import pyarrow.parquet
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipelines.buckets import bucket_of
from pipelines.errors import ConfigurationError, TransientError
from tests.pipelines.conftest import Platform
from tests.pipelines.http_server import WebServer
from tests.pipelines.peers import AZURE_KEY, azure_server, google_server, s3_server, sftp_server

REFERENCE = {"env": "CAI_SECRET_BUCKET"}


@dataclass
class Store:
    """A bucket, as its owner sees it, and what a connector is given."""

    url: str
    secret: str
    wrong: str | None
    """Credentials that it refuses; None where the server takes any."""
    files: Any
    root: str

    def write(self, name: str, text: str) -> None:
        """Put a file there."""
        self.files.pipe_file(f"{self.root}/{name}", text.encode())


@contextlib.contextmanager
def _s3(directory: Path) -> Iterator[Store]:
    with s3_server(directory) as address:
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "endpoint_url": address}
        files = fsspec.filesystem("s3", key="a", secret="b", client_kwargs={"endpoint_url": address})
        files.mkdir("lake")
        yield Store("s3://lake/in", json.dumps(keys | {"region_name": "us-east-1"}), None, files, "lake/in")


@contextlib.contextmanager
def _azure(directory: Path) -> Iterator[Store]:
    with azure_server(directory) as secret:
        files = fsspec.filesystem("az", connection_string=secret, skip_instance_cache=True)
        files.mkdir("lake")
        wrong = secret.replace(AZURE_KEY, AZURE_KEY.replace("E", "F"))
        yield Store("az://lake/in", secret, wrong, files, "lake/in")


@contextlib.contextmanager
def _google(directory: Path) -> Iterator[Store]:
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    answer = {"access_token": "t", "token_type": "Bearer", "expires_in": 3600}
    with google_server() as address, WebServer(lambda _: answer) as tokens, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", address)
        # Else it also asks by gRPC, which the emulator does not speak.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        files = fsspec.filesystem("gs", token="anon", project="p", skip_instance_cache=True)
        files.mkdir("lake")
        account = {
            "type": "service_account", "project_id": "p", "client_email": "c@p.iam", "private_key": key.decode(),
            "private_key_id": "k", "token_uri": tokens.url + "/token",
        }  # fmt: skip
        yield Store("gs://lake/in", json.dumps(account), None, files, "lake/in")


@contextlib.contextmanager
def _sftp(directory: Path) -> Iterator[Store]:
    key = paramiko.RSAKey.generate(2048)
    text = io.StringIO()
    key.write_private_key(text)
    (directory / "in").mkdir()
    with sftp_server(directory, "reads", key) as port:
        yield Store(
            f"sftp://127.0.0.1:{port}/in",
            json.dumps({"username": "clinic", "private_key": text.getvalue()}),
            json.dumps({"username": "clinic", "password": "canary-wrong"}),
            fsspec.filesystem("file"),
            f"{directory}/in",
        )


STORES = {"s3": _s3, "azure": _azure, "google": _google, "sftp": _sftp}


@pytest.mark.parametrize("kind", STORES)
def test_files_are_read_from_and_written_to_it(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / kind).mkdir()
    with STORES[kind](tmp_path / kind) as store:
        monkeypatch.setenv("CAI_SECRET_BUCKET", store.secret)
        source = {"type": "files", "url": store.url, "glob": "**/*.csv", "table": "labs", "credentials": REFERENCE}
        store.write("a.csv", "id,v\n1,a\n2,b\n")
        lake = {"type": "filesystem", "url": store.url.replace("/in", "/out"), "credentials": REFERENCE}
        connector = platform.add(source, destination=lake)
        assert platform.run(connector).total_rows == 2
        store.write("b.csv", "id,v\n3,ü\n")
        assert platform.run(connector).total_rows == 1
        assert platform.run(connector).total_rows == 0
        assert _written(store, connector) == [(1, "a"), (2, "b"), (3, "ü")]
        if store.wrong is not None:
            monkeypatch.setenv("CAI_SECRET_BUCKET", store.wrong)
            with pytest.raises(ConfigurationError, match=r"source\.credentials"):
                platform.run(platform.add(source))
        if kind == "s3":
            monkeypatch.setenv("CAI_SECRET_BUCKET", store.secret)
            _a_lake(platform, store, source)
            with pytest.raises(ConfigurationError, match=r"source\.url"):
                platform.run(platform.add(source | {"url": "s3://no-such-bucket/in"}))


def _written(store: Store, connector: int) -> list[tuple[int, str]]:
    out = store.root.removesuffix("/in") + f"/out/connector_{connector}/labs"
    store.files.invalidate_cache()
    found = []
    for path in store.files.find(out):
        with store.files.open(path, "rb") as file:
            found += [(row["id"], row["v"]) for row in pyarrow.parquet.read_table(file).to_pylist()]
    return sorted(found)


def _a_lake(platform: Platform, store: Store, source: dict[str, Any]) -> None:
    """Delta in the same bucket, merged by key."""
    import deltalake

    lake = {"type": "filesystem", "format": "delta", "url": "s3://lake/delta", "credentials": REFERENCE}
    connector = platform.add(source | {"primary_key": "id"}, destination=lake)
    platform.run(connector)
    store.write("b.csv", "id,v\n3,changed\n")
    platform.run(connector)
    keys = json.loads(store.secret)
    options = {name: keys[name] for name in ("aws_access_key_id", "aws_secret_access_key")} | {
        "aws_endpoint": keys["endpoint_url"], "aws_region": "us-east-1", "aws_allow_http": "true",
    }  # fmt: skip
    found = deltalake.DeltaTable(f"s3://lake/delta/connector_{connector}/labs", storage_options=options)
    assert sorted(found.to_pyarrow_table().to_pydict()["v"]) == ["a", "b", "changed"]


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("s3://lake/in", {"aws_access_key_id": "a", "aws_secret_access_key": "canary", "endpoint_url": "http://127.0.0.1:1"}),
        ("az://lake/in", f"AccountName=a;AccountKey={AZURE_KEY};BlobEndpoint=http://127.0.0.1:1/a;"),
        ("sftp://127.0.0.1:1/in", {"username": "u", "password": "canary"}),
    ],
)  # fmt: skip
@pytest.mark.soak
def test_a_store_that_is_away_is_tried_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, url: str, secret: Any
) -> None:
    monkeypatch.setenv("CAI_SECRET_BUCKET", secret if isinstance(secret, str) else json.dumps(secret))
    with pytest.raises(TransientError, match=r"source"):
        platform.run(platform.add({"type": "files", "url": url, "credentials": REFERENCE}))


@pytest.mark.parametrize("value", [None, "canary", {"username": "u"}, {"username": "u", "private_key": "canary"}])
def test_sftp_without_a_login_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"source\.credentials") as caught:
        bucket_of("sftp://h/in", value, "source.credentials")
    assert "canary" not in str(caught.value)


def test_keys_are_taken_as_blocks_hold_them() -> None:
    aws = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": None, "block_type_slug": "aws"}
    assert bucket_of("s3://b", aws, "x").credentials == {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    assert bucket_of("gs://b", {"service_account_info": {"project_id": "p"}}, "x").credentials == {"project_id": "p"}
    azure = bucket_of("az://c", {"connection_string": "AccountName=a;SharedAccessSignature=s=="}, "x")
    assert azure.credentials == {"azure_storage_account_name": "a", "azure_storage_sas_token": "s=="}
    sftp = bucket_of("sftp://u@h:2222/in", {"password": "p"}, "x")
    assert (sftp.url, sftp.credentials["sftp_port"], sftp.credentials["sftp_username"]) == ("sftp://h/in", 2222, "u")
