"""Random changes at a source, with runs that are killed at random moments: the destination is what the source is.

A round changes tables of all modes of `deletes`, with and without cursors and histories, kills no, one or several runs
at any moment of theirs (kill -9), and loads; into PostgreSQL, rows stream in some runs and go through files in the
others. Under `ask`, people approve and refuse some of what is new, and nothing else of it lands. What fails is told
with the seed of its walk: `CAI_RANDOM_SEED=n CAI_RANDOM_ROUNDS=m make soak` walks it again, though what dies dies at
other places. A round costs three to five seconds of one core.
"""

import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.data_plane.asked_columns import Asked
from tests.support.data_plane.changing_tables import Changing, Landed, differences, wrong_answers
from tests.support.data_plane.killing import Forge
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
LONG_ROUNDS = int(os.environ.get("CAI_RANDOM_ROUNDS", "500"))


@pytest.fixture
def forge(
    platform: Platform, emr: Sql, warehouse: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Forge]:
    """Forks runs; made last, since it inherits the environment."""
    monkeypatch.setenv("CAI_MAX_DELETE_FRACTION", "1")  # whatever is gone goes
    forge = Forge(tmp_path / "runs.log")
    yield forge
    forge.close()


class Walk:
    """One connector, whose tables change."""

    def __init__(  # what a test is given
        self, seed: int, kind: tuple[str, str], platform: Platform, emr: Sql, ask: Sql, forge: Forge
    ) -> None:
        """`kind`: the destination, and the schema contract."""
        destination, contract = kind
        self._rng = random.Random(seed)
        self._platform, self._forge = platform, forge
        modes = [(deletes, cursor) for deletes in ("ignore", "mark", "remove") for cursor in (False, True)]
        self.tables = [
            Changing(f"t{number}", emr, self._rng, deletes, cursor, history=self._rng.random() < 0.7)
            for number, (deletes, cursor) in enumerate(modes)
        ]
        for table in self.tables:
            table.make()
        source = {
            "type": "sql_database",
            "credentials": EMR,
            "tables": [table.definition for table in self.tables],
            "schema_contract": contract,
        }
        self._connector = platform.add(source, destination=POSTGRES if destination == "postgres" else None)
        self._there = Landed(ask, f"connector_{self._connector}")
        self._asked = Asked(platform.connection, self._connector, self._rng) if contract == "ask" else None
        self._seconds = 1.0
        self._completed = self._killed = 0

    def round(self) -> None:
        """Changes, runs that die, and one that does not."""
        for table in self.tables:
            table.change()
        options: dict[str, Any] = {"full_refresh": True} if self._rng.random() < 0.1 else {}
        while self._rng.random() < 0.5:
            for table in self.tables:
                table.note()
            code = self._forge.run(
                self._connector,
                kill_after=self._rng.uniform(0.02, 1.1) * self._seconds,
                streams=self._rng.random() < 0.7,
                **options,
            )
            assert code in {0, -9}, f"a run ended with {code}"
            self._completed += code == 0
            self._killed += code == -9
            if self._rng.random() < 0.3:
                for table in self.tables:
                    table.change()
        began = time.monotonic()
        streams = self._rng.random() < 0.7
        assert self._forge.run(self._connector, streams=streams, **options) == 0, "a run failed"
        self._seconds = time.monotonic() - began
        self._completed += 1
        now = datetime.now(UTC)
        for table in self.tables:
            if options:
                table.forget()
            wrong = [*(self._asked.judge(table, self._there) if self._asked else ())]
            wrong += differences(table, self._there)
            assert not wrong, "\n".join(wrong[:5])
            if table.history:
                standing = self._there.rows(table.name)
                table.seen.append((now, {k: row for k, row in standing.items() if row.get("_deleted_at") is None}))
        if self._asked:
            self._asked.decide()

    def look_back(self) -> None:
        """All moments so far, and the ledger."""
        for table in self.tables:
            wrong = [*wrong_answers(table, self._there)]
            assert not wrong, "\n".join(wrong[:5])
        with self._platform.connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FILTER (WHERE outcome = 'completed'), count(*) FILTER (WHERE outcome = 'failed' "
                "AND kind = 'died'), count(*) FILTER (WHERE outcome NOT IN ('completed', 'failed')), count(*) "
                "FROM cai_loads WHERE connector_id = %s", (self._connector,),
            )  # fmt: skip
            completed, died, others, every = cursor.fetchone()
            # One that was killed may have been complete, or not yet begun.
            assert self._completed <= completed <= self._completed + self._killed
            assert died <= self._killed
            assert (others, every) == (0, completed + died)
            cursor.execute(
                "SELECT count(*) FROM cai_load_tables t JOIN cai_loads l ON l.id = t.load_id "
                "WHERE connector_id = %s AND read <> written + rejected", (self._connector,),
            )  # fmt: skip
            assert cursor.fetchone() == (0,)
            for table in self.tables:
                cursor.execute(
                    "SELECT rows_after FROM cai_load_tables t JOIN cai_loads l ON l.id = t.load_id "
                    "WHERE connector_id = %s AND table_name = %s ORDER BY l.id DESC LIMIT 1",
                    (self._connector, table.name),
                )
                found = cursor.fetchone()
                assert found is None or found[0] in {None, len(self._there.rows(table.name))}, table.name
        proof = self._platform.run(self._connector, reconcile="sums")
        for table, sentence in zip(self.tables, proof.compared, strict=False):
            assert table.deletes == "ignore" or table.unsure or sentence.endswith("all equal."), sentence


def walk(seed: int, rounds: int, kind: tuple[str, str], platform: Platform, emr: Sql, ask: Sql, forge: Forge) -> None:
    """So many rounds, with a look back after every tenth and at the end."""
    walked: Walk | None = None
    number = 0
    try:
        walked = Walk(seed, kind, platform, emr, ask, forge)
        for number in range(1, rounds + 1):
            walked.round()
            if number % 10 == 0 or number == rounds:
                walked.look_back()
    except BaseException as error:
        statements = [
            f"{table.name} {table.deletes}, history {table.history}, cursor {table.cursor}: {statement}"
            for table in (walked.tables if walked else ())
            for statement in table.statements[-12:]
        ]
        print(f"CAI_RANDOM_SEED={seed}, {', '.join(kind)}, round {number}: {error}\n" + "\n".join(statements))
        raise


KINDS = [("duckdb", "evolve"), ("postgres", "evolve"), ("duckdb", "ask"), ("postgres", "ask")]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_the_destination_follows_whatever_changes_and_dies(
    platform: Platform, emr: Sql, warehouse: Sql, forge: Forge, kind: tuple[str, str]
) -> None:
    # The same changes each time: a new walk that fails belongs into a soak, not into somebody's unrelated change.
    walk(1, 8 if kind[1] == "evolve" else 3, kind, platform, emr, warehouse if kind[0] == "postgres" else platform.duck,
         forge)  # fmt: skip


@pytest.mark.soak
@pytest.mark.timeout(12 * 3600)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_the_destination_follows_for_a_long_time(
    platform: Platform, emr: Sql, warehouse: Sql, forge: Forge, kind: tuple[str, str]
) -> None:
    first = int(os.environ.get("CAI_RANDOM_SEED", secrets.randbelow(2**31)))
    ask = warehouse if kind[0] == "postgres" else platform.duck
    for number in range(-(-LONG_ROUNDS // len(KINDS) // 25)):
        for table in range(6):
            emr(f"DROP TABLE IF EXISTS t{table}")
        print(f"CAI_RANDOM_SEED={first + number}, {', '.join(kind)}", flush=True)
        walk(first + number, 25, kind, platform, emr, ask, forge)
