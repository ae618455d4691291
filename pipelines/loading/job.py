"""Jobs: what the pipeline takes of the run around it."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from connectors.connector import Connector
from connectors.destinations import Destination
from connectors.runs import Options
from connectors.sources.protection.rules import Profile
from pipelines.access.secrets import Secrets
from pipelines.connector_lock import Locks
from settings import Settings


@dataclass(frozen=True, slots=True)
class Job:
    """One load of one connector, by a run that holds the connector's lock."""

    connector: Connector
    destination: Destination
    """The connector's own, or the platform's."""
    options: Options
    settings: Settings
    secrets: Secrets
    locks: Locks
    directory: Path
    """Of this run alone; it goes with the run."""
    report: Callable[[float, str], None]
    """Told how far the load is, from 0 to 100 and in a sentence."""
    names: set[str]
    """The tables and columns that a sentence about an error may show. The pipeline adds those that it lands."""
    profile: Profile | None = None
    """That which `protect` of the source names."""
    load_id: int | None = None
    """The load's row in `cai_loads`; None where it could not be written."""
    helped: Callable[[int, int], contextlib.AbstractContextManager[object]] = lambda _load, _runs: (
        contextlib.nullcontext()
    )
    """Has so many other runs help the load, within it; none may come."""

    @property
    def name(self) -> str:
        """The name under which the destination keeps the state of the connector's loads."""
        return f"connector_{self.connector.id}"
