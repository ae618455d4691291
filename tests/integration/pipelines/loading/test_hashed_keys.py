"""Sweeps between two PostgreSQL servers by hashes of keys: as exact as those by all keys, and few keys are read."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from pipelines.loading.comparing import sweeping
from pipelines.loading.comparing.deleting import sweep
from pipelines.loading.comparing.hashed_keys import Bounds, Key
from pipelines.loading.comparing.reading import Reread
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
ROWS = 9_000
GREATEST = 2**63 - 1

KEYS = {
    "numbers": ("id bigint", "id", "i - 4000"),
    "numbers far apart": ("id bigint", "id", "(i - 4500) * 2049000000000000"),
    "a number and a text": ('"Patient" int, site varchar(20)', '"Patient", site', "i / 3, 'Zürich ' || i % 3"),
    "a text": ("code text", "code", "'né' || i"),
    "uuids": ("id uuid", "id", "md5(i::text)::uuid"),
    "a small number and a uuid": ("visit smallint, id uuid", "visit, id", "i % 30, md5(i::text)::uuid"),
}


def add(platform: Platform, key: str, deletes: str, **more: Any) -> int:
    table = {"name": "Visits", "primary_key": key.replace('"', "").split(", "), "deletes": deletes}
    source = {"type": "sql_database", "credentials": EMR, "tables": [table], **more}
    return platform.add(source, destination=POSTGRES)


def fill(emr: Sql, columns: str, key: str, values: str) -> None:
    emr(f'CREATE TABLE "Visits" (n int, {columns}, PRIMARY KEY ({key}))')
    emr(f'INSERT INTO "Visits" SELECT i, {values} FROM generate_series(1, {ROWS}) i')


@pytest.mark.parametrize("kind", KEYS)
def test_what_is_gone_goes_and_only_what_differs_is_read(
    platform: Platform, emr: Sql, warehouse: Sql, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    columns, key, values = KEYS[kind]
    fill(emr, columns, key, values)
    removing, marking = add(platform, key, "remove"), add(platform, key, "mark")
    read: list[Reread] = []

    def watched(session: Any, keys: Reread, *more: Any) -> Any:
        read.append(keys)
        return sweep(session, keys, *more)

    monkeypatch.setattr(sweeping, "sweep", watched)
    for connector in (removing, marking):
        platform.run(connector)
    assert [keys.part for keys in read] == ["FALSE"] * 2, "equal hashes, and not a key was read"
    gone = sorted(random.Random(7).sample(range(1, ROWS), 40))
    emr(f'DELETE FROM "Visits" WHERE n = ANY(ARRAY{gone})')
    read.clear()
    for connector in (removing, marking):
        assert platform.run(connector).tables[0].deleted == len(gone)
    assert all(keys.part not in {None, "FALSE"} for keys in read)
    left = [n for n in range(1, ROWS + 1) if n not in gone]
    rows = "SELECT n FROM connector_{}.visits {} ORDER BY n"
    assert warehouse(rows.format(removing, "")) == [(n,) for n in left]
    marked = "WHERE _deleted_at IS {} NULL"
    assert warehouse(rows.format(marking, marked.format("NOT"))) == [(n,) for n in gone]
    # A row that comes again loses its mark, and those beside it keep theirs.
    emr(f'INSERT INTO "Visits" SELECT i, {values} FROM generate_series({gone[0]}, {gone[0]}) i')
    platform.run(marking)
    assert warehouse(rows.format(marking, marked.format("NOT"))) == [(n,) for n in gone[1:]]


@pytest.mark.parametrize("reason", ["a mask", "a protected table", "days", "half of them", "all of them"])
def test_what_can_not_be_compared_by_hashes_is_compared_by_keys(
    platform: Platform, emr: Sql, warehouse: Sql, reason: str
) -> None:
    columns, key, values = KEYS["numbers"]
    if reason == "days":
        columns, key, values = "day date", "day", "date '2020-01-01' + i"
    fill(emr, columns, key, values)
    asked: dict[str, dict[str, Any]] = {
        "a mask": {"mask": ["id"]},
        "a protected table": {"protect": {"rules": [{"path": "id", "method": "hash"}]}},
    }
    more = asked.get(reason, {})
    connector = add(platform, key, "remove", **more)
    platform.run(connector)
    left = {"half of them": ROWS // 2, "all of them": 0}.get(reason, ROWS - 1)
    emr(f'DELETE FROM "Visits" WHERE n > {left}')
    count = f"SELECT count(*) FROM connector_{connector}.visits"
    if left < ROWS - 1:
        assert f"{ROWS - left:,} of {ROWS:,} rows" in platform.run(connector).sentence
        assert warehouse(count) == [(ROWS,)]
        platform.run(connector, tables=("Visits",), allow_mass_delete=True)
    else:
        platform.run(connector)
    assert warehouse(count) == [(left,)]


@pytest.mark.parametrize(("least", "most"), [(-40_000, 90_000), (0, 10), (-GREATEST, GREATEST)])
def test_ranges_hold_the_keys_of_their_parts_and_those_beyond(emr: Sql, least: int, most: int) -> None:
    bounds, key = Bounds(least, most), Key("hashint8extended(k, 0)", "k")
    drawn = random.Random(7)
    keys = {
        least,
        most,
        *(drawn.randint(max(least - 50_000, -(2**63)), min(most + 50_000, 2**63 - 1)) for _ in range(400)),
    }
    emr(f"CREATE TABLE keys AS SELECT * FROM unnest(ARRAY{sorted(keys)}::bigint[]) k")
    part: dict[int, int] = dict(emr(f"SELECT k, {key.part(bounds)} FROM keys"))
    known = sorted(set(part.values()))
    for some in (known[:1], known[-1:], sorted(drawn.sample(known, min(len(known), 60))), known):
        within = {k for (k,) in emr(f"SELECT k FROM keys WHERE {key.within(bounds, some)}")}
        assert within == {k for k, of_key in part.items() if of_key in some}
