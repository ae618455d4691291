"""A load does not read its schema anew for each table: with hundreds of them that cost more than the load."""

from collections.abc import Callable
from typing import Any

import pytest
from dlt.common.storages import LiveSchemaStorage

from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR

Sql = Callable[[str], list[tuple[Any, ...]]]


def test_more_tables_do_not_read_the_schema_more_often(
    platform: Platform, emr: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, load_schema = [], LiveSchemaStorage.load_schema

    def counted(self: LiveSchemaStorage, name: str) -> Any:
        read.append(name)
        return load_schema(self, name)

    monkeypatch.setattr(LiveSchemaStorage, "load_schema", counted)
    reads = {}
    for count in (1, 5):
        names = [f"t{number}" for number in range(count)]
        for name in names:
            emr(f"CREATE TABLE IF NOT EXISTS {name} (id int PRIMARY KEY, n int)")
            emr(f"INSERT INTO {name} VALUES (1, 1) ON CONFLICT DO NOTHING")
        tables = [{"name": name, "primary_key": "id"} for name in names]
        connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": tables})
        platform.run(connector)
        emr(f"ALTER TABLE t0 ADD more{count} int DEFAULT 2")
        read.clear()
        platform.run(connector)
        reads[count] = len(read)
        assert platform.duck(f"SELECT more{count} FROM connector_{connector}.t0") == [(2,)]
    assert reads[5] == reads[1]
