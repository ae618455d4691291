"""The history as the database writes it: an entry for each change, whichever way it came, that nobody can alter."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.history import REDACTED, Action
from connectors.people import Actor, Via
from connectors.sources.secret_references import looks_secret
from database import audit, tables
from local.embedded_postgres import EmbeddedPostgres
from rigs.migrated import migrate
from tests.support.audit import SOURCE, connected, entries, insert, silently

ANN = Actor("ann", Via.REST, reason="the clinic asked", request_id="r-1")


async def test_each_change_of_a_user_column_is_an_entry_with_both_states(database_url: str) -> None:
    async with connected(database_url) as connection:
        number = await insert(connection)
        await connection.execute("UPDATE cai_connectors SET schedule = '0 1 * * *'")
        await connection.execute("UPDATE cai_connectors SET schedule = '0 1 * * *', generation = 9")
        await connection.execute("UPDATE cai_connectors SET prefect_deployment_id = gen_random_uuid()")
        await connection.execute("DELETE FROM cai_connectors")
        created, updated, deleted = await entries(connection)
        assert [each["action"] for each in (created, updated, deleted)] == ["create", "update", "delete"]
        assert [each["generation"] for each in (created, updated, deleted)] == [1, 2, 2]
        assert {each["connector_id"] for each in (created, updated, deleted)} == {number}
        assert {(each["actor"], each["via"], each["reason"]) for each in (created, updated)} == {
            ("postgres", "sql", None)
        }
        assert created["before"] is None
        assert json.loads(created["after"])["source"] == json.loads(SOURCE)
        assert created["after"] == updated["before"]
        assert json.loads(updated["after"])["schedule"] == "0 1 * * *"
        assert (deleted["before"], deleted["after"]) == (updated["after"], None)


async def test_the_history_has_each_column_that_people_write(database_url: str) -> None:
    ours = {"id", "prefect_deployment_id", "created_at", "updated_at", "generation"}
    async with connected(database_url) as connection:
        await insert(connection)
        kept = json.loads(await connection.fetchval("SELECT cai_connectors_values(c) FROM cai_connectors c"))
    assert set(kept) == {column.name for column in tables.connectors.columns} - ours


async def test_copy_many_rows_at_once_a_merge_and_a_truncate_are_entries_row_by_row(database_url: str) -> None:
    async with connected(database_url) as connection:
        rows = [(f"c{number}", SOURCE) for number in range(5)]
        await connection.copy_records_to_table("cai_connectors", records=rows, columns=["name", "source"])
        await connection.execute("UPDATE cai_connectors SET description = name WHERE name <> 'c0'")
        await connection.execute(
            "INSERT INTO cai_connectors (name, source) VALUES ('c0', '{}') "
            "ON CONFLICT (name) DO UPDATE SET description = 'again'"
        )
        await connection.execute(
            "MERGE INTO cai_connectors c USING (VALUES ('c1'), ('new')) AS v (name) ON c.name = v.name "
            "WHEN MATCHED THEN UPDATE SET timezone = 'Europe/Berlin' "
            "WHEN NOT MATCHED THEN INSERT (name, source) VALUES (v.name, '{}')"
        )
        await connection.execute("TRUNCATE cai_connectors")
        actions = [each["action"] for each in await entries(connection)]
        assert sorted(actions) == ["create"] * 6 + ["truncate"] * 6 + ["update"] * 6


async def test_who_acts_is_what_the_transaction_says_and_ends_with_it(database_url: str, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await audit.act_as(connection, ANN)
        await connection.execute(sa.text(f"INSERT INTO cai_connectors (name, source) VALUES ('a', '{SOURCE}')"))
        await audit.record(connection, ANN, Action.RUN, connector_id=1, connector_name="a", after={"tables": ["labs"]})
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE cai_connectors SET description = 'x'"))
    async with connected(database_url) as plain:
        said = [(each["actor"], each["via"], each["reason"], each["request_id"]) for each in await entries(plain)]
    assert said == [("ann", "rest", "the clinic asked", "r-1")] * 2 + [("postgres", "sql", None, None)]


async def test_a_change_that_is_rolled_back_leaves_no_entry(database_url: str) -> None:
    async with connected(database_url) as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(
                f"INSERT INTO cai_connectors (name, source) VALUES ('a', '{SOURCE}'), ('a', '{SOURCE}')"
            )
        assert await entries(connection) == []


async def test_a_number_that_comes_back_counts_on(database_url: str) -> None:
    async with connected(database_url) as connection:
        number = await insert(connection)
        await connection.execute("UPDATE cai_connectors SET description = 'x'")
        await connection.execute("DELETE FROM cai_connectors")
        await insert(connection, id=number)
        assert await connection.fetchval("SELECT generation FROM cai_connectors") == 3
        await connection.execute("UPDATE cai_connectors SET id = 50")
        assert [each["action"] for each in (await entries(connection))[-2:]] == ["delete", "create"]


@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {0}", "TRUNCATE {0}"])
@pytest.mark.parametrize(("table", "column"), [("cai_audit", "id"), ("cai_audit_seals", "entries")])
async def test_what_is_written_is_altered_by_nobody(
    database_url: str, engine: AsyncEngine, statement: str, table: str, column: str
) -> None:
    async with connected(database_url) as connection:
        await insert(connection)
        await silently(connection, "UPDATE cai_audit SET at = at - interval '3 days'")
        async with engine.begin() as ours:
            assert len(await audit.seal(ours)) == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute(statement.format(table, column, column))


async def test_a_role_with_rights_on_connectors_alone_writes_entries_and_can_forge_none(
    postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with connected(database_url) as connection:
        await connection.execute("DROP ROLE IF EXISTS back_end")
        await connection.execute("CREATE ROLE back_end LOGIN")
        await connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON cai_connectors TO back_end")
        try:
            await connection.execute("SET SESSION AUTHORIZATION back_end")
            await insert(connection)
            await connection.execute("UPDATE cai_connectors SET description = 'x'")
            for forged in (
                "INSERT INTO cai_audit (action, actor, via) VALUES ('run', 'ann', 'rest')",
                "SELECT cai_audit_write('update', 1, 'a', 1, NULL, NULL, NULL)",
                "UPDATE cai_audit_heads SET digest = ''",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(forged)
        finally:
            await connection.execute("RESET SESSION AUTHORIZATION")
        assert {each["actor"] for each in await entries(connection)} == {"back_end"}
        await connection.execute("DROP OWNED BY back_end")
        await connection.execute("DROP ROLE back_end")


SECRETS: dict[str, Any] = {
    "auth": {"type": "bearer", "token": "LITERAL"},
    "headers": {"X-Api-Key": "LITERAL", "Accept": "kept"},
    "nested": [{"Password": 12345, "user": "kept"}, {"cookie": ["LITERAL", "LITERAL ]"]}],
    "secret_and_more": "LITERAL",
    "two": {"a": 1, "secret": "literal-of-a-name"},
    "upper": {"secret": "LITERAL"},
    'quoted "token"': "LITERAL",
    "base_url": "https://user:LITERAL@emr.example.org/x",
    "token_in_address": "kept-not",
    "query": "https://emr.example.org/x?page=1&api_key=LITERAL&size=2",
    "user": "https://ghp_LITERAL@emr.example.org",
    "postgres": "postgresql://ann:LIT/ERAL@emr:5432/x",
}
KEPT: dict[str, Any] = {
    "auth": {"type": "bearer", "token": {"secret": "emr-token"}},
    "credentials": {"block": "sqlalchemy-connector/emr"},
    "password": {"env": "CAI_SECRET_EMR"},
    "access_token_url": "https://emr.example.org/oauth/token",
    "default_token_expiration": 300,
    "text": 'he said "token": "x", and left',
    "primary_key": "id",
    "address": "http://emr:8080/a@b?page=2",
    "list": ["token", "secret"],
}


async def test_no_entry_holds_a_secret_and_references_stay(database_url: str) -> None:
    async with connected(database_url) as connection:
        await insert(connection, source=json.dumps(SECRETS), destination=json.dumps(KEPT))
        await connection.execute("UPDATE cai_connectors SET description = 'x'")
        await connection.execute("DELETE FROM cai_connectors")
        for entry in await entries(connection):
            text = f"{entry['before']}{entry['after']}"
            assert "LITERAL" not in text
            assert "LIT/ERAL" not in text
            assert "12345" not in text
            for state in filter(None, (entry["before"], entry["after"])):
                source = json.loads(state)["source"]
                assert json.loads(state)["destination"] == KEPT
                assert source["headers"] == {"X-Api-Key": REDACTED, "Accept": "kept"}
                assert source["query"] == f"https://emr.example.org/x?page=1&api_key={REDACTED}&size=2"
                assert source["two"] == {"a": 1, "secret": REDACTED}


async def test_the_state_before_is_the_one_that_stood_to_the_character(database_url: str) -> None:
    states: list[dict[str, Any]] = [
        {"source": json.dumps(SECRETS), "description": "postgresql://ann:LITERAL@emr/x", "destination": '{"n": 1.0}'},
        {"source": json.dumps(KEPT), "description": "x?token=LITERAL", "destination": '{"n": 1}'},
        {"source": json.dumps(KEPT), "description": None, "destination": '{"token": "LITERAL"}'},
        {"source": json.dumps(SECRETS), "description": "user@example.org", "destination": None},
    ]
    async with connected(database_url) as connection:
        await insert(connection)
        stood = []
        for state in states:
            stood.append(
                await connection.fetchval("SELECT cai_redacted(cai_connectors_values(c))::text FROM cai_connectors c")
            )
            await connection.execute(
                "UPDATE cai_connectors SET source = $1, description = $2, destination = $3", *state.values()
            )
        written = await connection.fetch("SELECT before::text FROM cai_audit WHERE action = 'update' ORDER BY id")
        assert [row["before"] for row in written] == stood
        assert "LITERAL" not in "".join(stood)


NAMES = [
    "token", "X-Auth", "auth", "author", "oauth", "sig", "signal", "design", "x-key", "xkey", "api key", "apikey",
    "SESSION_ID", "passwd", "pass", "private-key", "primary_key", "Authorization", "key", "a_sig_b", "cookie2",
    "signature",
]  # fmt: skip


async def test_the_database_knows_the_names_of_secrets_that_the_validator_knows(database_url: str) -> None:
    async with connected(database_url) as connection:
        for name in NAMES:
            kept = json.loads(await connection.fetchval("SELECT cai_redacted($1)", json.dumps({name: "x"})))
            assert (kept[name] == REDACTED) is looks_secret(name), name


async def test_no_depth_or_size_of_a_row_keeps_it_from_being_saved(database_url: str) -> None:
    async with connected(database_url) as connection:
        deep = '{"token":' * 3000 + "1" + "}" * 3000
        await insert(connection, "deep", source=deep)
        await insert(connection, "long", source=json.dumps({"token": "x" * 900_000, "rows": ["y" * 100] * 5000}))
        assert len(await entries(connection)) == 2


async def test_two_who_write_one_connector_at_once_make_one_chain(database_url: str) -> None:
    async with connected(database_url) as connection:
        number = await insert(connection)
        other = await insert(connection, "other")

        async def write(worker: int) -> None:
            async with connected(database_url) as own:
                for turn in range(10):
                    await own.execute(
                        "UPDATE cai_connectors SET description = $1 WHERE id = $2", f"{worker}.{turn}", number
                    )
                    await own.execute(
                        "INSERT INTO cai_audit (connector_id, action, actor, via) VALUES ($1, 'run', 'ann', 'rest')",
                        number,
                    )

        await asyncio.gather(*(write(worker) for worker in range(6)))
        chain = [each for each in await entries(connection) if each["connector_id"] == number]
        assert len(chain) == 121
        assert [each["previous"] for each in chain[1:]] == [each["digest"] for each in chain[:-1]]
        assert [each["previous_id"] for each in chain[1:]] == [each["id"] for each in chain[:-1]]
        async with connected(database_url) as holder, holder.transaction():
            await holder.execute("UPDATE cai_connectors SET description = 'held' WHERE id = $1", number)
            await connection.execute("SET lock_timeout = '2s'")
            await connection.execute("UPDATE cai_connectors SET description = 'free' WHERE id = $1", other)


async def test_a_transaction_of_one_snapshot_forks_no_chain(database_url: str) -> None:
    async with connected(database_url) as connection, connected(database_url) as other:
        number = await insert(connection)
        async with other.transaction(isolation="repeatable_read"):
            await other.fetchval("SELECT count(*) FROM cai_connectors")
            await connection.execute(
                "INSERT INTO cai_audit (connector_id, action, actor, via) VALUES ($1, 'run', 'ann', 'rest')", number
            )
            with pytest.raises(asyncpg.SerializationError):
                await other.execute("UPDATE cai_connectors SET description = 'x'")


async def test_rows_that_stood_before_the_history_are_its_first_entries(postgres: EmbeddedPostgres) -> None:
    url = postgres.create_database("before_the_history")
    migrate(url, "upgrade", "0006")
    async with connected(url) as connection:
        await insert(connection)
        await connection.execute("UPDATE cai_connectors SET description = 'x'")
        migrate(url)
        (entry,) = await entries(connection)
        assert (entry["action"], entry["generation"], entry["before"]) == ("baseline", 2, None)
        assert json.loads(entry["after"])["description"] == "x"
        assert await connection.fetchval("SELECT cai_audit_find()") == 0


async def test_changes_with_triggers_off_are_found_once_and_recorded_as_such(
    database_url: str, engine: AsyncEngine
) -> None:
    async with connected(database_url) as connection:
        for name in ("changed", "deleted", "same"):
            await insert(connection, name)
        await silently(
            connection,
            "UPDATE cai_connectors SET schedule = '7 7 * * *' WHERE name = 'changed'",
            "DELETE FROM cai_connectors WHERE name = 'deleted'",
            f"INSERT INTO cai_connectors (name, source) VALUES ('made', '{SOURCE}')",
        )
        async with engine.begin() as ours:
            assert await audit.find_unrecorded(ours) == 3
        async with engine.begin() as ours:
            assert await audit.find_unrecorded(ours) == 0
        found = {each["connector_name"]: each for each in await entries(connection) if each["action"] == "found"}
        assert set(found) == {"changed", "deleted", "made"}
        assert {(each["actor"], each["via"]) for each in found.values()} == {("unknown", "controller")}
        assert all("triggers off" in each["reason"] for each in found.values())
        assert json.loads(found["changed"]["before"])["schedule"] is None
        assert json.loads(found["changed"]["after"])["schedule"] == "7 7 * * *"
        assert found["deleted"]["after"] is None
        assert found["made"]["before"] is None
        await connection.execute("UPDATE cai_connectors SET description = 'on again'")
        async with engine.begin() as ours:
            assert await audit.find_unrecorded(ours) == 0


async def test_a_change_that_is_about_to_be_committed_is_not_found(database_url: str, engine: AsyncEngine) -> None:
    async with connected(database_url) as connection, connected(database_url) as other:
        await insert(connection)
        async with other.transaction():
            await other.execute("UPDATE cai_connectors SET description = 'under way'")
            await insert(other, "new")
            async with engine.begin() as ours:
                assert await audit.find_unrecorded(ours) == 0
