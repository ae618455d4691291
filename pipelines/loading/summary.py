"""Summary of a run that is done: rows, new columns, durations, bytes, and since when the increments are.

The same facts twice: `sentence` for the state of the flow run and `markdown` for its artifact.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from connectors.comparisons import TableComparison
from connectors.loads import Sweep, TableLoad
from pipelines.loading.columns.shape_changes import Change, words_of
from pipelines.wording import counted


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run loaded. Rows and new columns by table, seconds by step, bytes as written for the loader."""

    connector_id: int
    destination: str
    dataset: str
    rows: dict[str, int] = field(default_factory=dict)
    new_columns: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    size_bytes: int = 0
    since: dict[str, str] = field(default_factory=dict)
    full_refresh: bool = False
    masked: tuple[str, ...] = ()
    """The masked columns that were among what was read."""
    protected: tuple[str, ...] = ()
    """The columns that did not land as they are, each with what became of it."""
    rows_left_out: int = 0
    """Rows that a schema contract kept out."""
    remarks: tuple[str, ...] = ()
    """What people must know of the rows: a sentence each, without any value of a row."""
    withheld: tuple[str, ...] = ()
    """Tables of which rows are gone at the source, too many to be deleted unasked: those that are new among them."""
    sweeps: tuple[Sweep, ...] = ()
    """The tables that were looked through for rows that are gone."""
    settled: tuple[str, ...] = ()
    """Tables whose checks were all judged, and let the load through."""
    changes: tuple[Change, ...] = ()
    """Columns that are not what they were at the source."""
    news: str = ""
    """What nobody has heard of before, of those."""
    asks: bool = False
    """A person is asked before such a change lands."""
    compared: tuple[str, ...] = ()
    """Of a run that loads nothing and compares: a sentence a table."""
    comparisons: tuple[TableComparison, ...] = ()
    """The tables that were compared with the source. They hold keys, and go nowhere but into their table."""
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of what was loaded, their types by table, where lineage is told."""
    tables: tuple[TableLoad, ...] = ()
    """The same and more by table, for the load history."""

    def redacted(self, redact: Callable[[str], str]) -> "Summary":
        """The same without secrets: a source that echoes what it was sent may have put them into rows and remarks."""
        return replace(
            self,
            rows={redact(table): count for table, count in self.rows.items()},
            new_columns={table: [redact(name) for name in names] for table, names in self.new_columns.items()},
            since={table: redact(value) for table, value in self.since.items()},
            masked=tuple(redact(name) for name in self.masked),
            protected=tuple(redact(name) for name in self.protected),
            remarks=tuple(redact(remark) for remark in self.remarks),
            compared=tuple(redact(sentence) for sentence in self.compared),
            withheld=tuple(redact(table) for table in self.withheld),
            tables=tuple(_redacted(table, redact) for table in self.tables),
            sweeps=tuple(replace(sweep, table_name=redact(sweep.table_name)) for sweep in self.sweeps),
        )

    def telling(self, new: Collection[str]) -> "Summary":
        """The same, with a sentence about changes that nobody has heard of, each as `table.column`."""
        told = [each for each in self.changes if f"{each.table_name}.{each.column_name}" in new]
        if not told:
            return self
        by_table: dict[str, list[Change]] = {each.table_name: [] for each in told}
        for each in told:
            by_table[each.table_name].append(each)
        words = "; ".join(f"of table {table}, {', '.join(words_of(found))}" for table, found in by_table.items())
        wait = " Nothing of it lands until somebody approves it." if self.asks else ""
        return replace(self, news=f"The source has changed: {words}.{wait}")

    @property
    def total_rows(self) -> int:
        """Rows of all tables."""
        return sum(self.rows.values())

    @property
    def total_rejected(self) -> int:
        """Rows of all tables that a schema contract left out."""
        return sum(table.rejected for table in self.tables)

    @property
    def sentence(self) -> str:
        """What landed, and then the remarks: for a state message."""
        if self.compared:
            return " ".join(self.compared)
        return " ".join((self._outcome, *self._said))

    @property
    def _said(self) -> tuple[str, ...]:
        return (*self.remarks, self.news) if self.news else self.remarks

    @property
    def _outcome(self) -> str:
        if not self.total_rows and self.rows_left_out:
            return "No rows were loaded."
        if not self.total_rows:
            return "Nothing new at the source: no rows were loaded."
        tables = ", ".join(f"{name} {count:,}" for name, count in self.rows.items() if count)
        return f"Loaded {counted(self.total_rows, 'row')} into {self.destination} dataset {self.dataset}: {tables}."

    @property
    def markdown(self) -> str:
        """The artifact of a run."""
        total = sum(self.seconds.values())
        lines = [
            f"# Connector {self.connector_id}: {counted(self.total_rows, 'row')}",
            "",
            f"Into **{self.destination}**, dataset `{self.dataset}`"
            + (", after a full refresh." if self.full_refresh else "."),
            "",
            "| table | rows | increments since | new columns |",
            "|---|---:|---|---|",
        ]
        for table in sorted(self.rows):
            columns = ", ".join(f"`{name}`" for name in self.new_columns.get(table, ()))
            lines.append(f"| {table} | {self.rows[table]:,} | {self.since.get(table, '')} | {columns} |")
        if self.masked:
            lines += ["", f"Masked before they landed: {', '.join(f'`{name}`' for name in self.masked)}."]
        if self.protected:
            lines += ["", f"Protected before they landed: {', '.join(f'`{name}`' for name in self.protected)}."]
        lines += ["", *(f"- {sentence}" for sentence in self._said)] if self._said else []
        lines += ["", "| step | seconds |", "|---|---:|"]
        lines += [f"| {step} | {value:.1f} |" for step, value in self.seconds.items()]
        rate = self.total_rows / total if total else 0.0
        lines += ["", f"{rate:,.0f} rows/s, {self.size_bytes / 1e6:,.1f} MB of load files."]
        return "\n".join(lines)


def _redacted(table: TableLoad, redact: Callable[[str], str]) -> TableLoad:
    return replace(
        table,
        table_name=redact(table.table_name),
        cursor_from=None if table.cursor_from is None else redact(table.cursor_from),
        cursor_to=None if table.cursor_to is None else redact(table.cursor_to),
    )
