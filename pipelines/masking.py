"""Masked columns: a keyed hash in place of the value, before anything is written to a disk.

The hash is HMAC-SHA256, so equal values stay equal (a masked patient number still joins, be it a number in one source
and a text in the other) while nobody without the key can try out all numbers. The key is an installation's own:
`CAI_SECRET_MASK_KEY`, or a file made once in the data directory. With another key the same value hashes to something
else, so workers on several machines, and those that keep no files, need the variable.

A name in `mask` that no column has would mask nothing, and the column that was meant would land in clear. So a mask
remembers the columns that it met, and the run is refused before it writes.
"""

import functools
import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Collection, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectors.kinds import Source
from connectors.landing import normalised
from pipelines.errors import ConfigurationError
from settings import Settings

if TYPE_CHECKING:
    from dlt.extract import DltResource

KEY_VARIABLE = "CAI_SECRET_MASK_KEY"

logger = logging.getLogger("prefect.pipelines")


def masking_key(data_dir: Path, *, required: bool = False) -> bytes:
    """The installation's key: from the environment, else from `{data_dir}/mask.key`, which is made when absent.

    Raises:
        ConfigurationError: when it is `required` from the environment and isn't there.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return given.encode()
    if required:
        raise ConfigurationError(
            f"The connector masks columns, and the worker has no key to do it with. Set {KEY_VARIABLE}: this worker "
            "keeps no files, so a key made here would be another one in the next run."
        )
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
    return None if value is None else hmac.new(key, _as_text(value).encode(), hashlib.sha256).hexdigest()


def _as_text(value: Any) -> str:
    """A value as every source would write it: 7, 7.0 and a decimal of any scale are the same number."""
    match value:
        case bool() | dict() | list():
            return json.dumps(value, sort_keys=True, default=str)
        case float() if value.is_integer():
            return str(int(value))
        case Decimal():
            digits = f"{value:f}"
            return digits.rstrip("0").rstrip(".") if "." in digits else digits
    return str(value)


def refuse_unknown(columns: Collection[str], known: Collection[str]) -> None:
    """Refuse names of `source.mask` that are not among the columns of a connector's tables, as they land.

    Raises:
        ConfigurationError: naming them.
    """
    if unknown := [column for column in columns if normalised(column) not in known]:
        raise ConfigurationError(
            f"source.mask names {', '.join(unknown)}, which no table of this connector has: "
            "correct the spelling or remove it. Nothing was loaded."
        )


class Mask:
    """What a run does to the masked columns of a connector's rows, and what it met of them.

    `by_rows`: only rows tell which columns there are. A database's reader knows them, and compares before it reads.
    """

    def __init__(self, columns: Collection[str], key: bytes, *, by_rows: bool = True) -> None:
        self._columns = {normalised(column): column for column in columns}
        self._key = key
        self._by_rows = by_rows
        self._met: dict[str, bool] = {}
        """Every column that came by, as the source calls it, and whether it is masked."""

    @property
    def met(self) -> tuple[str, ...]:
        """The masked columns that came by, as the connector names them."""
        landed = self._landed()
        return tuple(name for column, name in self._columns.items() if column in landed)

    @property
    def missed(self) -> tuple[str, ...]:
        """The names of which no row had a column; none as long as there was no row."""
        return tuple(name for name in self._columns.values() if name not in self.met) if self._met else ()

    def put_into(self, resource: "DltResource", loaded: Mapping[str, str] | None = None) -> None:
        """Let a resource's pipe mask, right after its reader. `loaded`: the types of its table's columns so far.

        Raises:
            ConfigurationError: when a column holds other values than text so far, which no hash goes beside.
        """
        if not self._columns:
            return
        for column, kind in (loaded or {}).items():
            if column in self._columns and kind != "text":
                raise ConfigurationError(
                    f"source.mask names {self._columns[column]}, which {resource.name} holds in clear, as {kind}, "
                    "from loads before: run a full refresh, which removes that and loads everything masked."
                )
        # Before the cursor's step, which keeps hashes of rows in the state.
        resource.add_map(self, insert_at=1)
        if isinstance(columns := resource.columns, dict):
            for name in columns:
                if self._hides(name):
                    # Of whatever type it was, with whatever precision.
                    columns[name] = {"name": name, "data_type": "text"}

    def check(self, loaded: Collection[str], *, every_table: bool) -> None:
        """Compare the mask with the rows that were read. `loaded`: the columns that these and all loads before have.

        A run of some tables can't know: the column may be in another one.

        Raises:
            ConfigurationError: when there were rows, and no column for a name.
        """
        if not self._by_rows or not self._met:
            return
        if every_table:
            refuse_unknown(self._columns.values(), {*self._landed(), *loaded})
        elif self.missed:
            logger.warning("source.mask names %s, which none of the tables of this run has.", ", ".join(self.missed))

    def __call__(self, item: Any) -> Any:
        """A row, an Arrow table or a bare value, masked."""
        if isinstance(item, dict):
            return {name: hashed(value, self._key) if self._hides(name) else value for name, value in item.items()}
        if hasattr(item, "schema"):
            return self._arrow(item)
        return hashed(item, self._key) if self._hides("value") else item  # the column in which such values land

    def _landed(self) -> set[str]:
        return {normalised(name) for name in self._met}

    def _hides(self, name: str) -> bool:
        hides = self._met.get(name)
        if hides is None:
            # What did not fit its column stands beside it, as `column__v_text`.
            hides = self._met[name] = normalised(name.partition("__v_")[0]) in self._columns
        return hides

    def _arrow(self, table: Any) -> Any:
        import pyarrow as pa  # noqa: PLC0415  # only where a source yields Arrow

        for index, field in enumerate(table.schema):
            if self._hides(field.name):
                of_value = functools.partial(hashed, key=self._key)
                # Each distinct value once: identifiers repeat. Lists and structs can't be looked up.
                once = of_value if pa.types.is_nested(field.type) else functools.cache(of_value)
                values = pa.array([once(value) for value in table.column(index).to_pylist()], pa.string())
                table = table.set_column(index, pa.field(field.name, pa.string()), values)
        return table


def mask_of(source: Source, settings: Settings) -> Mask:
    """The mask of a connector for one run.

    Raises:
        ConfigurationError: when there is no key, and none may be made here.
    """
    key = masking_key(settings.data_dir, required=settings.mask_key_required) if source.mask else b""
    return Mask(source.mask, key, by_rows=source.type != "sql_database")
