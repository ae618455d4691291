"""Files that come encrypted by PGP, as what was encrypted.

Each is decrypted as a whole before anything in it is read, so that one which was altered on its way is refused before
a parser sees it, and workbooks and archives, which are read from their ends, can be encrypted too. The plain bytes go
into a file without a name in the run's own directory: nobody can open it, and the system frees it when the run lets go
of it or dies, whatever it dies of.

Decrypted by Sequoia in a child process with a limit of memory, which gets key and file by its standard input.
Signatures within a file are not compared with anything: pysequoia can't check those of compressed messages, which GnuPG
makes.
"""

import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from connectors.sources.files import FilesSource
from pipelines.errors import ConfigurationError
from pipelines.sources import Context
from pipelines.sources.files.archives import MOST_TIMES, SMALL_BYTES
from pipelines.sources.files.encrypted.pgp_child import Outcome
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.fed_child import READ_BYTES, FedChild, blocks

MEMORY_BYTES = 1024 * 1024 * 1024
"""The child's address space. It took 190 to 230 MB for files of 200 and 700 MB."""
ARMOR = b"-----BEGIN PGP MESSAGE-----"
_CHILD = Path(__file__).with_name("pgp_child.py")
_PRIVATE_KEYS = re.compile("-----BEGIN PGP (PRIVATE KEY BLOCK)-----.*?-----END PGP \\1-----", re.DOTALL)

_NO_KEY = (
    "source.pgp_key holds no private key that can decrypt: it must be the text that `gpg --armor --export-secret-keys` "
    "writes, from its BEGIN line to its END line."
)
_PASSPHRASE = "source.pgp_passphrase does not open source.pgp_key: correct it, or name the passphrase if none is named."  # noqa: S105
_BROKEN = {
    Outcome.OTHER_KEY: "is encrypted for another key than those of source.pgp_key: have it encrypted for yours, or add "
    "the key that it was encrypted for",
    Outcome.ALTERED: "was changed or cut after it was encrypted: bring it again",
    Outcome.WEAK: "is encrypted in a way that is no longer safe, such as 3DES or without a check of its integrity: "
    "have its sender use AES",
    Outcome.OCB: "is encrypted in a way of GnuPG's own (OCB), which is not OpenPGP: take it out of your key's "
    "preferences (gpg --edit-key, setpref), give its sender the public key anew, and have the file sent again",
}
_DAMAGED = "is no whole PGP message that can be read: it is cut or damaged, or packed by bzip2 within; bring it again"
_NOT_ENCRYPTED = (
    "is not encrypted, as source.pgp_key says that files here are: have it sent encrypted, or read it by a connector "
    "without pgp_key"
)


class Decrypting:
    """What opens a source's files by its key. Its repr shows nothing of it."""

    def __init__(self, keys: list[str], passphrase: str | None, directory: Path | None) -> None:
        self._keys = keys
        self._passphrase = passphrase
        self._directory = directory
        self._last: tuple[str, Any] = ("", None)

    @classmethod
    def of(cls, source: FilesSource, context: Context) -> "Decrypting | None":
        """That of a source, or None where its files are not encrypted.

        Raises:
            ConfigurationError: what it names as its key is none.
        """
        if source.pgp_key is None:
            return None
        text = context.secrets.text(source.pgp_key)
        keys = [found.group() for found in _PRIVATE_KEYS.finditer(text)]
        if not keys:
            raise ConfigurationError(_NO_KEY)
        passphrase = None if source.pgp_passphrase is None else context.secrets.text(source.pgp_passphrase)
        return cls(keys, passphrase, context.directory)

    def __call__(self, mark: str, stream: Any) -> io.BufferedReader:
        """What is encrypted in a file, as a file.

        Args:
            mark: the same for the same file as it stands: it is decrypted once, however often it is opened.
            stream: the file's bytes.

        Raises:
            BrokenFileError: it can't be decrypted, or is not encrypted.
            ConfigurationError: key and passphrase are not of each other.
        """
        if self._last[0] != mark:
            self._last = (mark, self._decrypted(stream))
        return io.BufferedReader(_Plain(self._last[1]), READ_BYTES)

    def _decrypted(self, stream: Any) -> Any:
        start = stream.read(64)
        if not start or not (start[0] & 0x80 or start.lstrip().startswith(ARMOR)):
            raise BrokenFileError(_NOT_ENCRYPTED)
        outcomes = []
        for key in self._keys:
            outcome, plain = self._by(key, stream)
            if outcome is Outcome.DECRYPTED:
                return plain
            outcomes.append(outcome)
        if Outcome.NO_KEY in outcomes or Outcome.PASSPHRASE in outcomes:
            raise ConfigurationError(_NO_KEY if Outcome.NO_KEY in outcomes else _PASSPHRASE)
        said = next((outcome for outcome in outcomes if outcome is not Outcome.OTHER_KEY), outcomes[0])
        raise BrokenFileError(_BROKEN.get(said, _DAMAGED))

    def _by(self, key: str, stream: Any) -> tuple[Outcome, Any]:
        plain = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115  # its readers close it
        fed = size = 0

        def given() -> Iterator[bytes]:
            nonlocal fed
            head = json.dumps({"key": key, "passphrase": self._passphrase}).encode()
            yield len(head).to_bytes(4, "big") + head
            for block in blocks(stream):
                fed += len(block)
                yield block

        with FedChild(_CHILD, str(MEMORY_BYTES), given=given()) as child:
            while block := child.answer.read(READ_BYTES):
                size += len(block)
                if size > max(SMALL_BYTES, MOST_TIMES * fed):
                    raise BrokenFileError(
                        f"unpacks to more than {MOST_TIMES} times its size, as no table does: correct or remove it"
                    )
                plain.write(block)
            status = child.status()
        plain.flush()
        return Outcome(status) if status in set(Outcome) else Outcome.DAMAGED, plain


class _Plain(io.RawIOBase):
    """One reading of a file that several read at places of their own."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._place = 0
        self._size = os.fstat(file.fileno()).st_size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next bytes are read."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(start + offset, 0)
        return self._place

    def readinto(self, target: Any) -> int:
        """Fill a buffer, or a part of it."""
        found = os.preadv(self._file.fileno(), [target], self._place)
        self._place += found
        return found
