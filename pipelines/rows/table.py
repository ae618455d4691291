"""The table that rows land in, as far as their way there must know it: names, types, keys, and what users declare."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from pipelines.remarks import Remarks
from pipelines.rows.names import ColumnNames, Rule
from pipelines.wording import quoted


@dataclass
class Table:
    """One table while its rows are read. `known` is dlt's type by landed column, and learns what is new."""

    name: str = ""
    names: ColumnNames = field(default_factory=lambda: ColumnNames(Rule()))
    known: dict[str, str] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()
    """The columns of the key, as they land."""
    types: Mapping[str, str] = field(default_factory=dict)
    """The type that the connector declares of a column, by the name that it writes."""
    presumed: Mapping[str, str] | None = None
    """The types that a reader knows of new columns of text, by the source's names; of all others that they are texts.
    None: it knows none."""
    remarks: Remarks = field(default_factory=Remarks)
    comma: bool = False
    """Numbers in texts are written with a comma, as in 7,40."""
    days: Set[str] = frozenset()
    """Columns that hold days or moments, perhaps parts of one, by the source's names: `2024` is no number there."""

    def __post_init__(self) -> None:
        self._declared = {Rule().landed(name): kind for name, kind in self.types.items()}

    def copied(self) -> "Table":
        """Another that knows the same, and learns by itself."""
        return replace(self, names=self.names.copied(), known=dict(self.known))

    def columns(self, names: Sequence[str]) -> tuple[str, ...]:
        """The landed names of a page's columns; what had to be told apart is told."""
        told = set(self.names.told_apart)
        landed = self.names.of(names)
        for name in sorted(self.names.told_apart.keys() - told):
            column = self.names.told_apart[name]
            self.remarks.add(
                f"Column {quoted([name])} of table {self.name} lands as '{column}': "
                f"another column has the name '{column.rpartition('_')[0]}'."
            )
        return landed

    def presumption(self, name: str) -> str | None:
        """The type that the reader knows of a column."""
        return None if self.presumed is None else self.presumed.get(name, "text")

    def declared(self, name: str, landed: str) -> str | None:
        """The type that the connector declares of a column, unless loads before have given it another."""
        kind = self.types.get(name) or self._declared.get(landed)
        before = self.known.get(landed)
        if kind is None or before in {None, kind}:
            return kind
        self.remarks.add(
            f"types says {kind} for {quoted([name])} of table {self.name}, which is {before} since an earlier load: "
            "run a full refresh to change that."
        )
        return None
