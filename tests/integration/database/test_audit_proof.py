"""Tampering by somebody who may do everything is named: one byte flipped, one entry removed, one put in."""

import time

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.history import Fault
from database import audit
from database.audit_proof import verify
from tests.support.audit import SOURCE, connected, insert, many_entries, silently, yesterday


async def nth(connection: asyncpg.Connection, position: int) -> int:
    """The number of the entry at this position."""
    return int(await connection.fetchval("SELECT id FROM cai_audit ORDER BY id OFFSET $1 LIMIT 1", position))


FORGED = """
    INSERT INTO cai_audit (id, at, connector_id, connector_name, generation, action, actor, via, before, after,
                           previous_id, previous, digest)
    SELECT id + 1, at, connector_id, connector_name, generation, action, 'forged', via, before, after,
           previous_id, previous, digest FROM cai_audit WHERE id = {0}
"""
FITTING = [
    FORGED,
    "UPDATE cai_audit a SET previous_id = b.id, previous = b.digest FROM cai_audit b "
    "WHERE b.id = {0} AND a.id = {0} + 1",
    "UPDATE cai_audit a SET digest = cai_audit_digest(a) WHERE id = {0} + 1",
]
"""One that fits its own digest and the one before it."""


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(2_000, id="2000"),
        pytest.param(100_000, id="100000", marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)
async def test_each_way_to_tamper_is_named(database_url: str, engine: AsyncEngine, count: int) -> None:
    async with connected(database_url) as connection:
        await many_entries(connection, count)
        assert (await verify(engine)).first is None
        middle = await nth(connection, count // 2)
        newest = await nth(connection, count - 1)
        cases = {
            "a byte of a value": (
                [f"UPDATE cai_audit SET actor = 'postgrez' WHERE id = {middle}"],
                Fault.CHANGED,
                middle,
            ),
            "a byte of a state": (
                [f"UPDATE cai_audit SET after = jsonb_set(after, '{{name}}', '\"x\"') WHERE id = {middle}"],
                Fault.CHANGED,
                middle,
            ),
            "a byte of a digest": (
                [f"UPDATE cai_audit SET digest = reverse(digest) WHERE id = {middle}"],
                Fault.CHANGED,
                middle,
            ),
            "a moment": (
                [f"UPDATE cai_audit SET at = at + interval '1 microsecond' WHERE id = {middle}"],
                Fault.CHANGED,
                middle,
            ),
            "one changed with its digest": (
                [
                    f"UPDATE cai_audit SET actor = 'x' WHERE id = {newest}",
                    f"UPDATE cai_audit a SET digest = cai_audit_digest(a) WHERE id = {newest}",
                ],
                Fault.CHANGED,
                newest,
            ),
            "one removed": ([f"DELETE FROM cai_audit WHERE id = {middle}"], Fault.REMOVED, middle),
            "the newest removed": ([f"DELETE FROM cai_audit WHERE id = {newest}"], Fault.REMOVED, newest),
            "one put in": ([FORGED.format(middle)], Fault.INSERTED, middle + 1),
            "one put in that fits": ([each.format(middle) for each in FITTING], Fault.INSERTED, middle + 1),
            "one put in at the end": ([FORGED.format(newest)], Fault.INSERTED, newest + 1),
            "one put in at the end that fits": ([each.format(newest) for each in FITTING], Fault.INSERTED, newest + 1),
        }
        await connection.execute("CREATE TABLE kept AS TABLE cai_audit")
        touched = f"id IN ({middle}, {middle} + 1, {newest}, {newest} + 1)"
        longest = 0.0
        for case, (statements, fault, number) in cases.items():
            await silently(connection, *statements)
            began = time.monotonic()
            found = (await verify(engine)).first
            took = time.monotonic() - began
            assert found is not None, case
            assert (found.fault, found.entry_id) == (fault, number), f"{case}: {found}"
            assert str(number) in found.message
            assert took < 10, case
            longest = max(longest, took)
            again = f"INSERT INTO cai_audit SELECT * FROM kept WHERE {touched}"
            await silently(connection, f"DELETE FROM cai_audit WHERE {touched}", again)
        print(f"{count:,} entries: each of {len(cases)} ways named within {longest:.1f} s")
        assert (await verify(engine)).entries == count


async def test_the_newest_entry_and_all_that_knows_of_it_removed_is_seen_by_the_row(
    database_url: str, engine: AsyncEngine
) -> None:
    async with connected(database_url) as connection:
        number = await insert(connection)
        await connection.execute("UPDATE cai_connectors SET description = 'x'")
        newest = await nth(connection, 1)
        await silently(
            connection,
            f"DELETE FROM cai_audit WHERE id = {newest}",
            "UPDATE cai_audit_heads h SET id = a.id, digest = a.digest FROM cai_audit a",
        )
        found = (await verify(engine)).first
        assert found is not None
        assert (found.fault, found.connector_id) == (Fault.UNRECORDED, number)
        assert "generation 2" in found.message


async def test_a_change_with_triggers_off_is_seen_until_it_is_recorded(database_url: str, engine: AsyncEngine) -> None:
    async with connected(database_url) as connection:
        await insert(connection)
        for statement in (
            "UPDATE cai_connectors SET schedule = '7 7 * * *'",
            "DELETE FROM cai_connectors",
            f"INSERT INTO cai_connectors (name, source) VALUES ('made', '{SOURCE}')",
        ):
            await silently(connection, statement)
            found = (await verify(engine)).first
            assert found is not None, statement
            assert found.fault is Fault.UNRECORDED
            async with engine.begin() as ours:
                assert await audit.find_unrecorded(ours) == 1
            assert (await verify(engine)).first is None, statement


async def test_a_day_that_is_over_is_sealed_once_with_all_of_its_entries(
    database_url: str, engine: AsyncEngine
) -> None:
    async with connected(database_url) as connection:
        await many_entries(connection, 60)
        await yesterday(connection)
        await insert(connection, "today")
        async with engine.begin() as ours:
            assert len(await audit.seal(ours)) == 1
        async with engine.begin() as ours:
            assert await audit.seal(ours) == []
        assert await connection.fetchval("SELECT entries FROM cai_audit_seals") == 60
        assert (await verify(engine)).first is None
        gone = await connection.fetchval("SELECT min(id) FROM cai_connectors")
        await silently(
            connection,
            f"DELETE FROM cai_connectors WHERE id = {gone}",
            f"DELETE FROM cai_audit WHERE connector_id = {gone}",
            f"DELETE FROM cai_audit_heads WHERE connector_id = {gone}",
        )
        found = (await verify(engine)).first
        assert found is not None
        assert found.fault is Fault.REMOVED
        assert "60 entries, and there are 57" in found.message


async def test_a_transaction_that_is_open_over_midnight_keeps_its_day_from_being_sealed(
    database_url: str, engine: AsyncEngine
) -> None:
    async with connected(database_url) as connection, connected(database_url) as other:
        await insert(connection)
        await yesterday(connection)
        async with other.transaction():
            await insert(other, "late")
            with pytest.raises(Exception, match="lock timeout"):
                async with engine.begin() as ours:
                    await audit.seal(ours)
        async with engine.begin() as ours:
            assert len(await audit.seal(ours)) == 1
        assert (await verify(engine)).first is None
