"""History of connectors: entries, the changes between two states of a row, and what a verification finds.

This module is pure: `database.audit` reads and writes entries, `use_cases.history` puts both together.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from connectors.errors import NoSuchGenerationError, NotRestorableError

REDACTED = "***redacted***"
"""Stands in an entry where the row held a secret in plain text."""


class Action(StrEnum):
    """What an entry tells of. The first group is written by triggers or finds a change, the others by the use cases."""

    BASELINE = "baseline"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"
    FOUND = "found"

    RUN = "run"
    CANCEL = "cancel"
    TEST = "test"
    DISCOVER = "discover"
    RETRY = "retry"
    RESTORE = "restore"
    ALLOW_MASS_PRUNE = "allow_mass_prune"
    ARCHIVE = "archive"
    LOG_IN = "log_in"
    LOG_IN_REFUSED = "log_in_refused"
    LOG_OUT = "log_out"
    TOKEN_CREATED = "token_created"  # noqa: S105  # no token
    TOKEN_REVOKED = "token_revoked"  # noqa: S105  # no token
    CREDENTIAL_CREATED = "credential_created"
    CREDENTIAL_DELETED = "credential_deleted"
    PROTECTION_KEPT = "protection_kept"
    PROTECTION_DELETED = "protection_deleted"
    SOURCE_LIMIT_KEPT = "source_limit_kept"
    SOURCE_LIMIT_DELETED = "source_limit_deleted"
    FOLLOW_UP_REFUSED = "follow_up_refused"
    APPROVE = "approve"
    REFUSE = "refuse"


CHANGES = (Action.BASELINE, Action.CREATE, Action.UPDATE, Action.DELETE, Action.TRUNCATE, Action.FOUND)
"""What tells how a connector's row stood from then on."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of `cai_audit`."""

    id: int
    at: datetime
    connector_id: int | None
    connector_name: str | None
    generation: int | None
    action: str
    actor: str
    via: str
    reason: str | None
    request_id: str | None
    before: Any
    after: Any
    digest: str


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs between two states. `path` is a JSON pointer that begins with the column."""

    path: str
    old: Any
    new: Any


def changes_between(before: Any, after: Any) -> list[Change]:
    """The values that differ, by path. Objects are compared key by key, lists of one length item by item.

    A state that is None (before the connector was, after it has gone) has no values. A key that is missing and one that
    is null are one.
    """
    found: list[Change] = []
    waiting: list[tuple[str, Any, Any]] = [("", before or {}, after or {})]
    while waiting:
        path, old, new = waiting.pop()
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            keys = [*old, *(key for key in new if key not in old)]
            waiting += [(f"{path}/{_escaped(key)}", old.get(key), new.get(key)) for key in reversed(keys)]
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            pairs = list(zip(old, new, strict=True))
            waiting += [(f"{path}/{index}", *pairs[index]) for index in reversed(range(len(pairs)))]
        elif old != new or isinstance(old, bool) is not isinstance(new, bool):
            found.append(Change(path, old, new))
    return found


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def is_redacted(state: Any) -> bool:
    """Whether a state lacks a secret that stood in the row."""
    return any(REDACTED in text for text in _texts(state))


def _texts(state: Any) -> list[str]:
    waiting, texts = [state], []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return texts


def team_of(entry: AuditEntry) -> str | None:
    """The team of a connector as an entry tells it; None: it is everybody's, or there were no teams then."""
    state = entry.after if entry.after is not None else entry.before
    team = state.get("team") if isinstance(state, Mapping) else None
    return team if isinstance(team, str) else None


def restorable(entry: AuditEntry | None, generation: int, columns: Collection[str]) -> dict[str, Any]:
    """The values of those columns at a generation, as far as its entry has them.

    Raises:
        NoSuchGenerationError: there is no such entry.
        NotRestorableError: it lacks something that the row held.
    """
    if entry is None:
        raise NoSuchGenerationError(generation)
    values = {name: entry.after[name] for name in columns if name in entry.after}
    if "name" not in values or is_redacted(values):
        raise NotRestorableError(generation)
    return values


class Fault(StrEnum):
    """How the history is not what was written."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    UNRECORDED = "unrecorded"
    """The row of a connector is not as its newest entry left it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The first fault of a verification. `entry_id` is None where a whole day's seal alone tells of it."""

    fault: Fault
    entry_id: int | None
    connector_id: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification of the whole history came to."""

    entries: int
    seals: int
    first: Finding | None
