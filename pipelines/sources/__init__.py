"""One module per source kind, found by its name: `pipelines/sources/{type}.py` with a function `resources`.

A module is imported only by the run of its kind: `rest_api` alone costs seconds, which no other kind owes.
"""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from connectors.sources import Source
from pipelines.access.denied_hosts import DeniedHosts
from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError
from pipelines.protection.masking import Mask
from pipelines.protection.protecting import Protection
from pipelines.remarks import Remarks
from pipelines.rows.rejected import RejectedRows
from pipelines.sources.exports import Exports
from settings import Settings

if TYPE_CHECKING:
    from dlt.extract import DltResource

    from pipelines.sources.sql.streams.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the past to load again: from (inclusive) and to (exclusive). Without a zone a moment is UTC."""

    start: datetime | None = None
    end: datetime | None = None

    def __bool__(self) -> bool:
        return self.start is not None or self.end is not None

    def bounds(self) -> tuple[datetime, datetime]:
        """Both moments in UTC; a window without an end ends now.

        Raises:
            ConfigurationError: when there is no such time.
        """
        if self.start is None:
            raise ConfigurationError("backfill_to needs backfill_from, the moment at which the backfill begins.")
        start, end = in_utc(self.start), in_utc(self.end or datetime.now(UTC))
        if start >= end:
            raise ConfigurationError("backfill_from must be before backfill_to, and in the past.")
        return start, end


def in_utc(moment: datetime) -> datetime:
    """A moment in UTC, which it is already when it has no zone."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Context:
    """What a source needs besides its own JSON."""

    secrets: Secrets
    local_file_roots: tuple[Path, ...] = ()
    data_dir: Path = Path()
    """Where this installation keeps files of its own."""
    denied: DeniedHosts = field(default_factory=DeniedHosts)
    """Hosts that no source and no destination may be."""
    window: Window = field(default_factory=Window)
    row_limit: int | None = None
    rehearsal: bool = False
    """Nothing lands: a limit then costs no later run anything."""
    mask: Mask = field(default_factory=Mask)
    protection: Protection = field(default_factory=Protection)
    """Both are told of columns by a reader that knows them before it reads: see `declare`."""
    full_refresh: bool = False
    """The tables are dropped and loaded anew: what is not read now will be missing."""
    keys_alone: bool = False
    """Only what tells rows apart is wanted, to compare it: a reader that can gives no more."""
    directory: Path | None = None
    """The run's own, for what does not fit into memory; None for the system's."""
    remarks: Remarks = field(default_factory=Remarks)
    """Takes what people must know of the rows that were read."""
    exports: Exports | None = None
    """Keeps what a source makes for the connector before there are rows; None where nothing may be begun."""
    tables: tuple[str, ...] = ()
    """The tables that are wanted; none for all."""
    states: Mapping[str, Any] = field(default_factory=dict)
    """The states of all loads before, by resource."""
    snapshot: "Snapshot | None" = None
    """The moment at which rows of PostgreSQL are read that stream; None where each row goes through this program."""
    listed: dict[str, frozenset[str]] = field(default_factory=dict)
    """Takes the names of all files of a table, as rows have them, where its rows go with their files."""
    rejected: RejectedRows = field(default_factory=RejectedRows)
    """Takes lines that are no rows, where the connector rejects them."""

    def declare(self, columns: Iterable[str], *, complete: bool = False) -> None:
        """Tell what hides columns which of them a source has. `complete`: it has no others.

        Raises:
            ConfigurationError: when it has no others, and one is to be hidden.
        """
        names = tuple(columns)
        self.mask.declare(names, complete=complete)
        self.protection.declare(names, complete=complete)

    @classmethod
    def of(cls, settings: Settings, secrets: Secrets, **more: Any) -> "Context":
        """A context with what an installation's settings say: for a run and for a test alike."""
        return cls(
            secrets, tuple(settings.local_file_roots), settings.data_dir, denied=DeniedHosts.of(settings), **more
        )


class SourceModule(Protocol):
    """What each module of this package offers."""

    def resources(self, source: Any, context: Context) -> "list[DltResource]":
        """The dlt resources of a source: one for each table that it fills.

        Raises:
            RunError: or whatever a driver raises, which `error_causes.classification` understands.
        """


def open_source(source: Source, context: Context) -> "list[DltResource]":
    """The resources of a source of any kind.

    Raises:
        RunError: as the readers do, and for a backfill of no time at all.
    """
    if context.window:
        context.window.bounds()
    module = cast(SourceModule, importlib.import_module(f"{__name__}.{source.type}"))
    return module.resources(source, context)


def look_first(source: Source, context: Context) -> None:
    """Have a source that makes its rows before they can be read look whether they are there, if it is making any.

    Raises:
        NotReadyError: they are not, and another run looks again.
        RunError: the source can't be asked.
    """
    if context.exports is None or context.exports.current() is None:
        return
    module: Any = importlib.import_module(f"{__name__}.{source.type}")
    module.look_first(source, context)
