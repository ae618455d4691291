"""Limits of jsonb, against a real PostgreSQL."""

from typing import Any

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from connectors.limits.jsonb import unstorable
from database.store import Store
from database.tables import connectors

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=8,
)


async def test_what_is_not_refused_can_be_stored(store: Store) -> None:
    examples: list[Any] = []

    @given(JSON)
    def collect(value: Any) -> None:
        if not unstorable(value, "source"):
            examples.append(value)

    collect()
    async with store.engine.begin() as connection:
        rows = [{"name": f"c{number}", "source": {"value": value}} for number, value in enumerate(examples)]
        await connection.execute(sa.insert(connectors), rows)
    assert len(await store.rows()) == len(examples)
