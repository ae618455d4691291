"""Names and digits of rows in a Delta table."""

from deltalake import DeltaTable, QueryBuilder

from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import Answer, WebServer


def test_names_and_digits_are_in_delta_what_they_are_at_the_source(platform: Platform) -> None:
    pages = [
        """[{"ID": 1, "id": 123456789012345678901, "CD4+": 1.5, "CD4-": "x", "имя": "a", "in": {"dose": 1.00}}]""",
        """[{"id": 123456789012345678902, "CD4-": "y", "in": {"dose": 7.40}}]""",
        """[{"id": 123456789012345678902, "CD4-": "z", "in": {"dose": 1E5}}]""",
    ]
    answers = iter(pages)
    lake = {"type": "filesystem", "format": "delta", "url": str(platform.settings.data_dir / "lake")}
    with WebServer(lambda _: Answer(next(answers).encode())) as web:
        resource = {"name": "visits", "path": "visits", "data_selector": "$", "primary_key": "id"}
        source = {
            "type": "rest_api",
            "base_url": web.url + "/api",
            "paginator": {"type": "single_page"},
            "resources": [resource],
        }
        connector = platform.add(source, destination=lake)
        for _ in pages:
            platform.run(connector)
    table = DeltaTable(str(platform.settings.data_dir / f"lake/connector_{connector}/visits"))
    rows = QueryBuilder().register("visits", table).execute("SELECT * FROM visits ORDER BY id").read_all()
    found = [
        dict(zip(rows.column_names, row, strict=True))
        for row in zip(*(c.to_pylist() for c in rows.columns), strict=True)
    ]
    one, two = found
    (other,) = (name for name in one if name.startswith("cd4x_"))
    assert (one["id"], two["id"]) == ("123456789012345678901", "123456789012345678902")
    assert (one["cd4x"], one[other], two[other], one["imya"]) == (1.5, "x", "z", "a")
    assert (one["in"], two["in"]) == ('{"dose":1.00}', '{"dose":1E5}')
