"""Random changes through all doors with kill -9 among them: no change without an entry, no entry without a change.

Played again from an empty state, the entries give exactly the rows of the table, generation and all; each state before
an entry is the one that the entry before it left; and the digests fit. It is looked at after each step, and nothing is
under way then.
"""

import asyncio
import contextlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from connectors.history import CHANGES
from database.audit_proof import verify
from database.connection.address import dsn
from database.connection.engine import open_engine
from local.embedded_postgres import EmbeddedPostgres
from rigs.migrated import migrate
from tests.support.api_rig import TOKEN
from tests.support.doors.acts import Doors, Known, Said
from tests.support.doors.processes import Api, BackEnd, kill_database_session
from tests.support.waiting import until

SECONDS = 60.0
"""How long may go by until nothing is under way any more."""

DOORS = ("rest", "page", "form", "sql")
LONGEST_FUSE = 0.15
"""Seconds from the beginning of a step to the kill: about as long as an act takes."""


class Replay:
    """The table as its history tells it."""

    def __init__(self, database_url: str, known: Known) -> None:
        self._url = database_url
        self._known = known
        self._rows: dict[int, tuple[int, Any]] = {}
        self._newest = 0
        self.entries = 0

    async def look(self, said: list[Said]) -> None:
        """Play what is new in the history, and compare it with the table and with what was said of each act."""
        connection = await until("the database answers", self._connected, SECONDS)
        try:
            await until("nothing is under way", lambda: _is_quiet(connection), SECONDS)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                new = await connection.fetch(
                    "SELECT id, connector_id, connector_name, generation, action, actor, via, reason, before, after "
                    "FROM cai_audit WHERE id > $1 ORDER BY id",
                    self._newest,
                )
                rows = await connection.fetch("SELECT id, name, generation, cai_connectors_values(c) AS now "
                                              "FROM cai_connectors c ORDER BY id")  # fmt: skip
        finally:
            await connection.close()
        changes = [entry for entry in new if entry["action"] in set(CHANGES)]
        for entry in changes:
            self._play(entry)
        stands = {row["id"]: (row["generation"], json.loads(row["now"])) for row in rows}
        assert self._rows == stands
        for each in said:
            _compare(each, [entry for entry in changes if each.reason and entry["reason"] == each.reason])
        self._newest = max([self._newest, *(entry["id"] for entry in new)])
        self.entries += len(changes)
        self._known.names = {row["id"]: row["name"] for row in rows}
        self._known.generations |= {entry["connector_id"]: entry["generation"] for entry in changes}

    async def _connected(self) -> asyncpg.Connection | None:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return await asyncpg.connect(dsn(self._url), timeout=10)
        return None

    def _play(self, entry: asyncpg.Record) -> None:
        number, before, after = entry["connector_id"], *(json.loads(entry[of] or "null") for of in ("before", "after"))
        generation, stood = self._rows.get(number, (None, None))
        assert before == stood, entry
        if entry["action"] == "create":
            assert stood is None, entry
            assert after is not None, entry
        elif entry["action"] == "update":
            assert (before, generation) != (after, entry["generation"]), f"An entry without a change: {entry}"
        else:
            assert entry["action"] in {"delete", "truncate"}, entry
            assert after is None, entry
            assert stood is not None, entry
        if after is None:
            del self._rows[number]
        else:
            self._rows[number] = (entry["generation"], after)


def _compare(said: Said, entries: list[asyncpg.Record]) -> None:
    """What an act's door has said of it is what the history tells."""
    if said.was_done is False:
        assert entries == [], f"{said.reason} was refused, and has entries."
    if said.was_done and said.must_change and said.reason:
        assert entries, f"{said.reason} was done, and has no entry."
    assert {(entry["actor"], entry["via"]) for entry in entries} <= {(said.actor, said.via)}


async def _is_quiet(connection: asyncpg.Connection) -> bool:
    return not await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND state <> 'idle' AND backend_type = 'client backend'"
    )


@pytest.fixture
def durable_url(tmp_path: Path) -> Iterator[str]:
    """A database of a cluster of its own, for a kill of one process restarts all of its databases.

    It has written to its log what it says is committed: that of the other tests does so a moment later.
    """
    with EmbeddedPostgres(tmp_path / "postgres", throwaway=True) as cluster:
        url = cluster.create_database("cai")
        migrate(url)
        asyncio.run(_run(url, "ALTER DATABASE cai SET synchronous_commit = on"))
        yield url


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn(url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def api(durable_url: str) -> AsyncIterator[Api]:
    """The API, at whose page somebody has logged in."""
    api = Api(durable_url)
    try:
        await api.start()
        answer = await api.browser.send_form("/login/token", "/login/token", token=TOKEN)
        assert answer.status_code == 303
        yield api
    finally:
        await api.close()


@pytest.fixture
async def back_end(durable_url: str) -> AsyncIterator[BackEnd]:
    """A back end on the table."""
    back_end = BackEnd(dsn(durable_url))
    await back_end.start()
    yield back_end
    await back_end.kill()


async def _step(doors: Doors, pick: random.Random, kill: str, api: Api, back_end: BackEnd, url: str) -> list[Said]:
    """Acts through some doors at once, while one of the processes may be killed."""
    at_once = pick.sample(DOORS, pick.choice([1, 2, 4]))
    needed = {"api": "rest", "back end": "sql", "database": "sql"}.get(kill)
    also = [needed] if needed and needed not in at_once else []
    acts = [asyncio.ensure_future(doors.next(door)()) for door in [*at_once, *also]]
    if kill:
        await asyncio.sleep(pick.uniform(0, LONGEST_FUSE))
        if kill == "api":
            await api.kill()
        elif kill == "back end":
            await back_end.kill()
        else:
            with contextlib.suppress(asyncpg.PostgresError, OSError):
                connection = await asyncpg.connect(dsn(url))
                await kill_database_session(connection)
                await connection.close()
    said = await asyncio.gather(*acts)
    if kill == "api":
        await api.start()
    if not back_end.is_alive or kill in {"back end", "database"}:
        await back_end.kill()
    return said


@pytest.mark.parametrize(
    ("acts", "kills"),
    [
        pytest.param(120, 6, id="120"),
        pytest.param(1_000, 40, id="1000", marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
async def test_every_change_has_its_entry_and_every_entry_its_change(
    durable_url: str, api: Api, back_end: BackEnd, acts: int, kills: int
) -> None:
    seed = int(os.environ.get("CAI_SEED", random.SystemRandom().randint(1, 10**6)))
    pick = random.Random(seed)
    began, done, steps, killed = time.monotonic(), 0, 0, Counter[str]()
    known = Known()
    engine = open_engine(durable_url)
    doors, replay = Doors(pick, api, back_end, engine, known), Replay(durable_url, known)
    try:
        while done < acts:
            kill = ""
            if sum(killed.values()) < kills * done // acts:
                kill = ("api", "back end", "database", "back end")[sum(killed.values()) % 4]
                killed[kill] += 1
            said = await _step(doors, pick, kill, api, back_end, durable_url)
            done, steps = done + len(said), steps + 1
            await replay.look(said)
            if kill:
                await engine.dispose()
                await back_end.start()
                assert (await verify(engine)).first is None
        assert (await verify(engine)).first is None
        assert {"api", "back end", "database"} == set(killed)
    except BaseException as error:
        error.add_note(f"Seed {seed}, step {steps}: CAI_SEED={seed} draws the same acts.")
        raise
    finally:
        await engine.dispose()
    print(
        f"Seed {seed}: {done} acts, {replay.entries} entries, killed {dict(killed)}, {time.monotonic() - began:.0f} s"
    )
