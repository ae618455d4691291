"""The border of a table over two loads."""

from typing import Any

import dlt
import pytest

from pipelines.loading.pipeline import configure
from pipelines.sources.as_one import source_of
from pipelines.sources.rest_api import as_tables
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import WebServer


@pytest.mark.parametrize("disposition", ["append", "merge"])
def test_an_upgrade_loads_nothing_anew_and_loses_nothing(platform: Platform, disposition: Any) -> None:
    rows = [{"id": number, "at": f"2024-01-01T00:00:{number:02}Z"} for number in range(20)]
    with WebServer(lambda asked: rows) as web:
        resource = {"name": "visits", "path": "v", "cursor_path": "at", "paginator": {"type": "single_page"}}
        keys = {"primary_key": "id", "write_disposition": disposition}
        connector = platform.add({"type": "rest_api", "base_url": web.url, "resources": [{**resource, **keys}]})
        name = f"connector_{connector}"

        @dlt.resource(name="visits", primary_key="id", write_disposition=disposition)
        def visits(at: Any = dlt.sources.incremental("at")) -> Any:  # noqa: B008  # as versions before had it
            yield rows

        configure()
        pipeline = dlt.pipeline(
            name,
            pipelines_dir=str(platform.settings.data_dir / "before"),
            destination=dlt.destinations.duckdb(str(platform.settings.data_dir / "warehouse.duckdb")),
            dataset_name=name,
        )
        platform.settings.data_dir.mkdir(parents=True, exist_ok=True)
        source = source_of(name, [as_tables(visits, "visits")], None)
        pipeline.run(source, loader_file_format="parquet")
        before = pipeline.state["sources"][name]["resources"]["visits"]["incremental"]["at"]
        assert before["last_value"] == "2024-01-01T00:00:19Z"
        assert platform.run(connector).total_rows == 0
        rows.append({"id": 20, "at": "2024-01-01T00:00:19Z"})
        summary = platform.run(connector)
        assert (summary.total_rows, summary.since) == (1, {"visits": "2024-01-01T00:00:19Z"})
    assert platform.duck(f"SELECT count(*), count(DISTINCT id) FROM {name}.visits") == [(21, 21)]
