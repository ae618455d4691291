"""Exports that a source makes for a connector before there are rows to read, kept from run to run.

A server may take days for one. Nobody waits for it: a run looks, ends as *waiting*, and another one looks again. What
is known of the export stands in the platform's database from before its first look, so that a run which dies is
followed by one that goes on with the same export.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from connectors.runs import Options
from database import runs
from database.runs import Export, Query


class NotReadyError(Exception):
    """The source has not made the rows yet. `at` is when another run looks, `key` names that look once."""

    def __init__(self, sentence: str, at: datetime, key: str) -> None:
        super().__init__(sentence)
        self.at = at
        self.key = key


@dataclass
class Exports:
    """The export of one connector, for one run, which holds the connector's lock."""

    query: Query
    connector_id: int
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the run is asked for."""
    found: Any = None
    """What the run's look at the server has found."""
    gone: dict[str, list[Path]] = field(default_factory=dict)
    """Parquet with the ids of the resources that the server says it has deleted, by type."""
    without: dict[str, list[Path]] = field(default_factory=dict)
    """Parquet with the ids of the resources of which a view has no row any more, by the view's table."""
    end: Callable[[], None] | None = None
    """Ends the export at the server; called when its rows stand in the destination."""

    def current(self) -> Export | None:
        """The export under way; None: there is none."""
        return runs.export_of(self.query, self.connector_id)

    def begin(self, asked: Mapping[str, Any]) -> uuid.UUID:
        """Note that the server is being asked for one. If the process dies now, nobody knows whether it was."""
        export_id = uuid.uuid4()
        runs.begin_export(self.query, self.connector_id, export_id, asked, self.options)
        return export_id

    def refused(self, export_id: uuid.UUID, look_at: datetime | None = None) -> None:
        """The server has not begun it."""
        runs.export_refused(self.query, export_id, look_at)

    def located(self, export_id: uuid.UUID, address: str) -> None:
        """The server has named the address where it tells how far it is."""
        runs.export_located(self.query, export_id, address)

    def look_again(self, export_id: uuid.UUID, at: datetime) -> None:
        """Nobody looks before a time."""
        runs.look_again_at_export(self.query, export_id, at)

    def forget(self, export_id: uuid.UUID) -> None:
        """It is over."""
        runs.forget_export(self.query, export_id)


def asked_before(query: Query, connector_id: int, options: Options) -> Options:
    """What a run is to do: one that is asked for nothing of its own goes on with an export as that was asked for."""
    if options.asked or (export := runs.export_of(query, connector_id)) is None:
        return options
    kept = export.options
    return Options(full_refresh=bool(kept.get("full_refresh")), tables=tuple(kept.get("tables") or ()))
