"""Wishes: what a run wants of a table whose rows may stream. Known of every source, so nothing heavy is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connectors.sources.write_rules import SchemaContract, WriteDisposition
from pipelines.rows.types.columns import Column


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run wants of a table."""

    disposition: str = WriteDisposition.APPEND.value
    key: Sequence[str] = ()
    cursor: str | None = None
    contract: SchemaContract | None = None
    known: Mapping[str, Column] = field(default_factory=dict)
    """The columns that stand in the destination."""
    required: Sequence[str] = ()
    """Columns that take no empty value there."""
    split: int | None = None
    """How many runs copy it at once where it is loaded as a whole; None: by its size."""
    bytes_a_run: int | None = None
    """How many bytes are for one run then; None: all."""
    masks: frozenset[str] = frozenset()
    """What is masked, by letters and digits."""
