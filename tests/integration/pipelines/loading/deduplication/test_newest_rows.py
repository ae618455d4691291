"""Of all rows of one key in a load the newest lands, in every destination that merges, over pages and files."""

import itertools
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import ConfigurationError
from pipelines.loading.deduplication.newest_rows import Extracted, Versions, _in_table, _is_single
from pipelines.sources.cursors.values import order_of
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import Asked, WebServer

Sql = Callable[[str], list[tuple[Any, ...]]]

DESTINATIONS = ("duckdb", "postgres", "delta")


def kept(directory: Path, files: list[dict[str, list[Any]]], versions: Versions | None, key: str = "id") -> list[Any]:
    """What is left of these files."""
    paths = []
    for number, columns in enumerate(files):
        paths.append(directory / f"{number}.parquet")
        pq.write_table(pa.table(columns), paths[-1], row_group_size=2)
    with duckdb.connect() as connection:
        _in_table(connection, Extracted("t", tuple(key.split()), files=paths), versions)
    return [row for path in paths if path.exists() for row in pq.read_table(path).to_pylist()]


def rows(*values: tuple[Any, ...]) -> dict[str, list[Any]]:
    return {name: list(column) for name, column in zip(("id", "at", "v"), zip(*values, strict=True), strict=False)}


TEXTS = Versions("at", order_of, ("id",))


def test_an_older_version_does_not_replace_the_one_that_stands_in_the_destination(tmp_path: Path) -> None:
    standing = Versions("at", order_of, ("id",))
    standing.note(pa.table({"id": [1, 2, 3, 9, 9], "at": ["10", "10", "10", "1", "1"], "v": ["known"] * 5}))
    files = [rows((1, "9", "older"), (2, "10", "as new"), (3, "11", "newer"), (4, "1", "other"))]
    assert {row["id"]: row["v"] for row in kept(tmp_path, files, standing)} == {2: "as new", 3: "newer", 4: "other"}


@pytest.mark.parametrize(
    ("files", "versions", "expected"),
    [
        ([rows((1, 1, "old"), (2, 1, "a")), rows((1, 2, "new"))], TEXTS, {1: "new", 2: "a"}),
        ([rows((1, 2, "new"), (2, 1, "a")), rows((1, 1, "old"))], TEXTS, {1: "new", 2: "a"}),
        ([rows((1, 1, "old"), (1, 1, "new"))], TEXTS, {1: "new"}),
        ([rows((1, 1, "old")), rows((1, 1, "new"))], None, {1: "new"}),
        ([rows((1, 5, "old")), rows((1, None, "new"))], TEXTS, {1: "old"}),
        # As texts the first of each would be the later one.
        ([rows((1, "2024-01-01T00:00:00Z", "old"), (1, "2024-01-01T00:00:00.500Z", "new"))], TEXTS, {1: "new"}),
        ([rows((1, "2024-01-01T02:59:00+02:00", "old"), (1, "2024-01-01T02:10:00+01:00", "new"))], TEXTS, {1: "new"}),
        ([rows((1, "10", "new"), (1, "9", "old"))], TEXTS, {1: "new"}),
        ([rows((1, datetime(2024, 1, 2), "new")), rows((1, datetime(2024, 1, 1), "old"))], TEXTS, {1: "new"}),  # noqa: DTZ001
        ([rows((1, 1.5, "old"), (1, 2.5, "new"))], TEXTS, {1: "new"}),
        ([rows(*((n % 7, n, n) for n in range(100)))], TEXTS, {n % 7: n for n in range(93, 100)}),
    ],
)  # fmt: skip
def test_the_newest_of_a_key_is_kept(
    tmp_path: Path, files: list[Any], versions: Versions | None, expected: dict[Any, Any]
) -> None:
    found = kept(tmp_path, files, versions)
    assert {row["id"]: row["v"] for row in found} == expected
    assert len(found) == len(expected)


def test_the_cursor_may_stand_inside_of_json_or_beside_its_column(tmp_path: Path) -> None:
    def inside(landed: Any) -> Any:
        return order_of(json.loads(landed)["at"])

    files = [rows((1, '{"at": "2024-01-01T00:00:00.5Z"}', "new"), (1, '{"at": "2024-01-01T00:00:00Z"}', "old"))]
    assert [row["v"] for row in kept(tmp_path, files, Versions("at", inside, ("id",)))] == ["new"]
    beside: dict[str, list[Any]] = {"id": [1, 1], "at": [10, None], "at__v_text": [None, "9"], "v": ["new", "old"]}
    assert [row["v"] for row in kept(tmp_path, [beside], TEXTS)] == ["new"]


def test_rows_without_doubles_stay_in_the_files_they_were_in(tmp_path: Path) -> None:
    later: dict[str, list[Any]] = {"id": [1], "at": [2], "v": ["b"], "later": [3]}
    files = [rows((1, 1, "a")), later, rows((2, 1, "c"))]
    kept(tmp_path, files, TEXTS)
    assert sorted(path.name for path in tmp_path.glob("*")) == ["1.parquet", "2.parquet"]
    assert kept(tmp_path, [{"id": [1, 1], "other": ["a", "b"], "v": [1, 2]}], None, key="id other") == [
        {"id": 1, "other": "a", "v": 1},
        {"id": 1, "other": "b", "v": 2},
    ]


# --- whole runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "single"),
    [([1, 2, 3], True), ([1, 2, 1], False), (["a", "b", "A"], True), (["a", "a", "b"], False)],
)
def test_a_table_of_few_rows_is_known_to_have_each_key_once(tmp_path: Path, keys: list[Any], single: bool) -> None:
    paths = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for path, part in zip(paths, (keys[:2], keys[2:]), strict=True):
        pq.write_table(pa.table({"id": part, "other": [1] * len(part)}), path)
    assert _is_single(Extracted("t", ("id",), files=paths), None) is single
    assert _is_single(Extracted("t", ("other", "id"), files=paths), None) is single


@pytest.fixture(params=DESTINATIONS)
def landing(request: pytest.FixtureRequest, platform: Platform, warehouse: Sql) -> tuple[Any, Sql]:
    """A destination, and a way to ask the tables of connector 1 there."""
    if request.param == "duckdb":
        return None, platform.duck
    if request.param == "postgres":
        return {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}, warehouse
    lake = platform.settings.data_dir / "lake"

    def ask(query: str) -> list[tuple[Any, ...]]:
        from deltalake import DeltaTable, QueryBuilder

        name = query.partition("connector_1.")[2].split()[0]
        builder = QueryBuilder().register(name, DeltaTable(str(lake / "connector_1" / name)))
        found = pa.table(builder.execute(query.replace("connector_1.", "")).read_all())
        return [tuple(row.values()) for row in found.to_pylist()]

    return {"type": "filesystem", "url": str(lake), "format": "delta"}, ask


def test_the_newer_version_lands_whichever_page_it_comes_on(platform: Platform, landing: tuple[Any, Sql]) -> None:
    destination, ask = landing
    old = {"id": 1, "at": "2024-01-01T00:00:00Z", "v": "old"}
    new = {"id": 1, "at": "2024-01-01T00:00:00.500Z", "v": "new"}
    other = {"id": 2, "at": "2024-01-01T00:00:00Z", "v": "other"}
    answers = itertools.cycle([[new, other, old], [old, new]])
    page: list[Any] = []

    def answer(asked: Asked) -> Any:
        if asked.query.get("page", "1") == "1":
            page[:] = next(answers)
        number = int(asked.query.get("page", "1"))
        return {"items": page[number - 1 : number]}

    with WebServer(answer) as server:
        resource = {
            "name": "visit",
            "path": "visit",
            "primary_key": "id",
            "cursor_path": "at",
            "data_selector": "items",
        }
        source = {
            "type": "rest_api",
            "base_url": server.url,
            "paginator": {"type": "page_number", "base_page": 1, "total_path": None},
            "resources": [resource],
        }
        connector = platform.add(source, destination=destination)
        for _ in range(2):
            platform.run(connector)
            assert sorted(ask("SELECT id, v FROM connector_1.visit")) == [(1, "new"), (2, "other")]


def test_two_files_with_one_key_leave_the_last(platform: Platform, inbox: Path, landing: tuple[Any, Sql]) -> None:
    destination, ask = landing
    (inbox / "a.csv").write_text("id,v\n1,old\n2,a\n")
    (inbox / "b.csv").write_text("id,v\n1,new\n")
    connector = platform.add(
        {"type": "files", "url": str(inbox), "format": "csv", "table": "labs", "primary_key": "id"},
        destination=destination,
    )
    platform.run(connector)
    assert sorted(ask("SELECT v FROM connector_1.labs")) == [("a",), ("new",)]
    (inbox / "c.csv").write_text("id,v\n1,newer\n1,newest\n")
    platform.run(connector)
    assert sorted(ask("SELECT v FROM connector_1.labs")) == [("a",), ("newest",)]


def test_200_000_old_and_200_000_new_versions_in_one_load_leave_the_new(
    platform: Platform, inbox: Path, landing: tuple[Any, Sql]
) -> None:
    destination, ask = landing
    count = 200_000
    ids = pa.array(range(count))
    for name, version, found in (("a", "new", ids), ("b", "old", ids)):
        at = pa.array([datetime(2024, 1, 2 if version == "new" else 1)] * count)  # noqa: DTZ001
        table = pa.table({"id": found, "v": pa.array([version] * count), "at": at})
        pq.write_table(table, inbox / f"{name}.parquet")
    # Files have no cursor: the last that came is the newest.
    pq.write_table(pq.read_table(inbox / "a.parquet"), inbox / "c.parquet")
    connector = platform.add(
        {"type": "files", "url": str(inbox), "format": "parquet", "table": "labs", "primary_key": "id"},
        destination=destination,
    )
    platform.run(connector)
    assert ask("SELECT v, count(*) AS n FROM connector_1.labs GROUP BY v") == [("new", count)]


def test_a_key_of_another_kind_and_an_empty_one_are_told(platform: Platform, inbox: Path) -> None:
    (inbox / "a.jsonl").write_text('{"id": 1}\n')
    connector = platform.add(
        {"type": "files", "url": str(inbox), "format": "jsonl", "table": "labs", "primary_key": "id"}
    )
    platform.run(connector)
    (inbox / "b.jsonl").write_text('{"id": "a-3"}\n')
    with pytest.raises(ConfigurationError, match="run a full refresh") as refused:
        platform.run(connector)
    assert "a-3" not in str(refused.value)
    (inbox / "b.jsonl").write_text('{"other": 1}\n{"id": null}\n')
    with pytest.raises(ConfigurationError, match="At least 2 rows of table labs have no value in the key column 'id'"):
        platform.run(connector)
    assert platform.duck("SELECT id FROM connector_1.labs") == [(1,)]


def test_keys_beyond_64_bit_are_rows_of_their_own(platform: Platform, inbox: Path, landing: tuple[Any, Sql]) -> None:
    destination, ask = landing
    numbers = (123456789012345678901, 123456789012345678902)
    (inbox / "a.jsonl").write_text("".join(f'{{"id": {number}, "v": "old"}}\n' for number in numbers))
    connector = platform.add(
        {"type": "files", "url": str(inbox), "format": "jsonl", "table": "labs", "primary_key": "id"},
        destination=destination,
    )
    platform.run(connector)
    (inbox / "b.jsonl").write_text(f'{{"id": {numbers[1]}, "v": "new"}}\n')
    platform.run(connector)
    assert sorted(ask("SELECT id, v FROM connector_1.labs")) == [(str(numbers[0]), "old"), (str(numbers[1]), "new")]
