"""Masked columns: a keyed hash in place of the value, before anything is written to a disk.

The hash is HMAC-SHA256, so equal values stay equal (a masked patient number still joins) while nobody without the key
can try out all numbers. The key is an installation's own: `CAI_SECRET_MASK_KEY`, or a file made once in the data
directory. With another key the same value hashes to something else, so workers on several machines need the variable.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from connectors.landing import normalised

KEY_VARIABLE = "CAI_SECRET_MASK_KEY"


def masking_key(data_dir: Path) -> bytes:
    """The installation's key: from the environment, else from `{data_dir}/mask.key`, which is made when absent."""
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return given.encode()
    path = data_dir / "mask.key"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(f".{os.getpid()}")
        made.touch(mode=0o600)
        made.write_text(secrets.token_hex(32))
        # A link fails when another run was faster, whose key then counts. If the process dies here, a stray file stays.
        try:
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink()
    return path.read_text().strip().encode()


def hashed(value: Any, key: bytes) -> str | None:
    """The keyed hash of a value, as 64 hexadecimal digits; an absent value stays absent."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def masker(columns: Collection[str], key: bytes) -> Callable[[Any], Any]:
    """A function for a resource's pipe: takes a row, a list of rows or an Arrow table and gives it back masked."""
    masked = {normalised(column) for column in columns}

    def mask(item: Any) -> Any:
        if isinstance(item, dict):
            return {name: hashed(value, key) if normalised(name) in masked else value for name, value in item.items()}
        if isinstance(item, list):
            return [mask(row) for row in item]
        return _mask_arrow(item, masked, key)

    return mask


def _mask_arrow(table: Any, masked: set[str], key: bytes) -> Any:
    import pyarrow as pa  # noqa: PLC0415  # only where a source yields Arrow

    for index, field in enumerate(table.schema):
        if normalised(field.name) in masked:
            # Each distinct value once: identifiers repeat, and a hash costs more than a look-up.
            known: dict[Any, str | None] = {}
            values = [
                known[value] if value in known else known.setdefault(value, hashed(value, key))
                for value in table.column(index).to_pylist()
            ]
            table = table.set_column(index, pa.field(field.name, pa.string()), pa.array(values, pa.string()))
    return table
