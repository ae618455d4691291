"""Proof of the history: names the first entry that was changed, removed or put in between.

An entry carries the digest of its own text, which holds the number and the digest of the one before it of the same
connector. So one that was changed does not fit its own digest, and where one is missing, or one too many, its
neighbours do not fit each other. The newest of each connector stands in `cai_audit_heads` besides, and the row itself
must be as its newest change left it. Seals cover whole days. All of it is read in one snapshot, and computed by the
database.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.history import CHANGES, Fault, Finding, Verification

_TAILS = """tails AS (
    SELECT DISTINCT ON (key) key::bigint AS chain, (value->>'id')::bigint AS id, value->>'digest' AS digest
    FROM cai_audit_seals, jsonb_each(tails) WHERE moved_out_at IS NOT NULL ORDER BY key, day DESC)"""
"""The newest entry of each connector that was moved out."""

_CHANGED = sa.text("SELECT min(id + 0) FROM cai_audit a WHERE digest IS DISTINCT FROM cai_audit_digest(a)")
"""The first entry that does not fit its own digest: by itself and along no index (+ 0), so that all cores are used."""

_ENTRIES = sa.text(f"""
    WITH {_TAILS}, chained AS (
        SELECT coalesce(a.connector_id, 0) AS chain, id, connector_id, previous_id, previous, digest,
            id IS DISTINCT FROM CAST(:changed AS bigint) AS intact,
            lag(id) OVER w AS last_id, lag(digest) OVER w AS last, lag(digest, 2) OVER w AS last_but_one,
            lag(id, 2) OVER w AS last_but_one_id, lead(previous) OVER w AS next_previous, lead(id) OVER w AS next_id
        FROM cai_audit a WINDOW w AS (PARTITION BY coalesce(a.connector_id, 0) ORDER BY a.id))
    SELECT c.*, t.digest AS tail, t.id AS tail_id, h.id AS head_id, h.digest AS head
    FROM chained c LEFT JOIN tails t USING (chain) LEFT JOIN cai_audit_heads h ON h.connector_id = c.chain
    WHERE NOT intact OR previous IS DISTINCT FROM coalesce(last, t.digest)
    ORDER BY id LIMIT 1
""")  # noqa: S608  # our own text

_HEADS = sa.text(f"""
    WITH {_TAILS}, newest AS (
        SELECT DISTINCT ON (coalesce(connector_id, 0)) coalesce(connector_id, 0) AS chain, id, digest
        FROM cai_audit ORDER BY coalesce(connector_id, 0), id DESC)
    SELECT chain, coalesce(n.id, t.id) AS id, h.id AS head_id
    FROM newest n FULL JOIN tails t USING (chain)
    FULL JOIN (SELECT connector_id AS chain, id, digest FROM cai_audit_heads WHERE id IS NOT NULL) h USING (chain)
    WHERE coalesce(n.id, t.id) IS DISTINCT FROM h.id OR coalesce(n.digest, t.digest) IS DISTINCT FROM h.digest
    ORDER BY least(coalesce(n.id, t.id), h.id) LIMIT 1
""")  # noqa: S608  # our own text

_ROWS = sa.text("""
    WITH newest AS (
        SELECT DISTINCT ON (connector_id) connector_id, id, generation, after FROM cai_audit
        WHERE connector_id IS NOT NULL AND action = ANY(:changes) ORDER BY connector_id, id DESC)
    SELECT coalesce(c.id, n.connector_id) AS connector_id, n.id, n.generation AS entered, c.generation AS stands
    FROM newest n FULL JOIN (
        SELECT c.id, c.generation, cai_connectors_values(c) AS state, cai_connectors_content(c) AS content
        FROM cai_connectors c) c ON c.id = n.connector_id
    LEFT JOIN cai_audit_heads h ON h.connector_id = c.id
    WHERE CASE
        WHEN c.id IS NULL THEN n.after IS NOT NULL
        WHEN n.id IS NULL THEN h.content IS DISTINCT FROM c.content
        WHEN n.generation IS DISTINCT FROM c.generation OR n.after IS NULL THEN true
        WHEN c.state = n.after THEN false
        -- The newest entry may be older than the youngest column.
        ELSE (SELECT jsonb_object_agg(key, value) FROM jsonb_each(cai_redacted(c.state)) WHERE n.after ? key)
            IS DISTINCT FROM n.after END
    ORDER BY n.id NULLS FIRST LIMIT 1
""")

_SEALS = sa.text("""
    SELECT s.day::text AS day, s.entries AS counted, now.entries AS stand
    FROM (SELECT *, lag(digest) OVER (ORDER BY day) AS last FROM cai_audit_seals) s,
        cai_audit_seal_digest(s.day, s.previous) now
    WHERE s.previous IS DISTINCT FROM s.last OR (s.moved_out_at IS NULL AND s.digest <> now.digest)
    ORDER BY s.day LIMIT 1
""")


async def verify(engine: AsyncEngine) -> Verification:
    """Verify the whole history: 100,000 entries take a few seconds."""
    async with engine.connect() as plain:
        connection = await plain.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True, postgresql_deferrable=False
        )
        entries = await connection.scalar(sa.text("SELECT count(*) FROM cai_audit"))
        seals = await connection.scalar(sa.text("SELECT count(*) FROM cai_audit_seals"))
        found: list[Finding] = []
        changed = await connection.scalar(_CHANGED)
        if (row := (await connection.execute(_ENTRIES, {"changed": changed})).mappings().one_or_none()) is not None:
            found.append(_of_entry(row))
        if (row := (await connection.execute(_HEADS)).mappings().one_or_none()) is not None:
            found.append(_of_head(row))
        if not found:
            query = {"changes": [action.value for action in CHANGES]}
            if (row := (await connection.execute(_ROWS, query)).mappings().one_or_none()) is not None:
                found.append(_of_row(row))
        if not found and (row := (await connection.execute(_SEALS)).mappings().one_or_none()) is not None:
            found.append(_of_seal(row))
    first = min(found, key=lambda each: each.entry_id or 0, default=None)
    return Verification(int(entries or 0), int(seals or 0), first)


def _of_entry(row: sa.RowMapping) -> Finding:
    """What is wrong about the first entry that does not fit its own digest or its neighbour before it."""
    before = row["last"] or row["tail"]
    number, connector = row["id"], row["connector_id"]
    if not row["intact"]:
        follows = row["next_previous"] if row["next_id"] is not None else row["head"]
        if follows is not None and follows == before:
            return Finding(
                Fault.INSERTED, number, connector, f"Entry {number} was put in: none before or after knows it."
            )
        return Finding(
            Fault.CHANGED, number, connector, f"Entry {number} was changed: its digest is that of another text."
        )
    if row["last"] is not None and row["previous"] == (row["last_but_one"] or row["tail"]):
        put_in = row["last_id"]
        return Finding(
            Fault.INSERTED, put_in, connector, f"Entry {put_in} was put in: entry {number} does not know it."
        )
    missing = row["previous_id"]
    if missing is None:
        return Finding(Fault.INSERTED, number, connector, f"Entry {number} was put in: it says that none is before it.")
    since = row["last_id"] or row["tail_id"]
    between = f" (after entry {since}, before entry {number})" if since is not None else f" (before entry {number})"
    return Finding(Fault.REMOVED, missing, connector, f"Entry {missing} was removed{between}.")


def _of_head(row: sa.RowMapping) -> Finding:
    number, head, connector = row["id"], row["head_id"], row["chain"] or None
    if head is None or (number is not None and number > head):
        return Finding(
            Fault.INSERTED, number, connector, f"Entry {number} was put in: the connector's newest is {head}."
        )
    if number == head:
        return Finding(Fault.CHANGED, number, connector, f"Entry {number} was changed, and its digest with it.")
    return Finding(Fault.REMOVED, head, connector, f"Entry {head} was removed: it was the connector's newest.")


def _of_row(row: sa.RowMapping) -> Finding:
    connector = row["connector_id"]
    if row["stands"] is None:
        how = f"is gone, and no entry after {row['id']} says so"
    elif row["entered"] is None:
        how = "stands in the table, and no entry says how it came there"
    elif row["entered"] != row["stands"]:
        how = f"is at generation {row['stands']}, and its newest entry, {row['id']}, says {row['entered']}"
    else:
        how = f"is not as its newest entry, {row['id']}, says"
    message = f"Connector {connector} {how}: it was changed with the triggers off, or entries after that were removed."
    return Finding(Fault.UNRECORDED, row["id"], connector, message)


def _of_seal(row: sa.RowMapping) -> Finding:
    difference: Any = row["stand"] - row["counted"]
    fault = Fault.REMOVED if difference < 0 else Fault.INSERTED if difference > 0 else Fault.CHANGED
    message = (
        f"The seal of {row['day']} does not fit: it is one of {row['counted']} entries, and there are {row['stand']}. "
        "Entries of that day, or seals, were removed, put in or changed together with all that knew of them."
    )
    return Finding(fault, None, None, message)
