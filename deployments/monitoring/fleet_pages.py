"""Fleet pages for operations: one table of all connectors, worst first, and a page of each. Pure.

Written as Prefect's artifacts show it: cells and pages are Markdown, and links are relative, so they lead wherever the
UI is seen. Times are absolute and in UTC: nothing here changes because time passes, only because something happened.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from connectors.connector import default_dataset
from connectors.freshness import Freshness, Judgement, as_it_runs, lateness, next_dates, said
from connectors.judging.standing import Standing
from connectors.loads import Outcome
from connectors.schedules.wording import words
from connectors.status import Phase
from prefect_api.artifacts import Artifact
from prefect_api.names import FLEET_KEY, page_key

MOST_ROWS = 1000
"""Of the table: the worst ones. Beyond, a browser is slow, and nobody reads on."""

LONGEST_TEXT = 500
"""Characters of what users and errors say."""

_WORST_FIRST = (
    Freshness.OVERDUE,
    Freshness.FAILING,
    Freshness.LATE,
    Freshness.INVALID,
    Freshness.ON_TIME,
    Freshness.MANUAL,
    Freshness.PAUSED,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One connector's row of the table, and where it stands in it."""

    connector_id: int
    freshness: Freshness
    row: dict[str, Any]


def entry(standing: Standing, judged: Judgement) -> Entry:
    """A connector as the table shows it."""
    load = standing.load
    done = load is not None and load.outcome is Outcome.COMPLETED
    links = [f"[more](/artifacts/key/{page_key(standing.connector_id)})"]
    if standing.deployment_id is not None:
        links.insert(0, f"[runs](/deployments/deployment/{standing.deployment_id})")
    row = {
        "connector": f"{_plain(standing.name)} ({standing.connector_id})",
        "phase": standing.phase or Phase.PENDING,
        "schedule": _schedule(standing),
        "last run": _last_run(standing),
        "rows": load.rows if load is not None and done else None,
        "freshness": judged.freshness,
        "load due": _short(next(iter(_next(standing)), None)),
        "link": " ".join(links),
    }
    return Entry(standing.connector_id, judged.freshness, row)


def fleet(entries: Iterable[Entry], tag: str) -> Artifact:
    """The table of all connectors, worst first."""
    shown = sorted(entries, key=lambda each: (_WORST_FIRST.index(each.freshness), each.connector_id))
    counts = Counter(each.freshness for each in shown)
    summary = ", ".join(f"{counts[word]} {word}" for word in _WORST_FIRST if counts[word])
    connectors = f"{len(shown)} connector{'s' * (len(shown) != 1)}"
    more = f" Shown are the first {MOST_ROWS}." if len(shown) > MOST_ROWS else ""
    description = f"{connectors}: {summary}.{more} Times are in UTC. ({tag})" if shown else f"No connectors. ({tag})"
    rows = [each.row for each in shown[:MOST_ROWS]]
    return Artifact("table", orjson.dumps(rows).decode(), description)


def page(standing: Standing, judged: Judgement, tag: str) -> Artifact:
    """The page of one connector."""
    destination = f"`{standing.destination_type}`" if standing.destination_type else "the platform's destination"
    dataset = standing.dataset_name or default_dataset(standing.connector_id)
    lines = [f"# {_plain(standing.name)}", ""]
    if standing.description:
        lines += [_plain(standing.description), ""]
    lines += [
        f"Connector {standing.connector_id} loads from `{standing.source_type}` into {destination}, "
        f"dataset `{dataset}`.",
        "",
        f"- **Schedule:** {_schedule(standing)}",
        f"- **Phase:** {standing.phase or Phase.PENDING}. {_plain(standing.message)}",
        f"- **Freshness:** {judged.freshness}. {lateness(judged, standing.facts) if judged.late else ''}",
        f"- **Last run:** {_last_load(standing)}",
    ]
    if dates := _next(standing):
        lines.append(f"- **Loads due:** {', '.join(said(at) for at in dates)}")
    links = [f"[The whole fleet](/artifacts/key/{FLEET_KEY})"]
    if standing.deployment_id is not None:
        links.insert(0, f"[Its deployment and runs](/deployments/deployment/{standing.deployment_id})")
    lines += ["", " · ".join(links)]
    text = "\n".join(line.rstrip() for line in lines)
    return Artifact("markdown", text, f"{_plain(standing.name)}: {judged.freshness}. ({tag})")


def _short(at: datetime | None) -> str:
    """A time as the table has it, whose description says that all of them are in UTC."""
    return said(at).removesuffix(" UTC")


def _schedule(standing: Standing) -> str:
    if standing.schedule is None:
        return "by hand"
    schedule = as_it_runs(standing.facts)
    return _plain(standing.schedule) if schedule is None else words(schedule)


def _last_run(standing: Standing) -> str:
    load = standing.load
    if load is None or load.outcome is None:
        return ""
    at = _short(load.ended_at or load.started_at)
    return at if load.outcome is Outcome.COMPLETED else f"{at}, {load.outcome}"


def _last_load(standing: Standing) -> str:
    load = standing.load
    if load is None or load.outcome is None:
        return "none yet."
    if load.outcome is Outcome.RUNNING:
        return f"running since {said(load.started_at)}."
    return f"{load.outcome} at {said(load.ended_at)}. {_plain(load.message)}"


def _next(standing: Standing) -> Sequence[datetime]:
    """The dates after what last happened: one that passes without a load stays, and is what is waited for."""
    happened = [standing.promise.promised_at] if standing.promise else []
    if standing.load is not None and standing.load.started_at is not None:
        happened.append(standing.load.started_at)
    return next_dates(standing.facts, max(happened)) if happened else ()


def _plain(text: str | None) -> str:
    """What a user or an error said, on one line, as Markdown that shows it and does nothing."""
    short = " ".join((text or "").split())[:LONGEST_TEXT]
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", short)
