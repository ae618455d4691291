"""The newest of all rows of one key in a load: by its cursor, and among equal ones the last that came.

dlt's merge keeps the first of two rows in DuckDB and PostgreSQL, and some of each over several files; Delta takes both
and then fails for ever. So the files of a load are looked at between reading and loading, over all pages and files of a
table: keys that come more than once are found by DuckDB, over the columns of the key alone and with a limit on memory,
and the files that hold older versions are written without them. dlt is told that nothing comes twice, which saves its
own search in the destination.

If the process dies here, nothing was written anywhere: the next run reads again.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from dlt import Pipeline
from dlt.common.pipeline import ExtractInfo

from connectors.sources.write_rules import BESIDE
from pipelines.sources.sql.names import quoted_name

DEDUPLICATED: dict[str, Any] = {"x-stage-data-deduplicated": True}
"""The hint by which dlt's merge leaves out its own search for keys that come twice."""

MEMORY = "200MB"
"""Beyond this DuckDB writes to disk: keys of any number of rows are compared."""

THREADS = 2

FEW = 50_000
"""Rows up to which keys are compared in memory."""


@dataclass(slots=True)
class Versions:
    """The order of two versions of a row: the column of their cursor, and what its values are compared by."""

    column: str
    order: Callable[[Any], Any]
    key: tuple[str, ...]
    known: list[pa.Table] = field(default_factory=list)
    """Rows that came and were left out, since they stand in the destination: an older version must not replace them."""

    def note(self, rows: pa.Table) -> None:
        """Take note of rows that are known. Only what compares them is kept."""
        of_cursor = f"{self.column}{BESIDE}"
        compared = {*self.key, self.column}
        self.known.append(
            rows.select([name for name in rows.column_names if name in compared or name.startswith(of_cursor)])
        )


@dataclass(slots=True)
class Extracted:
    """The files of one table in one load, in the order in which they were written."""

    name: str
    key: tuple[str, ...]
    files: list[Path] = field(default_factory=list)


def keep_newest(
    pipeline: Pipeline, extracted: ExtractInfo, directory: Path, versions: Mapping[str, Versions | None]
) -> dict[str, int]:
    """Leave the newest row of each key in the files that were extracted; how many others there were, by table.

    `directory`: for what outgrows memory.
    """
    tables = [
        table
        for table in tables_of(pipeline, extracted, "primary_key")
        if table.files and not _is_single(table, versions.get(table.name))
    ]
    if not tables:
        return {}
    with connected(directory) as connection:
        return {table.name: _in_table(connection, table, versions.get(table.name)) for table in tables}


@contextlib.contextmanager
def connected(directory: Path) -> Iterator[Any]:
    """A DuckDB in memory, which writes to a directory what outgrows that."""
    import duckdb  # noqa: PLC0415  # a load of few rows does without

    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute(
            f"SET memory_limit = '{MEMORY}'; SET threads = {THREADS}; SET preserve_insertion_order = false"
        )
        connection.execute("SET temp_directory = ?", [str(directory / "keys")])
        yield connection


def tables_of(pipeline: Pipeline, extracted: ExtractInfo, hint: str) -> Iterator[Extracted]:
    """The merged tables of a load with a key of this sort, with their files."""
    schema = pipeline.default_schema
    written: dict[str, list[tuple[float, Path]]] = {}
    for metrics in (found for steps in extracted.metrics.values() for found in steps):
        for job, of_file in metrics["job_metrics"].items():
            if job.endswith(".parquet"):
                written.setdefault(job.split(".")[0], []).append((of_file.created, Path(of_file.file_path)))
    folder = {
        Path(job.file_path).name: Path(job.file_path)
        for package in extracted.load_packages
        for job in package.jobs["new_jobs"]
    }
    for name, files in written.items():
        table = schema.tables[name]
        columns = table["columns"]
        key = tuple(column for column, of_column in columns.items() if of_column.get(hint))
        if key and table.get("write_disposition") == "merge":
            yield Extracted(
                name,
                key=key,
                files=[folder[path.name] for _, path in sorted(files, key=lambda one: one[0]) if path.name in folder],
            )


def _is_single(table: Extracted, versions: Versions | None) -> bool:
    """Whether no key comes twice in a table of few rows, without DuckDB, whose start costs more than such a load."""
    rows = sum(pyarrow.parquet.read_metadata(path).num_rows for path in table.files)
    if rows > FEW or (versions is not None and versions.known):
        return False
    keys = pa.concat_tables([columns_of(path, table.key) for path in table.files])
    try:
        return _are_distinct(keys)
    except pa.ArrowNotImplementedError:
        return False


def _are_distinct(rows: pa.Table) -> bool:
    """Whether no row is there twice, column by column: Arrow's own grouping costs some 30 MB as it is first used."""
    codes: Any = pa.array([0] * rows.num_rows, pa.int64())
    for column in rows.columns:
        if pa.types.is_floating(column.type):
            raise pa.ArrowNotImplementedError  # two zeros are one there
        encoded = _encoded(column.combine_chunks())
        both = pc.multiply(codes, max(len(encoded.dictionary), 1))
        codes = _encoded(pc.add(both, encoded.indices.cast(pa.int64()))).indices.cast(pa.int64())
    return bool(len(codes.unique()) == rows.num_rows)


def _encoded(values: Any) -> Any:
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    return pc.dictionary_encode(values, null_encoding="encode")


def columns_of(path: Path, names: Sequence[str]) -> pa.Table:
    """Some columns of a file, by one thread: Arrow's usual way opens a data set, which costs more than such a file."""
    with pyarrow.parquet.ParquetFile(path) as file:
        return file.read(columns=list(names), use_threads=False)


def _in_table(connection: Any, table: Extracted, versions: Versions | None) -> int:
    """Remove all but the newest row of each key from a table's files; how many those are."""
    schemas = [pyarrow.parquet.read_schema(path) for path in table.files]
    columns = _cursor_columns(versions, schemas)
    key = ", ".join(map(quoted_name, table.key))
    everything = f"SELECT {key} FROM {read_files(table)}"  # noqa: S608  # names, escaped; as all below
    if standing := _standing(table, columns, versions):
        connection.register("standing", standing)
        everything += f" UNION ALL SELECT {key} FROM standing"  # noqa: S608
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE doubled AS SELECT {key} FROM ({everything}) GROUP BY {key} "  # noqa: S608
        "HAVING count(*) > 1"
    )
    if connection.execute("SELECT 1 FROM doubled LIMIT 1").fetchone():
        compared = ", ".join(map(quoted_name, dict.fromkeys((*table.key, *columns))))
        rows = f"SELECT {compared}, __file, file_row_number AS __row FROM {read_files(table)}"  # noqa: S608
        if standing:
            rows += " UNION ALL BY NAME SELECT *, NULL AS __file, -1 AS __row FROM standing"
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE versions AS SELECT * FROM ({rows}) SEMI JOIN doubled USING ({key})"  # noqa: S608
        )
        return _remove_older(connection, table, _ranked(connection, columns, versions, schemas))
    return 0


def _standing(table: Extracted, columns: Sequence[str], versions: Versions | None) -> pa.Table | None:
    """The rows that stand in the destination, as far as they are compared."""
    if versions is None or not versions.known:
        return None
    compared = dict.fromkeys((*table.key, *columns))
    known = [rows.select([name for name in compared if name in rows.column_names]) for rows in versions.known]
    return pa.concat_tables(known, promote_options="default")


def _remove_older(connection: Any, table: Extracted, rank: str) -> int:
    arrived = pa.table({"__file": list(map(str, table.files)), "__arrived": list(range(len(table.files)))})
    connection.register("arrived", arrived)
    key = ", ".join(map(quoted_name, table.key))
    # What stands there already counts as having come first.
    older = connection.sql(
        f"SELECT __arrived, __row FROM (SELECT __arrived, __row, row_number() OVER (PARTITION BY {key} "  # noqa: S608
        f"ORDER BY {rank} DESC NULLS LAST, __arrived DESC NULLS LAST, __row DESC) AS place "
        "FROM versions LEFT JOIN arrived USING (__file)) "
        "WHERE place > 1 AND __arrived IS NOT NULL ORDER BY ALL"
    ).to_arrow_table()
    write_without(table.files, older)
    return int(older.num_rows)


def _cursor_columns(versions: Versions | None, schemas: list[pa.Schema]) -> tuple[str, ...]:
    """The column of the cursor, and those beside it, as far as the files have them."""
    if versions is None:
        return ()
    present = dict.fromkeys(name for schema in schemas for name in schema.names)
    return tuple(name for name in present if name == versions.column or name.startswith(f"{versions.column}{BESIDE}"))


def _is_ordered(schemas: list[pa.Schema], column: str) -> bool:
    """Whether the values of a column are in DuckDB's order: numbers and moments."""
    kinds = [schema.field(column).type for schema in schemas if column in schema.names]
    return all(pa.types.is_temporal(k) or pa.types.is_integer(k) or pa.types.is_decimal(k) for k in kinds)


def _ranked(connection: Any, columns: Sequence[str], versions: Versions | None, schemas: list[pa.Schema]) -> str:
    """The expression that says how new a version is; larger is newer."""
    if not columns or versions is None:
        return "0"
    if len(columns) == 1 and _is_ordered(schemas, columns[0]):
        return quoted_name(columns[0])
    # Texts, and what stands inside of JSON, are numbered by what they are compared by.
    names = ", ".join(map(quoted_name, columns))
    found = connection.sql(f"SELECT DISTINCT {names} FROM versions").to_arrow_table()  # noqa: S608
    orders = [versions.order(next((v for v in row.values() if v is not None), None)) for row in found.to_pylist()]
    places = {order: place for place, order in enumerate(sorted(set(orders)))}
    connection.register("ranks", found.append_column("__rank", pa.array([places[order] for order in orders])))
    same = " AND ".join(f"versions.{quoted_name(c)} IS NOT DISTINCT FROM ranks.{quoted_name(c)}" for c in columns)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE versions AS SELECT versions.*, __rank FROM versions JOIN ranks ON {same}"  # noqa: S608
    )
    connection.unregister("ranks")
    return "__rank"


def read_files(table: Extracted) -> str:
    """What DuckDB reads the files of a table by, with the file and the number of each row."""
    files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in table.files)
    return f"read_parquet([{files}], union_by_name = true, filename = '__file', file_row_number = true)"


def write_without(files: Sequence[Path], rows: pa.Table) -> None:
    """Write the files of a table without rows, each named by the number of its file and its own in it."""
    for index in rows["__arrived"].unique().to_pylist():
        _write_without(files[index], rows.filter(pc.equal(rows["__arrived"], index))["__row"])


def _write_without(path: Path, rows: pa.ChunkedArray) -> None:
    """Write a file without some of its rows; one of which nothing is left goes."""
    gone = rows.combine_chunks()
    source = pyarrow.parquet.ParquetFile(path)
    if len(gone) == source.metadata.num_rows:
        source.close()
        path.unlink()
        return
    kept = path.with_suffix(".kept")
    compression = source.metadata.row_group(0).column(0).compression
    with pyarrow.parquet.ParquetWriter(
        kept,
        source.schema_arrow,
        compression="none" if compression == "UNCOMPRESSED" else compression.lower(),
        use_dictionary=["_dlt_load_id"],
        write_statistics=False,
    ) as writer:
        first = 0
        for group in range(source.num_row_groups):
            of_group = source.read_row_group(group)
            numbers = pa.array(range(first, first + of_group.num_rows))
            first += of_group.num_rows
            writer.write_table(of_group.filter(pc.invert(pc.is_in(numbers, value_set=gone))))
    source.close()
    kept.replace(path)
