"""The last reading of each resource in the tables of views: all rows that it has made of the resource, or none.

A resource that comes twice in a load has made rows each time, and dlt's merge, which goes by the resource, would write
all of them. One that has no row leaves a row with the number -1, so that it is known to have been read: that row goes
from the files, and the resource's rows from the destination. And one that does not land, since it stands there already
or since a contract leaves it out, has no rows of a view either. Like the newest rows: between reading and loading, by
DuckDB with a limit on memory where there are many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from dlt import Pipeline
from dlt.common.pipeline import ExtractInfo

from connectors.sources import Source
from connectors.sources.fhir import FhirSource
from connectors.sources.views.landing import KEY, NAMED, NUMBER
from connectors.sources.write_rules import landed_table
from pipelines.loading.deduplication.newest_rows import (
    FEW,
    Extracted,
    columns_of,
    connected,
    read_files,
    tables_of,
    write_without,
)
from pipelines.sources.sql.names import quoted_name


@dataclass
class LastReadings:
    """What was found: rows of earlier readings, resources without a row, and these as Parquet, all by table."""

    earlier: dict[str, int] = field(default_factory=dict)
    without: dict[str, int] = field(default_factory=dict)
    """Rows that were there only to say so."""
    gone: dict[str, list[Path]] = field(default_factory=dict)


def tables_of_views(source: Source) -> dict[str, str]:
    """The tables of resources, by those of the views of a source."""
    views = source.all_views if isinstance(source, FhirSource) else ()
    return {landed_table(view.name): landed_table(view.resource) for view in views}


def keep_last(pipeline: Pipeline, extracted: ExtractInfo, directory: Path, views: Mapping[str, str]) -> LastReadings:
    """Leave the rows of the last reading of each resource that lands in the files of views that were extracted.

    Args:
        pipeline: dlt's.
        extracted: the load, of which the newest version of each resource is left.
        directory: the run's own.
        views: the tables of the resources, by those of their views.
    """
    found = LastReadings()
    if not views:
        return found
    files = {each.name: each.files for each in tables_of(pipeline, extracted, "primary_key")}
    for table in tables_of(pipeline, extracted, "merge_key"):
        of_resources = files.get(views.get(table.name, ""), [])
        if table.name in views and table.files and not _is_single(table, of_resources):
            with connected(directory) as connection:
                _in_table(connection, table, of_resources, found, directory)
    return found


def _is_single(table: Extracted, of_resources: Sequence[Path]) -> bool:
    """Whether each resource was read once, lands and has a row, in a table of few rows, without DuckDB."""
    if sum(pyarrow.parquet.read_metadata(path).num_rows for path in (*table.files, *of_resources)) > FEW:
        return False
    rows = pa.concat_tables([columns_of(path, (KEY, NUMBER)) for path in table.files])
    begins = rows.filter(pc.less_equal(rows[NUMBER], 0))
    if (
        pc.min(rows[NUMBER]).as_py() < 0
        or not of_resources
        or pc.count_distinct(begins[KEY]).as_py() != begins.num_rows
    ):
        return False
    landing = [columns_of(path, (NAMED,))[NAMED] for path in of_resources]
    value_set = pa.chunked_array([chunk for each in landing for chunk in each.chunks], pa.string())
    return bool(pc.all(pc.is_in(rows[KEY], value_set=value_set)).as_py())


def _in_table(
    connection: Any, table: Extracted, of_resources: Sequence[Path], found: LastReadings, directory: Path
) -> None:
    key, number, named = quoted_name(KEY), quoted_name(NUMBER), quoted_name(NAMED)
    arrived = pa.table({"__file": list(map(str, table.files)), "__arrived": list(range(len(table.files)))})
    connection.register("arrived", arrived)
    landing = "SELECT NULL::varchar AS __lands LIMIT 0"
    if of_resources:
        landing = f"SELECT {named} AS __lands FROM {read_files(Extracted(table.name, (), [*of_resources]))}"  # noqa: S608
    connection.execute(f"CREATE OR REPLACE TEMP TABLE landing AS SELECT DISTINCT __lands FROM ({landing})")  # noqa: S608
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE again AS SELECT {key} FROM {read_files(table)} "  # noqa: S608  # names, escaped
        f"LEFT JOIN landing ON __lands = {key} GROUP BY {key} "
        f"HAVING count(*) FILTER (WHERE {number} <= 0) > 1 OR min({number}) < 0 OR count(__lands) = 0"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE readings AS "  # noqa: S608
        "SELECT *, max(reading) OVER (PARTITION BY key) AS last, key IN (SELECT __lands FROM landing) AS lands FROM ("
        f"SELECT {key} AS key, {number} AS number, __arrived, file_row_number AS __row, sum(({number} <= 0)::int) OVER "
        f"(PARTITION BY {key} ORDER BY __arrived, file_row_number ROWS UNBOUNDED PRECEDING) AS reading "
        f"FROM {read_files(table)} JOIN arrived USING (__file) SEMI JOIN again USING ({key}))"
    )
    leaving = connection.sql(
        "SELECT __arrived, __row FROM readings WHERE reading < last OR number < 0 OR NOT lands ORDER BY ALL"
    ).to_arrow_table()
    ((without,),) = connection.sql("SELECT count(*) FROM readings WHERE number < 0").fetchall()
    gone = connection.sql(
        f"SELECT key AS {named} FROM readings WHERE reading = last AND number < 0 AND lands"  # noqa: S608
    ).to_arrow_table()
    write_without(table.files, leaving)
    found.without[table.name] = int(without)
    found.earlier[table.name] = leaving.num_rows - int(without)
    if gone.num_rows:
        path = directory / f"without_rows.{table.name}.parquet"
        pyarrow.parquet.write_table(gone, path)
        found.gone[table.name] = [path]
