"""Files in S3, Azure, Google and over SFTP, as source and as destination, each against a server that speaks it."""

import contextlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import paramiko
import pyarrow.parquet
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipelines.access.buckets import KNOWN_HOSTS, Bucket, bucket_of
from pipelines.access.host_keys import fingerprint
from pipelines.errors import ConfigurationError, TransientError
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import WebServer
from tests.support.servers.peers import AZURE_KEY, azure_server, google_server, s3_server, sftp_server

REFERENCE = {"env": "CAI_SECRET_BUCKET"}


def bucket(url: str, value: Any, setting: str = "x") -> Bucket:
    """A bucket whose server's key is of no interest."""
    return bucket_of(url, value, setting, host_key=None, known_hosts=Path("known_hosts"))


@dataclass
class Store:
    """A bucket, as its owner sees it, and what a connector is given."""

    url: str
    secret: str
    wrong: str | None
    """Credentials that it refuses; None where the server takes any."""
    files: Any
    root: str
    more: dict[str, str] = field(default_factory=dict)
    """What else a connector says of it."""

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
    host_key = paramiko.RSAKey.generate(2048)
    with sftp_server(directory, "reads", key, host_key) as port:
        yield Store(
            f"sftp://127.0.0.1:{port}/in",
            json.dumps({"username": "clinic", "private_key": text.getvalue()}),
            json.dumps({"username": "clinic", "password": "canary-wrong"}),
            fsspec.filesystem("file"),
            f"{directory}/in",
            {"host_key": fingerprint(host_key.asbytes())},
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
        source |= store.more
        store.write("a.csv", "id,v\n1,a\n2,b\n")
        lake = {"type": "filesystem", "url": store.url.replace("/in", "/out"), "credentials": REFERENCE} | store.more
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


@pytest.mark.parametrize("kind", STORES)
def test_whole_files_are_told_from_others_there(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / kind).mkdir()
    with STORES[kind](tmp_path / kind) as store:
        monkeypatch.setenv("CAI_SECRET_BUCKET", store.secret)
        source = {"type": "files", "url": store.url, "table": "labs", "credentials": REFERENCE, **store.more}
        store.write("LABS.CSV", "id,v\n1,a\n")
        store.write("labs [2024].csv", "id,v\n2,b\n")
        store.write("half.csv.filepart", "id,v\n8,x\n")
        store.write("broken.csv", "id,v\n9\n")
        connector = platform.add(source)
        summary = platform.run(connector)
        assert summary.total_rows == 2
        told = " ".join(summary.remarks)
        assert "broken.csv has another number of cells than the 2 columns in line 2" in told
        assert "saved copies: half.csv.filepart" in told
        store.write("broken.csv", "id,v\n3,c\n")
        assert platform.run(connector).total_rows == 1
        assert platform.run(connector).total_rows == 0
        store.files.mkdirs(f"{store.root}/deep", exist_ok=True)
        store.write("deep/d.csv", "id,v\n4,d\n")
        assert [
            platform.run(platform.add(source | {"glob": glob})).total_rows for glob in ("*.csv", "*/*", "**/*")
        ] == [
            3,
            1,
            4,
        ]
        one = platform.add(source | {"url": f"{store.url}/labs [2024].csv"})
        assert platform.run(one).total_rows == 1
        assert platform.run(one).total_rows == 0
        with pytest.raises(ConfigurationError, match="names a file that is not there"):
            platform.run(platform.add(source | {"url": f"{store.url}/labs.csv"}))
        if kind == "sftp":
            with pytest.raises(ConfigurationError, match="names a directory that is not there"):
                platform.run(platform.add(source | {"url": f"{store.url}/labs"}))


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


def test_a_login_is_sent_to_no_server_whose_key_is_not_expected_known_or_seen_before(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, other = tmp_path / "home", paramiko.ECDSAKey.generate()
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id\n1\n")
    monkeypatch.setenv("CAI_SECRET_BUCKET", json.dumps({"username": "clinic", "password": "canary"}))
    key = paramiko.ECDSAKey.generate()
    right = fingerprint(key.asbytes())

    def read(port: int, **more: str) -> int:
        source = {"type": "files", "url": f"sftp://127.0.0.1:{port}/in", "glob": "*.csv", "table": "labs", **more}
        return platform.run(platform.add(source | {"credentials": REFERENCE})).total_rows

    with sftp_server(tmp_path, "canary", key, key) as port:
        with pytest.raises(ConfigurationError, match=rf"not known to this worker.*{re.escape(right)}") as refused:
            read(port)
        assert "canary" not in str(refused.value)
        with pytest.raises(ConfigurationError, match=r"not the one that source\.host_key names"):
            read(port, host_key=fingerprint(other.asbytes()))
        assert read(port, host_key=right) == 1
        (home / ".ssh").mkdir(parents=True)
        known = home / ".ssh" / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
        assert read(port) == 1
        known.write_text(f"[127.0.0.1]:{port} {other.get_name()} {other.get_base64()}\n")
        with pytest.raises(ConfigurationError, match="not the one that this worker knows"):
            read(port, host_key="first_use")
        known.unlink()
        assert read(port, host_key="first_use") == 1
        remembered = platform.settings.data_dir / KNOWN_HOSTS
        assert remembered.read_text() == f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n"
        assert read(port, host_key="first_use") == 1
        remembered.write_text(f"[127.0.0.1]:{port} {other.get_name()} {other.get_base64()}\n")
        with pytest.raises(ConfigurationError, match="not the one that this worker knows"):
            read(port, host_key="first_use")


@pytest.mark.parametrize("value", [None, "canary", {"username": "u"}, {"username": "u", "private_key": "canary"}])
def test_sftp_without_a_login_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"source\.credentials") as caught:
        bucket("sftp://h/in", value, "source.credentials")
    assert "canary" not in str(caught.value)


def test_keys_are_taken_as_blocks_hold_them() -> None:
    aws = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": None, "block_type_slug": "aws"}
    assert bucket("s3://b", aws).credentials == {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    assert bucket("gs://b", {"service_account_info": {"project_id": "p"}}).credentials == {"project_id": "p"}
    azure = bucket("az://c", {"connection_string": "AccountName=a;SharedAccessSignature=s=="})
    assert azure.credentials == {"azure_storage_account_name": "a", "azure_storage_sas_token": "s=="}
    sftp = bucket("sftp://u@h:2222/in", {"password": "p"})
    assert (sftp.url, sftp.credentials["sftp_port"], sftp.credentials["sftp_username"]) == ("sftp://h/in", 2222, "u")
