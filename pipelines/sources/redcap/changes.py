"""The records of a project that changed since a load: by `dateRangeBegin`, and by the log where the token may read it.

The log tells what the dates do not: the time on the server's clock, by which only what really changed since then comes
again; records that were deleted or renamed; and changes that REDCap's dates don't count. It is read and not kept.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import RunError
from pipelines.sources.redcap.asking import Project
from pipelines.sources.redcap.batches import Records
from pipelines.sources.redcap.clocks import not_after, not_after_by_log

_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class Changed:
    """What changed since a moment."""

    ids: list[str]
    """Records to read, in REDCap's order."""
    gone: int = 0
    """Records that the log names and REDCap does not have: deleted, renamed, or left out by the connector's filters."""


def changed_since(project: Project, records: Records, moment: datetime, zone: str | None) -> Changed:
    """The records that changed since a moment (in UTC), and perhaps some that changed before.

    Raises:
        RunError: when REDCap does not list them.
    """
    begin = not_after(moment, zone)
    dated = records.ids(dateRangeBegin=begin)
    # The log after the list, which is in it: its last entry is of now.
    log = _log(project, begin)
    if log is None:
        return Changed(dated)
    from_then = None if zone else not_after_by_log(moment, (entry["timestamp"] for entry in log), datetime.now(UTC))
    last = _last_changes(log)
    begin = max(begin[:16], from_then or "")
    # What the log has nothing of is read: the dates count something that it does not.
    ids = [each for each in dated if last.get(each, begin) >= begin]
    others = [each for each, stamp in last.items() if stamp >= begin and each not in set(dated)]
    there = records.existing(others)
    return Changed([*ids, *there], len(others) - len(there))


def _log(project: Project, begin: str) -> list[dict[str, Any]] | None:
    """The log from a wall time on; None where the token may not read it, or the server can't or does not name records.

    Versions before 13.4.9 name the record of an entry nowhere but in a sentence.
    """
    try:
        entries = project.answer("log", {"beginTime": begin[:16]}, hurried=True).rows
    except RunError:
        # The dates say what changed as well.
        return None
    is_log = all("record" in entry and _STAMP.match(str(entry.get("timestamp"))) for entry in entries)
    return entries if entries and is_log else None


def _last_changes(log: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """When each record was last changed, by the log."""
    found: dict[str, str] = {}
    for entry in log:
        if record := str(entry["record"] or ""):
            found[record] = max(found.get(record, ""), entry["timestamp"][:16])
    return found
