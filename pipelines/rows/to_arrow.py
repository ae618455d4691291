"""The step of a resource's pipe that makes Arrow tables with landed names and types: of JSON rows, of CSV, of tables.

Names and types go by what dlt's schema and state know of the table, so only while its source is being read. The state
is stored with the rows, in the same load: if the process dies, neither is there.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import dlt
import pyarrow as pa
from dlt.extract import DltResource
from dlt.extract.items_transform import ItemTransform

from connectors.sources.write_rules import landed_table, snake_case
from pipelines.remarks import Remarks
from pipelines.rows.arrow_names import renamed
from pipelines.rows.csv_to_arrow import PART_OF_DAY, typed
from pipelines.rows.json_to_arrow import json_columns
from pipelines.rows.names import ColumnNames, Rule
from pipelines.rows.table import Table
from pipelines.rows.types.arrivals import json_column
from pipelines.rows.types.known_types import column_types, table_name
from pipelines.rows.valueless import table_of

STATE = "column_names"
"""The key of a resource's state under which the names are recorded that a later load can't guess."""

END = pa.table({})
"""Goes through a pipe as it is, to tell a later step that what belongs together has come."""


class ToArrow(ItemTransform[Any, dict[str, Any]]):
    """Takes pages of rows or Arrow tables as a source has them, and gives Arrow tables as they land."""

    # After the mask, which knows the source's names, and the cursor, which compares values as the source wrote them.
    placement_affinity: ClassVar[float] = 2

    def __init__(
        self,
        resource: str,
        *,
        types: Mapping[str, str] | None = None,
        presumed: Mapping[str, str] | None = None,
        of_text: bool = False,
        comma: bool = False,
        keeps_digits: bool = False,
    ) -> None:
        """`of_text`: the tables are of text, as CSV is, and a reader may know the types of some (`presumed`).

        `keeps_digits`: see `json_columns`. `comma`: see `Table`.
        """
        super().__init__(lambda page: page)
        self.resource = resource
        self.types = dict(types or {})
        self._presumed = presumed
        self.keys: tuple[str, ...] = ()
        """The columns that the connector names as key and cursor."""
        self.remarks = Remarks()
        self.json: frozenset[str] = frozenset()
        """The columns of Arrow tables that are JSON, as the reader says beside them."""
        self._of_text = of_text
        self._comma = comma
        self._keeps_digits = keeps_digits
        self._days: set[str] = set()
        self._tables: dict[bool, Table] = {}

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """The page as one Arrow table; None for an empty one, which ends there."""
        if item is END:
            return item
        if isinstance(item, pa.RecordBatch):
            item = pa.Table.from_batches([item])
        is_arrow = isinstance(item, pa.Table)
        table = self._table(of_arrow=is_arrow and not self._of_text)
        if not is_arrow:
            found = self._of_rows(item if isinstance(item, list) else [item], table)
        elif self._of_text:
            found = typed(item, table)
        else:
            found = renamed(item, table, self.json)
        if table.names.changed:
            dlt.current.resource_state(self.resource)[STATE] = table.names.recorded
            table.names.changed = False
        return found

    def declare_text(self, column: str) -> None:
        """A column whose texts are none that a type may be found of: codes that a step before has made."""
        if self._of_text:
            self.types[column] = "text"

    def declare(self, types: Mapping[str, str]) -> None:
        """Take types of columns that the rows' file says itself. What the connector says goes before them."""
        for name, kind in types.items():
            if kind == PART_OF_DAY:
                self._days.add(name)
            else:
                self.types.setdefault(name, kind)

    def remember(self) -> Callable[[], None]:
        """Note what is known of names and types by now; what is given takes it back to that."""
        tables = {of_arrow: table.copied() for of_arrow, table in self._tables.items()}
        recorded = dlt.current.resource_state(self.resource).get(STATE)

        def forget() -> None:
            self._tables = tables
            state = dlt.current.resource_state(self.resource)
            if recorded is not None:
                state[STATE] = recorded
            else:
                state.pop(STATE, None)

        return forget

    def _of_rows(self, rows: list[Any], table: Table) -> Any:
        if not rows:
            return None
        columns = json_columns(rows, table, keeps_digits=self._keeps_digits)
        arrays = {name: json_column(array) if kind == "json" else array for name, array, kind in columns}
        return table_of(arrays, len(rows))

    def _table(self, *, of_arrow: bool) -> Table:
        if of_arrow not in self._tables:
            schema = dlt.current.source_schema()
            known = column_types(schema, self.resource)
            rule = Rule(schema.naming.max_length, of_arrow=of_arrow)
            names = ColumnNames(
                rule, keys=self.keys, columns=known, recorded=dlt.current.resource_state(self.resource).get(STATE)
            )
            keys = frozenset(names.of(self.keys)) if self.keys else frozenset()
            self._tables[of_arrow] = Table(
                name=table_name(schema, self.resource),
                names=names,
                known=known,
                keys=keys,
                types=self.types,
                presumed=self._presumed,
                remarks=self.remarks,
                comma=self._comma,
                days=self._days,
            )
        return self._tables[of_arrow]


def table_name_of(resource: DltResource, schema: dlt.Schema | None) -> str:
    """The table that a resource fills. `schema`: that of loads before, which a full refresh leaves behind."""
    return landed_table(resource.name) if schema is None else table_name(schema, resource.name)


def put_into(resource: DltResource, schema: dlt.Schema | None, remarks: Remarks, cursor: str | None = None) -> None:
    """Let a resource's pipe give its columns the names that they land by, and name its table and key likewise.

    `schema`: that of loads before, which a full refresh leaves behind.
    """
    step = next((step for step in resource._pipe.steps if isinstance(step, ToArrow)), None)
    if step is None:
        step = ToArrow(resource.name)
        resource.add_step(step)
    hint = (resource._hints or {}).get("primary_key")
    keys = [hint] if isinstance(hint, str) else list(hint) if isinstance(hint, list | tuple) else []
    step.remarks = remarks
    step.keys = tuple(dict.fromkeys((*keys, *([cursor] if cursor else []))))
    declared = resource.columns if isinstance(resource.columns, dict) else {}
    step.json = frozenset(name for name, hint in declared.items() if hint.get("data_type") == "json")
    table = table_name_of(resource, schema)
    if table != snake_case(resource.name):
        resource.apply_hints(table_name=table)
    if any(not key.isascii() for key in keys):
        columns = [] if schema is None else column_types(schema, resource.name)
        resource.apply_hints(primary_key=list(ColumnNames(Rule(), keys=keys, columns=columns).of(keys)))
