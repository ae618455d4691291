"""Key pairs for SMART Backend Services: `python -m api.sources.key_pairs KEY_ID --file KEY.pem` makes one.

The private key goes into a file that its owner alone may read, and from there into a credential; the public one is
printed as the value of CAI_PUBLIC_KEYS, which the REST API serves at /.well-known/jwks.json. If the process dies after
the file was written, nothing was served yet: delete the file and make another pair.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey, RSAKey

from settings import Settings


class Algorithm(StrEnum):
    """How assertions are signed, by the names of JSON Web Algorithms."""

    ES384 = "ES384"
    RS384 = "RS384"


RSA_BITS = 3072


def make_pair(key_id: str, algorithm: Algorithm) -> tuple[bytes, dict[str, Any]]:
    """A private key as PEM and its public half as JWK."""
    parameters: Any = {"kid": key_id, "alg": algorithm, "use": "sig", "key_ops": ["verify"]}
    key: ECKey | RSAKey = ECKey.generate_key("P-384") if algorithm is Algorithm.ES384 else RSAKey.generate_key(RSA_BITS)
    return key.as_pem(private=True), {**key.as_dict(private=False), **parameters}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m api.sources.key_pairs", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("key_id", help="the kid, of your choice, such as hospital-2026")
    parser.add_argument("--file", type=Path, required=True, help="where the private key goes; must not exist yet")
    parser.add_argument("--algorithm", choices=[*Algorithm], type=Algorithm, default=Algorithm.ES384)
    asked = parser.parse_args(arguments)
    standing = Settings().public_keys
    if asked.key_id in {key["kid"] for key in standing}:
        sys.exit(f"CAI_PUBLIC_KEYS has a key named {asked.key_id} already: choose another name.")
    private, public = make_pair(asked.key_id, asked.algorithm)
    try:
        handle = os.open(asked.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        sys.exit(f"{asked.file} can't be made: {error.strerror}. Name a file that is not there yet.")
    with os.fdopen(handle, "wb") as file:
        file.write(private)
    print(json.dumps([*standing, public], separators=(",", ":")))
    print(
        f"The private key is in {asked.file}: make a credential of it, then delete the file. "
        "The line above is the value of CAI_PUBLIC_KEYS.",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
