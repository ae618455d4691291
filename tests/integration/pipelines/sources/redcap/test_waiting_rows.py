"""Rows that wait to be written: how many of a table at once, by the kind of the source."""

from collections.abc import Iterator
from pathlib import Path

import dlt
import pyarrow as pa
import pytest

from pipelines.loading.pipeline import WIDE_ROWS, configure
from pipelines.sources.as_one import source_of


@pytest.mark.parametrize(("kind", "written"), [("redcap", True), ("fhir", False)])
def test_rows_of_thousands_of_columns_are_written_before_those_of_the_next_table(
    tmp_path: Path, kind: str, written: bool
) -> None:
    """dlt counts rows, not cells: thousands of rows of each of fifty such tables were most of a run's memory."""
    configure(kind)
    destination = dlt.destinations.duckdb(str(tmp_path / "warehouse.duckdb"))
    pipeline = dlt.pipeline(kind, pipelines_dir=str(tmp_path), destination=destination)
    there: list[bool] = []

    def look() -> Iterator[pa.Table]:
        there.append(any(tmp_path.rglob("first.*.parquet")))
        yield pa.table({"id": [1]})

    first = dlt.resource([pa.table({"id": range(WIDE_ROWS)})], name="first")
    tables = [first, dlt.resource(look, name="second")]
    pipeline.extract(source_of("connector_1", tables, None), loader_file_format="parquet")
    assert there == [written]
