"""Limits of sources, as a run keeps to them before it asks its source for anything."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from connectors.connector import Connector, ConnectorRow
from connectors.credentials import host_of, hostname, uses_of
from connectors.judging.source_limits import SourceLimit, look_at, may_go, why_quiet, why_waiting
from connectors.runs import Options
from connectors.schedules.cron import is_timezone
from connectors.schedules.dates import local
from connectors.sources.asking.quiet_hours import QuietHours, end_of_quiet
from connectors.sources.sql_database import SqlDatabaseSource
from database.access import limits_of_runs
from pipelines.access.database_urls import POSTGRES, database_url, postgres_places
from pipelines.access.secrets import Secrets
from pipelines.connector_lock import Locks, name_key


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a run may not ask its source yet. `at` is when another run looks (aware), `key` names that look once."""

    message: str
    at: datetime
    key: str


def waits_for_source(
    locks: Locks, row: ConnectorRow, found: Connector, options: Options, secrets: Secrets, *, limited: bool
) -> Wait | None:
    """Why the run may not ask its source now, and when another looks; None when it may, and has its places.

    Places last as long as the run's session, `locks`. Where none is `limited`, no limit is asked for.

    Raises:
        RunError: the platform's database does not answer, or the address of the source's can't be read.
    """
    now = datetime.now(UTC)
    timezone = row.timezone if is_timezone(row.timezone) else "UTC"
    limits = limits_of_runs.all_limits(locks.query) if limited else []
    if limits:
        uses = uses_of(row.source, None)
        hosts = hosts_of(row.source, found, secrets, within_secrets=any(each.hosts for each in limits))
        limits = [each for each in limits if each.holds_for(hosts, uses)]
    quiet = _quiet(found.run_policy.quiet_hours, limits, timezone, now)
    if quiet is not None and not options.ignore_quiet_hours:
        return quiet
    for limit in limits:
        if limit.loads is not None and (waits := _place(locks, limit, found.id, options, now)) is not None:
            return waits
    return None


def has_place(locks: Locks, row: ConnectorRow, found: Connector, secrets: Secrets) -> bool:
    """Whether one more run may ask a connector's source now, beside the one that it helps. Waits for nothing.

    Its places last as long as its session, `locks`.
    """
    limits = [each for each in limits_of_runs.all_limits(locks.query) if each.loads is not None]
    if not limits:
        return True
    uses = uses_of(row.source, None)
    hosts = hosts_of(row.source, found, secrets, within_secrets=any(each.hosts for each in limits))
    return all(any(locks.take(key) for key in _keys(limit)) for limit in limits if limit.holds_for(hosts, uses))


def _keys(limit: SourceLimit) -> list[int]:
    return [name_key(f"source limit {limit.name} {number}") for number in range(limit.loads or 0)]


def _quiet(own: Sequence[QuietHours], limits: Sequence[SourceLimit], timezone: str, now: datetime) -> Wait | None:
    """The end of the longest of all quiet hours that it is now."""
    ends: list[tuple[datetime | None, str | None]] = [(end_of_quiet(own, now, timezone), None)]
    ends += [(end_of_quiet(limit.quiet_hours, now), limit.name) for limit in limits]
    end, name = max(ends, key=lambda each: each[0] or now)
    if end is None:
        return None
    return Wait(why_quiet(local(end, timezone), name), end, f"quiet {end:%Y-%m-%dT%H:%M}")


def _place(locks: Locks, limit: SourceLimit, connector_id: int, options: Options, now: datetime) -> Wait | None:
    """Take a place under a limit, or say how it stands."""
    keys = _keys(limit)
    asked = json.dumps(options.asked, sort_keys=True)
    stand = limits_of_runs.stand_of(locks.query, limit.name, keys, connector_id, asked)
    if may_go(limit, stand) and any(locks.take(key) for key in keys):
        if stand.mine is not None:
            limits_of_runs.forget_wait(locks.query, connector_id, asked)
        return None
    at = look_at(stand, now, random.random())  # noqa: S311  # no secret
    limits_of_runs.wait_for(locks.query, limit.name, connector_id, asked, at)
    return Wait(why_waiting(limit, stand), at, f"limit {at.isoformat()}")


def hosts_of(source: Any, found: Connector, secrets: Secrets, *, within_secrets: bool) -> set[str]:
    """The hosts that a source goes to, in lower case; a database's stands in a secret, and is looked for if asked."""
    hosts = {host_of(source) or ""}
    if isinstance(source, dict) and isinstance(others := source.get("next_hosts"), list):
        hosts |= {str(each).partition(":")[0].strip().lower() for each in others}
    if isinstance(found.source, SqlDatabaseSource) and within_secrets:
        if found.source.ssh is not None:
            hosts.add(found.source.ssh.host.lower())
        url = database_url(secrets.resolve(found.source.credentials), "source.credentials")
        if urlsplit(url).scheme.partition("+")[0] in POSTGRES:
            hosts |= {(host or "").lower() for host, _, _ in postgres_places(url)}
        else:
            hosts.add(hostname(url) or "")
    return hosts - {""}
