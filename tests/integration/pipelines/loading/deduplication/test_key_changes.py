"""A key that gets another name: the way out that the sentence says, a full refresh, must be one."""

from typing import Any

import pytest
from psycopg2.extras import Json  # type: ignore[import-untyped]

from pipelines.errors import ConfigurationError
from tests.support.data_plane.platform import Platform, Sql
from tests.support.servers.http_server import WebServer


@pytest.mark.parametrize("destination", ["duckdb", "postgres"])
def test_a_full_refresh_takes_a_key_of_another_name(platform: Platform, warehouse: Sql, destination: str) -> None:
    def source(url: str, key: str) -> dict[str, Any]:
        shape = {"name": "visits", "path": "v", "primary_key": key, "paginator": {"type": "single_page"}}
        return {"type": "rest_api", "base_url": url, "resources": [shape]}

    where: dict[str, Any] = {}
    if destination == "postgres":
        where = {"destination": {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}}
    rows = [{"id": 1, "v": "old"}]
    with WebServer(lambda _: rows) as web:
        connector = platform.add(source(web.url, "id"), **where)
        platform.run(connector)
        rows[:] = [{"pid": 1, "v": "new"}, {"pid": 2, "v": "new"}]
        with platform.connection.cursor() as cursor:
            cursor.execute(
                "UPDATE cai_connectors SET source = %s WHERE id = %s", (Json(source(web.url, "pid")), connector)
            )
        with pytest.raises(ConfigurationError, match="run a full refresh"):
            platform.run(connector)
        platform.run(connector, full_refresh=True)
        rows[0]["v"] = "newer"
        platform.run(connector)
        platform.run(connector, full_refresh=True)
    ask = warehouse if destination == "postgres" else platform.duck
    assert ask(f"SELECT pid, v FROM connector_{connector}.visits ORDER BY 1") == [(1, "newer"), (2, "new")]
