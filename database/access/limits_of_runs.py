"""`cai_source_limits` and `cai_source_waits`, as runs read and write them: each function is one statement.

A place under a limit is an advisory lock of the run's own session, one of as many as the limit has: it falls with the
session, however the run ends.
"""

from collections.abc import Sequence
from datetime import datetime

from pydantic import TypeAdapter

from connectors.credentials import CredentialKind
from connectors.judging.source_limits import STALE, SourceLimit, Stand
from connectors.sources.asking.quiet_hours import QuietHours
from database.runs import Query

_STALE = f"interval '{STALE.total_seconds():.0f} seconds'"
_WINDOWS = TypeAdapter(tuple[QuietHours, ...])


def all_limits(query: Query) -> list[SourceLimit]:
    """Every limit, by name: two runs ask for places in the same order."""
    found = query(
        """
        SELECT json_agg(json_build_object('name', name, 'hosts', hosts, 'credentials', credentials, 'loads', loads,
            'quiet_hours', quiet_hours) ORDER BY name) AS found
        FROM cai_source_limits
        """,
        {},
    )
    return [
        SourceLimit(
            each["name"],
            tuple(each["hosts"]),
            tuple((CredentialKind(kind), name) for said in each["credentials"] for kind, name in said.items()),
            each["loads"],
            _WINDOWS.validate_python(each["quiet_hours"]),
        )
        for each in (found or {}).get("found") or ()
    ]


def stand_of(query: Query, name: str, keys: Sequence[int], connector_id: int, asked: str) -> Stand:
    """How a limit stands, whose places have these keys, for a run of a connector that is asked for this."""
    found = query(
        f"""
        SELECT
            (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND ((classid::bigint << 32) | objid::bigint) = ANY(%(keys)s)) AS under_way,
            (SELECT count(*) FROM cai_source_waits WHERE limit_name = %(name)s
                AND look_at > now() - {_STALE} AND connector_id <> %(connector)s) AS others,
            (SELECT look_at FROM cai_source_waits WHERE connector_id = %(connector)s AND asked = %(asked)s
                AND limit_name = %(name)s AND look_at > now() - {_STALE}) AS mine
        """,  # noqa: S608  # all parts are ours
        {"name": name, "keys": list(keys), "connector": connector_id, "asked": asked},
    )
    assert found is not None, "a query without a table has a row"  # noqa: S101  # for the type
    return Stand(found["under_way"], found["others"], found["mine"])


def wait_for(query: Query, name: str, connector_id: int, asked: str, look_at: datetime) -> None:
    """Note that a run waits for a limit, and when another looks."""
    query(
        """
        INSERT INTO cai_source_waits (connector_id, asked, limit_name, look_at)
        VALUES (%(connector)s, %(asked)s, %(name)s, %(at)s)
        ON CONFLICT (connector_id, asked) DO UPDATE SET
            limit_name = excluded.limit_name, look_at = excluded.look_at
        """,
        {"connector": connector_id, "asked": asked, "name": name, "at": look_at},
    )


def forget_wait(query: Query, connector_id: int, asked: str) -> None:
    """Nobody waits any more for what this connector was asked for, nor do those that were to look a day ago."""
    query(
        """
        DELETE FROM cai_source_waits
        WHERE (connector_id = %(connector)s AND asked = %(asked)s) OR look_at < now() - interval '1 day'
        """,
        {"connector": connector_id, "asked": asked},
    )
