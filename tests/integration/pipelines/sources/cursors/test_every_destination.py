"""Rows of APIs in PostgreSQL and in Delta: the promises that are tried in DuckDB, with what another destination may do
otherwise: rows that change within one moment, come late, or move between pages, and names that would be one."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from tests.integration.pipelines.sources.cursors.test_rest_cursors import Api, source
from tests.support.data_plane.platform import Platform, Sql
from tests.support.servers.http_server import Asked, WebServer

POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
Landed = Callable[[int, str], list[dict[str, Any]]]


@pytest.fixture(params=["postgres", "delta"])
def destination(request: pytest.FixtureRequest, platform: Platform, warehouse: Sql) -> tuple[dict[str, Any], Landed]:
    """Where rows land, and what reads them by their ids."""
    if request.param == "postgres":

        def rows_of(connector: int, table: str) -> list[dict[str, Any]]:
            name = f"connector_{connector}.{table}"
            return [dict(row) for (row,) in warehouse(f"SELECT to_json(t) FROM {name} t ORDER BY id")]

        return POSTGRES, rows_of
    lake = platform.settings.data_dir / "lake"

    def rows_in(connector: int, table: str) -> list[dict[str, Any]]:
        found = DeltaTable(lake / f"connector_{connector}" / table)
        query = QueryBuilder().register("t", found).execute("SELECT * FROM t ORDER BY id")
        rows: list[dict[str, Any]] = pa.table(query.read_all()).to_pylist()
        return rows

    return {"type": "filesystem", "format": "delta", "url": str(lake)}, rows_in


def test_rows_of_an_api_change_come_late_and_keep_their_names(
    platform: Platform, destination: tuple[dict[str, Any], Landed]
) -> None:
    where, landed = destination
    names = {"CD4+": 1, "CD4-": 2, "pain_1": "", "pain___1": "1", "имя": "a"}
    api = Api({"id": 1, "at": "2024-01-01T02:00:00+02:00", "v": "morning", **names})
    with WebServer(api) as web:
        connector = platform.add(source(web.url, primary_key="id"), destination=where)
        platform.run(connector)
        api.rows[0]["v"] = "evening"
        api.rows.append({"id": 2, "at": "2024-01-01T00:00:00.500Z", "v": "b"})
        assert platform.run(connector).total_rows == 2
        first, second = landed(connector, "visits")
        assert (first["v"], second["v"]) == ("evening", "b")
        kept = {name: value for name, value in first.items() if name[:4] in {"cd4x", "pain", "imya"}}
        assert sorted(map(str, kept.values())) == ["", "1", "1", "2", "a"]
        api.rows[0]["v"] = api.rows[1]["v"] = "new"
        window = {
            "backfill_from": datetime(2024, 1, 1, tzinfo=UTC),
            "backfill_to": datetime(2024, 1, 1, 0, 0, 0, 250_000, UTC),
        }
        assert platform.run(connector, **window).total_rows == 1
    assert [row["v"] for row in landed(connector, "visits")] == ["new", "b"]


def test_resources_that_move_between_pages_or_come_late_land(
    platform: Platform, destination: tuple[dict[str, Any], Landed]
) -> None:
    where, landed = destination
    # The first page ascends by chance: this server filters, and does not sort.
    resources = [_patient(number, "20:00" if number == 4 else "05:00") for number in range(15)]
    asked_for = []

    def answer(asked: Asked) -> Any:
        asked_for.append(asked)
        if len(asked_for) == 2:
            del resources[3]
            resources.append(_patient(3, "22:00"))
        since = asked.query.get("_lastUpdated", "ge")[2:]
        found = [item for item in resources if item["meta"]["lastUpdated"] >= since]
        offset = int(asked.query.get("offset", 0))
        more = {"relation": "next", "url": f"Patient?offset={offset + 5}&_lastUpdated=ge{since}"}
        return {
            "resourceType": "Bundle",
            "total": len(found),
            "entry": [{"resource": item} for item in found[offset : offset + 5]],
            "link": [more] if offset + 5 < len(found) else [],
        }

    with WebServer(answer) as web:
        fhir = {"type": "fhir", "base_url": f"{web.url}/fhir", "resource_types": ["Patient"]}
        connector = platform.add(fhir, destination=where)
        platform.run(connector)
        resources.append(_patient(99, "21:58"))  # its server knew it earlier, and committed it later
        platform.run(connector)
    rows = landed(connector, "patient")
    assert sorted(row["id"] for row in rows) == sorted(f"p{number}" for number in (*range(15), 99))
    assert ["T22:00" in str(row["meta"]) for row in rows if row["id"] == "p3"] == [True]


def _patient(number: int, at: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": f"p{number}", "meta": {"lastUpdated": f"2024-01-01T{at}:00Z"}}
