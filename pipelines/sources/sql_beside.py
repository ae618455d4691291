"""Columns beside a column: where the values of a database go that the column's own type can't hold, and who is told."""

from collections import Counter

import pyarrow as pa

from connectors.landing import normalised
from pipelines.errors import quoted
from pipelines.loading.remarks import Remarks


class Beside:
    """Counts the values of one table that land beside their columns, and tells of them once."""

    def __init__(self, table: str, remarks: Remarks) -> None:
        self._table = table
        self._remarks = remarks
        self._counts: Counter[str] = Counter()

    def count(self, column: str, texts: pa.Array) -> str:
        """Count texts, and the name of the column in which they land."""
        self._counts[column] += len(texts) - texts.null_count
        return f"{normalised(column)}__v_text"

    def tell(self) -> None:
        """Say for each column how many values were counted. To be called when the table is read."""
        for column, count in self._counts.items():
            values = "1 value" if count == 1 else f"{count} values"
            stand = (
                "is beyond what its type holds and stands" if count == 1 else "are beyond what its type holds and stand"
            )
            self._remarks.add(
                f"{values} of column {quoted([column])} of table {quoted([self._table])} {stand} as text in "
                f"{quoted([f'{normalised(column)}__v_text'])}."
            )
