"""A back end alters a table of ours while API and controller are at work: nobody's statement fails for it."""

import pytest

from database.store import Store
from tests.support.api_rig import CONNECTORS, client, create
from tests.support.back_end import run

ALTERATIONS = [
    "ALTER TABLE cai_connectors ALTER COLUMN description TYPE varchar(200)",
    "ALTER TABLE cai_connectors ALTER COLUMN timezone TYPE varchar(64)",
    "ALTER TABLE cai_connector_status ALTER COLUMN message TYPE varchar(4000)",
    "ALTER TABLE cai_connectors ADD COLUMN clinic text DEFAULT 'x'",
]


@pytest.mark.parametrize("statement", ALTERATIONS)
async def test_a_statement_that_was_used_before_works_after_a_back_ends_alter_table(
    store: Store, database_url: str, statement: str
) -> None:
    async with client(database_url) as api:
        made = await create(api)
        for _ in range(3):
            assert (await api.get(CONNECTORS)).status_code == 200
            await store.rows(), await store.statuses(), await store.marks(), await store.fleet()
        await run(database_url, statement)
        await store.rows(), await store.statuses(), await store.marks(), await store.fleet()
        assert (await api.get(CONNECTORS)).status_code == 200
        assert (await api.patch(f"{CONNECTORS}/{made['id']}", json={"schedule": "7 7 * * *"})).status_code == 200
