"""Columns beside a column: where the values of a database go that the column's own type can't hold.

The last step of a resource's pipe counts them and tells of them (`pipelines.rows.fitting`).
"""

from collections.abc import Collection

from connectors.sources.write_rules import BESIDE


def beside(column: str, taken: Collection[str]) -> str:
    """The column in which the texts stand: by the source's own name, and by none of those that the table has."""
    name = found = f"{column}{BESIDE}text"
    number = 1
    while found in taken:  # a table that was loaded by this program once
        number += 1
        found = f"{name}_{number}"
    return found
