"""Rows that have no value in any column: counted, and landed, in a first load and in later ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipelines.errors import ConfigurationError
from tests.support.data_plane.platform import Platform, Sql
from tests.support.servers.http_server import Asked, WebServer

Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(params=["duckdb", "postgres"])
def landing(request: pytest.FixtureRequest, platform: Platform, warehouse: Sql) -> tuple[dict[str, Any], Ask]:
    """The columns of a connector that lands in one of them, and what asks it."""
    if request.param == "duckdb":
        return {}, platform.duck
    return {"destination": {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}}, warehouse


def test_rows_of_an_api_without_values_land(platform: Platform, landing: tuple[dict[str, Any], Ask]) -> None:
    rows: list[Any] = [{"dose": None, "unit": None}, {"dose": None, "unit": None}]
    columns, ask = landing

    def answer(_: Asked) -> Any:
        return rows

    with WebServer(answer) as web:
        resource = {"name": "doses", "path": "doses", "write_disposition": "append"}
        connector = platform.add({"type": "rest_api", "base_url": web.url, "resources": [resource]}, **columns)
        assert platform.run(connector).rows == {"doses": 2}
        assert ask(f"SELECT count(*) FROM connector_{connector}.doses") == [(2,)]
        rows = [{"dose": 5, "unit": "mg"}, {}]
        assert platform.run(connector).rows == {"doses": 2}
        rows = [{}]
        assert platform.run(connector).rows == {"doses": 1}
    assert ask(f"SELECT count(*), count(dose), sum(dose) FROM connector_{connector}.doses") == [(5, 1, 5)]


CSV = [b"dose,unit\n,\n,\n", b"dose,unit\n5,mg\n,\n", b"dose,unit\n,\n"]
JSONL = [b'{"dose": null}\n{}\n', b'{"dose": 5, "unit": "mg"}\n{"unit": null}\n', b"{}\n"]


def _parquet(**columns: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


PARQUET = [_parquet(dose=[None, None]), _parquet(dose=[5, None]), _parquet(dose=[None])]


@pytest.mark.parametrize(("kind", "files"), [("csv", CSV), ("jsonl", JSONL), ("parquet", PARQUET)])
def test_rows_of_files_without_values_land(
    platform: Platform, inbox: Path, landing: tuple[dict[str, Any], Ask], kind: str, files: list[bytes]
) -> None:
    columns, ask = landing
    source = {"type": "files", "url": str(inbox), "glob": f"*.{kind}", "format": kind, "table": "doses"}
    connector = platform.add(source, **columns)
    for number, content in enumerate(files):
        (inbox / f"{number}.{kind}").write_bytes(content)
        assert platform.run(connector).rows == {"doses": [2, 2, 1][number]}
    assert ask(f"SELECT count(*), count(dose), sum(dose) FROM connector_{connector}.doses") == [(5, 1, 5)]


def test_rows_of_a_table_without_values_land(platform: Platform, emr: Sql, landing: tuple[dict[str, Any], Ask]) -> None:
    columns, ask = landing
    emr("CREATE TABLE doses (dose int, unit text); INSERT INTO doses VALUES (NULL, NULL), (NULL, NULL)")
    table = {"name": "doses", "write_disposition": "replace"}
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": [table]}
    connector = platform.add(source, **columns)
    assert platform.run(connector).rows == {"doses": 2}
    assert ask(f"SELECT count(*), count(dose) FROM connector_{connector}.doses") == [(2, 0)]


def test_a_row_without_values_has_no_key_and_is_told(platform: Platform, inbox: Path) -> None:
    (inbox / "a.jsonl").write_bytes(b'{"id": null}\n')
    keyed = {"primary_key": ["id"], "write_disposition": "merge"}
    source = {"type": "files", "url": str(inbox), "glob": "*.jsonl", "format": "jsonl", "table": "doses", **keyed}
    with pytest.raises(ConfigurationError, match="1 row of table doses has no value in the key column 'id'"):
        platform.run(platform.add(source))
