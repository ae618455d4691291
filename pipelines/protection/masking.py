"""Masked columns: a keyed hash in place of the value, before anything is written to a disk.

The hash is HMAC-SHA256, so equal values stay equal (a masked patient number still joins, be it a number in one source
and a text in the other) while nobody without the key can try out all numbers. The key is an installation's own:
`CAI_SECRET_MASK_KEY`, or a file made once in the data directory. With another key the same value hashes to something
else, so workers on several machines, and those that keep no files, need the variable.

A name in `mask` hides every column that is spelled with the same letters and digits, in capitals or not: `Patient ID`,
`PATIENTID` and `patient_id` are one patient's number, however the next file writes it.

A name in `mask` that no column has would mask nothing, and the column that was meant would land in clear. So a mask
remembers the columns that it met of each table, and the run is refused before it writes: if every table told its
columns, and rows of this kind don't leave some of them out at will.
"""

import logging
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from connectors.sources import Source
from connectors.sources.write_rules import BESIDE, letters_and_digits
from pipelines.errors import ConfigurationError
from pipelines.protection.methods.hashing import hashing
from pipelines.wording import quoted
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


class Mask:
    """What a run does to the masked columns of a connector's rows, and what it met of them.

    `optional`: rows leave out columns at will, so that one which none has had is no sign of a misspelt name.
    """

    def __init__(self, columns: Collection[str] = (), key: bytes = b"", *, optional: bool = False) -> None:
        self._columns = {letters_and_digits(column): column for column in columns}
        self._hashing = hashing(key)
        self._optional = optional
        self._declared: set[str] = set()
        self._loaded: dict[str, set[str]] = {}
        """Of each table, the columns of all loads before, as they land."""
        self._met: dict[str, dict[str, str | None]] = {}
        """Of each table, every column that came by, as the source calls it, and the name that masks it, if any."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What the names of masked columns have in common with theirs in the table: see `letters_and_digits`."""
        return tuple(self._columns)

    @property
    def met(self) -> tuple[str, ...]:
        """The masked columns that came by, as the connector names them."""
        hidden = {name for columns in self._met.values() for name in columns.values()}
        return tuple(name for name in self._columns.values() if name in hidden)

    @property
    def missed(self) -> tuple[str, ...]:
        """The names of which neither the source nor a row, of this run or of one before, has a column."""
        known = self._declared.union(*self._loaded.values())
        return tuple(name for column, name in self._columns.items() if column not in known and name not in self.met)

    def declare(self, columns: Iterable[str], *, complete: bool = False) -> None:
        """Take note of columns that the source says it has, read now or not. `complete`: it has no others.

        Raises:
            ConfigurationError: when it has no others, and the mask names one.
        """
        self._declared.update(map(letters_and_digits, columns))
        if complete and self.missed:
            self._refuse("or remove it")

    def remember(self) -> Callable[[], None]:
        """Note what was met by now; what is given takes it back to that, when rows that were read do not land."""
        met = {table: dict(columns) for table, columns in self._met.items()}

        def forget() -> None:
            for table, columns in self._met.items():
                columns.clear()
                columns.update(met.get(table, {}))

        return forget

    def put_into(self, resource: "DltResource", loaded: Mapping[str, str] | None = None) -> None:
        """Let a resource's pipe mask, right after its reader. `loaded`: the types of its table's columns so far.

        Raises:
            ConfigurationError: when a column holds other values than text so far, which no hash goes beside.
        """
        if not self._columns:
            return
        of_loads_before = loaded or {}
        for column, kind in of_loads_before.items():
            if kind != "text" and (hiding := self._hiding(column)) is not None:
                name = quoted([hiding])
                raise ConfigurationError(
                    f"source.mask names {name}, which {resource.name} holds in clear, as {kind}, from loads before: "
                    "run a full refresh, which removes that and loads everything masked."
                )
        self._loaded[resource.name] = set(map(letters_and_digits, of_loads_before))
        met = self._met.setdefault(resource.name, {})
        # Before the cursor's step, which keeps hashes of rows in the state.
        resource.add_map(lambda item: self._masked(item, met), insert_at=1)
        if isinstance(columns := resource.columns, dict):
            for name in columns:
                if self._hiding(name):
                    # Of whatever type it was, with whatever precision.
                    columns[name] = {"name": name, "data_type": "text"}

    def check(self, *, every_table: bool) -> None:
        """Compare the mask with the rows that were read. `every_table`: the run is not of some tables only.

        Raises:
            ConfigurationError: when there were rows, every table has told its columns, and none has one for a name.
        """
        if not self.missed:
            return
        told = all(columns or self._loaded[table] for table, columns in self._met.items())
        if any(self._met.values()) and told and every_table and not self._optional:
            # Without its name in the mask, a column that only a later row has would land in clear.
            self._refuse("or run it again when a row has it")
        logger.warning(
            "source.mask names %s, and none of this run's tables has had such a column so far. "
            "Compare it with the source: if it is misspelt, the column that is meant lands in clear.",
            quoted(self.missed),
        )

    def _refuse(self, way_out: str) -> NoReturn:
        raise ConfigurationError(
            f"source.mask names {quoted(self.missed)}, which no table of this connector has: "
            f"correct the spelling, {way_out}. Nothing was loaded."
        )

    def _masked(self, item: Any, met: dict[str, str | None]) -> Any:
        """A row, an Arrow table or a bare value, masked."""
        hashed = self._hashing.of
        if isinstance(item, dict):
            return {name: hashed(value) if self._hides(name, met) else value for name, value in item.items()}
        if hasattr(item, "schema"):
            return self._arrow(item, met)
        return hashed(item) if self._hides("value", met) else item  # the column in which such values land

    def _hides(self, name: str, met: dict[str, str | None]) -> bool:
        if name not in met:
            met[name] = self._hiding(name)
        return met[name] is not None

    def _hiding(self, name: str) -> str | None:
        """The name of the mask that hides a column, if one does."""
        # What did not fit its column stands beside it, as `column__v_text`.
        whole, beside = letters_and_digits(name), letters_and_digits(name.partition(BESIDE)[0])
        return self._columns.get(whole, self._columns.get(beside))

    def _arrow(self, table: Any, met: dict[str, str | None]) -> Any:
        import pyarrow as pa  # noqa: PLC0415  # only where a source yields Arrow

        from pipelines.protection.methods.arrow_hashes import hashes, once_each  # noqa: PLC0415

        for index, field in enumerate(table.schema):
            if self._hides(field.name, met):
                values = once_each(table.column(index), lambda distinct: hashes(distinct, self._hashing))
                table = table.set_column(index, pa.field(field.name, pa.string(), metadata=field.metadata), values)
        return table


def mask_of(source: Source, settings: Settings) -> Mask:
    """The mask of a connector for one run.

    Raises:
        ConfigurationError: when there is no key, and none may be made here.
    """
    key = masking_key(settings.data_dir, required=settings.mask_key_required) if source.mask else b""
    return Mask(source.mask, key, optional=source.type == "fhir")
