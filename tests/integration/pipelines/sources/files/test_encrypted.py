"""Files that come encrypted by PGP: read as what was encrypted, or refused by name, with nothing left on a disk."""

import bz2
import gzip
import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import openpyxl
import pysequoia
import pytest

from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError
from pipelines.sources import Context
from pipelines.sources.files import fed_child
from pipelines.sources.files.encrypted import Decrypting
from pipelines.sources.files.faults import BrokenFileError
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import files_source

KEY, PASSPHRASE = {"env": "CAI_SECRET_PGP"}, {"env": "CAI_SECRET_PGP_OPENS"}
CSV = b"id,name\n1,Ada\n2,Ben\n"


@pytest.fixture(scope="module")
def key() -> pysequoia.Tsk:
    return pysequoia.Tsk.generate("Clinic <clinic@example.org>")


def encrypted(content: bytes, key: pysequoia.Tsk, **more: Any) -> bytes:
    return pysequoia.encrypt(bytes=content, recipients=[key.extract_certificate()], **more)


def decrypting(monkeypatch: pytest.MonkeyPatch, keys: str, passphrase: str | None = None, **more: Any) -> Decrypting:
    monkeypatch.setenv("CAI_SECRET_PGP", keys)
    names: dict[str, Any] = {"pgp_key": KEY}
    if passphrase is not None:
        monkeypatch.setenv("CAI_SECRET_PGP_OPENS", passphrase)
        names["pgp_passphrase"] = PASSPHRASE
    found = Decrypting.of(files_source(**names), Context(Secrets(), **more))
    assert found is not None
    return found


def read(found: Decrypting, content: bytes) -> bytes:
    with found("a mark", io.BytesIO(content)) as plain:
        return plain.read()


def test_encrypted_files_land_and_leave_nothing_on_a_disk(
    platform: Platform, inbox: Path, key: pysequoia.Tsk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAI_SECRET_PGP", str(key))
    other = pysequoia.Tsk.generate("Other")
    (inbox / "a.csv.pgp").write_bytes(encrypted(CSV, key))
    (inbox / "b.csv.gz.gpg").write_bytes(encrypted(gzip.compress(b"id,name\n3,Cyd\n", mtime=0), key, armor=False))
    (inbox / "c.csv.asc").write_bytes(encrypted(b"id,name\n4,Dee\n", other))
    (inbox / "d.csv").write_bytes(b"id,name\n5,Eve\n")
    (inbox / "e.csv.pgp").write_bytes(encrypted(CSV * 9999, key, armor=False)[:-40])
    source = {"type": "files", "url": str(inbox), "table": "labs"}
    connector = platform.add({**source, "pgp_key": KEY})
    summary = platform.run(connector)
    rows = platform.duck(f"SELECT id, name FROM connector_{connector}.labs ORDER BY id")
    assert rows == [(1, "Ada"), (2, "Ben"), (3, "Cyd")]
    told = " ".join(summary.remarks)
    assert "Not loaded: c.csv.asc is encrypted for another key than those of source.pgp_key" in told
    assert "Not loaded: d.csv is not encrypted, as source.pgp_key says that files here are" in told
    assert "Not loaded: e.csv.pgp was changed or cut after it was encrypted: bring it again." in told
    # Without a key the same files are told, and not taken for text.
    plain = platform.add({**source, "table": "plain"})
    told = " ".join(platform.run(plain).remarks)
    assert "4 files were left alone, for the names are those of files encrypted by PGP: a.csv.pgp, " in told
    one = platform.add({**source, "url": str(inbox / "a.csv.pgp")})
    with pytest.raises(ConfigurationError, match="name the key that opens them as pgp_key"):
        platform.run(one)


def test_a_workbook_and_an_archive_may_be_encrypted(
    platform: Platform, inbox: Path, key: pysequoia.Tsk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAI_SECRET_PGP", str(key))
    book, content = openpyxl.Workbook(), io.BytesIO()
    for row in (["id", "code"], [1, "007"], [2, "1.10"]):
        book.active.append(row)
    book.save(content)
    (inbox / "a.xlsx.pgp").write_bytes(encrypted(content.getvalue(), key, armor=False))
    (inbox / "a.csv.bz2.pgp").write_bytes(encrypted(bz2.compress(CSV), key))
    tables = [{"table": "book", "format": "xlsx"}, {"table": "labs", "format": "csv", "primary_key": "id"}]
    connector = platform.add({"type": "files", "url": str(inbox), "pgp_key": KEY, "tables": tables})
    platform.run(connector)
    assert platform.duck(f"SELECT id, code FROM connector_{connector}.book ORDER BY 1") == [(1, "007"), (2, "1.10")]
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.labs") == [(2,)]


def test_each_reading_has_a_place_of_its_own_and_the_plain_file_no_name(
    key: pysequoia.Tsk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = decrypting(monkeypatch, str(key), directory=tmp_path)
    content = os.urandom(3_000_000)
    message = encrypted(content, key, armor=False)
    first, second = found("a", io.BytesIO(message)), found("a", io.BytesIO(b"not looked at again"))
    assert first.read(1_000_000) == content[:1_000_000]
    assert second.read() == content
    assert first.seek(-5, io.SEEK_END) == len(content) - 5
    assert first.read() == content[-5:]
    assert list(tmp_path.iterdir()) == []
    assert found("b", io.BytesIO(encrypted(CSV, key))).read() == CSV
    assert first.seek(0) == 0
    assert first.read() == content


def test_what_was_changed_on_its_way_is_refused_before_it_is_read(
    key: pysequoia.Tsk, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = decrypting(monkeypatch, str(key))
    message = encrypted(os.urandom(30_000_000), key, armor=False)
    changed = message[:-999] + bytes([message[-999] ^ 1]) + message[-998:]
    for bad in (changed, message[:-999]):
        with pytest.raises(BrokenFileError, match="was changed or cut after it was encrypted"):
            found("other", io.BytesIO(bad))
    for bad in (b"", b"id\n1\n"):
        with pytest.raises(BrokenFileError, match="is not encrypted"):
            read(found, bad)
    with pytest.raises(BrokenFileError, match="is no whole PGP message"):
        read(found, b"\xff\xff" * 99)


def test_keys_follow_one_another_and_a_wrong_passphrase_is_a_setting(
    key: pysequoia.Tsk, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = pysequoia.Tsk.generate("Older")
    found = decrypting(monkeypatch, f"{key}\n{older}".strip())
    assert read(found, encrypted(CSV, older)) == CSV
    for wrong in ("nothing", str(key.extract_certificate())):
        with pytest.raises(ConfigurationError, match=r"source\.pgp_key holds no private key"):
            decrypting(monkeypatch, wrong)
    damaged = "\n".join(str(key).splitlines()[:6] + str(key).splitlines()[-2:])
    with pytest.raises(ConfigurationError, match=r"source\.pgp_key holds no private key") as told:
        read(decrypting(monkeypatch, damaged), encrypted(CSV, key))
    assert str(key).splitlines()[4] not in str(told.value)


def test_a_message_that_unpacks_to_very_much_is_refused(
    key: pysequoia.Tsk, monkeypatch: pytest.MonkeyPatch, gpg: "Gpg"
) -> None:
    found = decrypting(monkeypatch, gpg.key, "opens it")
    bomb = gpg.encrypt(bytes(70_000_000), "-z", "9")
    assert len(bomb) < 200_000
    with pytest.raises(BrokenFileError, match="unpacks to more than 250 times its size"):
        read(found, bomb)


class Gpg:
    """GnuPG with a key of its own, which a passphrase opens."""

    def __init__(self, home: Path) -> None:
        self._home = home
        made = ["--passphrase", "opens it", "--quick-gen-key", "gpg@example.org", "future-default", "default", "never"]
        self.run(b"", "--pinentry-mode", "loopback", *made)
        export = ["--passphrase", "opens it", "--armor", "--export-secret-keys"]
        self.key = self.run(b"", "--pinentry-mode", "loopback", *export).decode()

    def run(self, given: bytes, *arguments: str) -> bytes:
        command = ["gpg", "--homedir", str(self._home), "--batch", "--yes", "--trust-model", "always", *arguments]
        return subprocess.run(command, input=given, capture_output=True, check=True).stdout

    def encrypt(self, content: bytes, *options: str) -> bytes:
        sign = ["--pinentry-mode", "loopback", "--passphrase", "opens it"]
        return self.run(content, *sign, *options, "--encrypt", "--recipient", "gpg@example.org")


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if shutil.which("gpg") is None:
        pytest.skip("no gpg on this machine")
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    yield Gpg(home)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


def test_what_gnupg_wrote_is_read(gpg: Gpg, monkeypatch: pytest.MonkeyPatch) -> None:
    content = CSV * 20_000
    found = decrypting(monkeypatch, gpg.key, "opens it")
    for options in (
        ["-z", "0"],
        ["--armor"],
        ["--compress-algo", "zlib"],
        ["--sign"],
        ["--sign", "--armor", "-z", "0"],
    ):
        with found(" ".join(options), io.BytesIO(gpg.encrypt(content, *options))) as plain:
            assert plain.read() == content, options
    with pytest.raises(BrokenFileError, match="is encrypted in a way that is no longer safe"):
        found("3DES", io.BytesIO(gpg.encrypt(content, "--cipher-algo", "3DES")))
    with pytest.raises(BrokenFileError, match="packed by bzip2 within"):
        found("bzip2", io.BytesIO(gpg.encrypt(content, "--compress-algo", "bzip2")))
    message = gpg.encrypt(CSV)
    # The key packet as it is, and behind it the packet that GnuPG alone writes.
    ocb = message[: 2 + message[1]] + bytes([0xD4, 30, 1, 9, 2, 16]) + bytes(26)
    with pytest.raises(BrokenFileError, match=r"a way of GnuPG's own \(OCB\)"):
        found("ocb", io.BytesIO(ocb))
    for wrong in ("another", None):
        with pytest.raises(ConfigurationError, match=r"source\.pgp_passphrase does not open"):
            read(decrypting(monkeypatch, gpg.key, wrong), message)


def test_a_network_that_fails_is_no_fault_of_the_file(key: pysequoia.Tsk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Falls(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= fed_child.READ_BYTES:
                raise ConnectionResetError
            return super().read(size)

    with pytest.raises(ConnectionResetError):
        decrypting(monkeypatch, str(key))("a", Falls(encrypted(os.urandom(3_000_000), key)))


def test_a_passphrase_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="opens a key: name that as pgp_key"):
        files_source(pgp_passphrase=PASSPHRASE)
