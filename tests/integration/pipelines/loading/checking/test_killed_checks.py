"""kill -9 at random places of the checks, and around the note that a load waits: nothing that nobody approved lands."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.data_plane.killing import Forge
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
CALLS = 12_000
"""More than the checks of this table take."""


@pytest.fixture
def forge(platform: Platform, emr: Sql, warehouse: Sql, tmp_path: Path) -> Iterator[Forge]:
    """Forks runs; made last, since it inherits the environment."""
    forge = Forge(tmp_path / "runs.log")
    yield forge
    forge.close()


def places(count: int, seed: int) -> list[str]:
    """So many places within the checks, near their beginning as often as near their end."""
    chosen = random.Random(seed)
    return [f"check:{int(CALLS ** chosen.random())}" for _ in range(count)]


LONG = pytest.mark.timeout(3600)


def cases() -> Iterator[Any]:
    """Few in each run of the tests; many in `make soak`."""
    for destination in ("duckdb", "postgres"):
        for on_failure in ("fail", "hold", "warn"):
            yield pytest.param(destination, on_failure, 1, id=f"{destination}-{on_failure}")
            yield pytest.param(
                destination, on_failure, 40, id=f"{destination}-{on_failure}-long", marks=[pytest.mark.soak, LONG]
            )


@pytest.mark.parametrize(("destination", "on_failure", "kills"), [*cases()])
def test_a_kill_during_the_checks_lets_nothing_through(
    platform: Platform, emr: Sql, warehouse: Sql, forge: Forge, destination: str, on_failure: str, kills: int
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    emr("CREATE TABLE visit (id int PRIMARY KEY, mrn text, sex text, at timestamptz)")
    emr("INSERT INTO visit SELECT i, 'm' || i, 'f', now() - i * interval '1 s' FROM generate_series(1, 200) i")
    checks = {
        "min_rows": 1,
        "max_drop_percent": 50,
        "not_null": ["mrn"],
        "unique": ["mrn"],
        "accepted": {"sex": ["f", "m"]},
        "freshness": {"column": "at", "max_age": 86_400},
        "on_failure": on_failure,
    }
    table = {"name": "visit", "primary_key": "id", "checks": checks}
    connector = platform.add(
        {"type": "sql_database", "credentials": EMR, "tables": [table]},
        destination=POSTGRES if destination == "postgres" else None,
    )
    ask = warehouse if destination == "postgres" else platform.duck

    def landed() -> list[tuple[Any, ...]]:
        return ask(f"SELECT id, mrn, sex FROM connector_{connector}.visit ORDER BY id")

    def source() -> list[tuple[Any, ...]]:
        return emr("SELECT id, mrn, sex FROM visit ORDER BY id")

    def held() -> list[tuple[Any, ...]]:
        with platform.connection.cursor() as cursor:
            cursor.execute("SELECT state FROM cai_held_loads WHERE connector_id = %s", [connector])
            return list(cursor.fetchall())

    def killed(point: str, stands: list[tuple[Any, ...]]) -> None:
        assert forge.run(connector, point) == -9, point
        assert landed() == stands, point

    assert forge.run(connector) == 0
    old = landed()
    assert old == source()
    emr("UPDATE visit SET mrn = NULL WHERE id = 1")
    emr("UPDATE visit SET sex = 'x' WHERE id = 2")
    emr("INSERT INTO visit VALUES (201, 'm7', 'f', now())")
    for point in places(kills, seed):
        killed(point, old)
    assert held() == []
    if on_failure == "warn":
        assert forge.run(connector) == 0
        assert landed() == source()
        return
    if on_failure == "hold":
        killed("hold", old)
        assert held() == []
        killed("hold-end", old)
    assert forge.run(connector) == 1  # it says what failed
    assert landed() == old
    if on_failure == "fail":
        emr("UPDATE visit SET mrn = 'm' || id, sex = 'f'")
    else:
        assert held() == [("waiting",)]
        with platform.connection.cursor() as cursor:
            cursor.execute("UPDATE cai_held_loads SET state = 'approved', decided_by = 'alice'")
        for point in places(kills, seed + 1):
            killed(point, old)
        assert held() == [("approved",)]
    assert forge.run(connector) == 0
    assert landed() == source()
    assert held() == []
