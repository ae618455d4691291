"""The child process that decrypts one file by pysequoia: see `encrypted`.

It imports nothing of ours, and reads by its standard input first the length of a JSON object with key and passphrase,
then that, then the file.
"""

import json
import os
import resource
import sys
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pysequoia import PyDecryptor, Tsk


class Outcome(IntEnum):
    """How the child ended, as its exit status."""

    DECRYPTED = 0
    NO_KEY = 10
    PASSPHRASE = 11
    OTHER_KEY = 12
    ALTERED = 13
    WEAK = 14
    OCB = 15
    DAMAGED = 16


_BY_WORDS = {
    "No key to decrypt": Outcome.OTHER_KEY,
    "has been manipulated": Outcome.ALTERED,
    "aead::Error": Outcome.ALTERED,
    "AEAD Encrypted Data Packet": Outcome.OCB,
    "Policy rejected": Outcome.WEAK,
}
"""What Sequoia says, which has no classes of errors. Other words are those of a damaged file."""


def main(memory_bytes: int) -> Outcome:
    """Decrypt from standard input to standard output."""
    # No image of the memory, which holds the key, is left by one that dies.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    from pysequoia import Tsk, decrypt_file  # noqa: PLC0415  # the parent reads this module for its outcomes

    said = json.loads(_exactly(int.from_bytes(_exactly(4), "big")))
    try:
        key = Tsk.from_bytes(said["key"].encode())
    except RuntimeError:
        return Outcome.NO_KEY
    try:
        decryptor = _decryptor(key, said["passphrase"])
    except RuntimeError as error:
        return Outcome.NO_KEY if "No suitable" in str(error) else Outcome.PASSPHRASE
    try:
        decrypt_file("/dev/stdin", "/dev/stdout", decryptor=decryptor)
    except BaseException as error:  # a panic of Rust is none of Exception
        words = str(error)
        return next((outcome for part, outcome in _BY_WORDS.items() if part in words), Outcome.DAMAGED)
    return Outcome.DECRYPTED


def _decryptor(key: "Tsk", passphrase: str | None) -> "PyDecryptor":
    try:
        return key.decryptor()
    except RuntimeError:
        if passphrase is None:
            raise
        return key.decryptor(passphrase)


def _exactly(count: int) -> bytes:
    # Not buffered: what follows is read by others.
    found = b""
    while len(found) < count:
        block = os.read(0, count - len(found))
        if not block:
            raise EOFError
        found += block
    return found


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
