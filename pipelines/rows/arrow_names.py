"""Arrow tables with the names under which their columns land, and the types that the connector declares."""

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from connectors.sources.write_rules import BESIDE, normalised
from pipelines.rows.marks import is_beside, with_own
from pipelines.rows.table import Table
from pipelines.rows.types.arrivals import JSON_TEXT, json_column
from pipelines.rows.types.declared_types import as_declared
from pipelines.rows.valueless import table_of


def renamed(found: pa.Table, table: Table, json: Collection[str] = ()) -> pa.Table:
    """A reader's table, of which some columns may stand beside others already, and some texts are JSON."""
    beside = _beside(found.column_names)
    plain = [name for name in found.column_names if name not in beside]
    landed = dict(zip(plain, table.columns(plain), strict=True))
    arrays: dict[str, pa.ChunkedArray] = {}
    own: set[str] = set()
    texts: list[str] = []
    for name, values in zip(found.column_names, found.columns, strict=True):
        if name in beside:
            place = landed[beside[name]] + name[name.index(BESIDE) :]
            arrays[place] = values
            own |= set() if is_beside(found.schema.field(name)) else {place}
        elif declared := table.declared(name, landed[name]):
            for column, array, _ in as_declared(landed[name], values.to_pylist(), declared):
                arrays[column] = pa.chunked_array([array])
            texts += [landed[name]] if declared == "text" else []
        elif name in json and pa.types.is_string(values.type):
            arrays[landed[name]] = pa.chunked_array([json_column(chunk) for chunk in values.chunks], JSON_TEXT)
        else:
            arrays[landed[name]] = values
    for name in texts:
        # What the reader had no type for, such as NaN or infinity, is a text as all others are.
        if (place := f"{name}{BESIDE}text") in arrays and place not in own:
            words = arrays.pop(place)
            arrays[name] = pc.coalesce(arrays[name], words) if name in arrays else words
    return with_own(table_of(arrays, found.num_rows), own)


def _beside(names: Sequence[str]) -> dict[str, str]:
    """Of each column that stands beside another, the name of that one."""
    plain = {normalised(name): name for name in names}
    found = {}
    for name in names:
        base, mark, _ = name.partition(BESIDE)
        if mark and (base in names or base in plain):
            found[name] = base if base in names else plain[base]
    return found
