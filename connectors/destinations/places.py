"""Places of destinations: which local ones a connector may write, and when two destinations are one place.

A connector is written by a business user, and its path is opened by the worker: without a rule it could name any file
that the worker may write, its own code among them. Local destinations stay below the data directory or below the
directories that the operator names; only the platform's own default destination may be anywhere. This module is pure:
paths are compared as they are written, and the run looks again at what links resolve to.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from connectors.destinations import Destination
from connectors.destinations.duckdb import DuckdbDestination
from connectors.destinations.filesystem import FilesystemDestination
from connectors.destinations.other import OtherDestination
from connectors.destinations.postgres import PostgresDestination


@dataclass(frozen=True, slots=True)
class Places:
    """The places of an installation, by its settings."""

    data_dir: Path = field(default_factory=Path)
    roots: tuple[Path, ...] = ()
    """Further directories that local destinations may be in."""
    default: Mapping[str, Any] = field(default_factory=dict)
    """The destination of connectors that name none."""


class HasPlaces(Protocol):
    """The settings that say something of places."""

    @property
    def data_dir(self) -> Path: ...
    @property
    def local_destination_roots(self) -> list[Path]: ...
    @property
    def destination(self) -> dict[str, Any]: ...


def places_of(settings: HasPlaces) -> Places:
    """What an installation's settings say of places."""
    return Places(settings.data_dir, tuple(settings.local_destination_roots), settings.destination)


def local_path(destination: Destination, data_dir: Path) -> Path | None:
    """The path that a destination writes on the worker's own disk; None when it is elsewhere."""
    match destination:
        case DuckdbDestination(path=path):
            return data_dir / path
        case FilesystemDestination(url=url):
            return path_of(url)
    return None


def path_of(url: str) -> Path | None:
    """The local path in an address: an absolute path, or file://."""
    if url.startswith("/"):
        return Path(url)
    found = re.fullmatch(r"file://(?:localhost)?(/.*)", url)
    return Path(unquote(found.group(1))) if found else None


def is_below(path: Path, roots: tuple[Path, ...]) -> bool:
    """Whether a path is one of these directories or in one, as it is written: `..` is worked out, links are not."""
    plain = Path(os.path.normpath(path))
    return any(plain.is_relative_to(os.path.normpath(root)) for root in roots)


def outside(destination: Destination, places: Places) -> str | None:
    """Why a connector may not write to a destination, or None."""
    path = local_path(destination, places.data_dir)
    if path is None or is_below(path, (places.data_dir, *places.roots)):
        return None
    key = "path" if isinstance(destination, DuckdbDestination) else "url"
    return (
        f"destination.{key} must be below the platform's data directory or one of CAI_LOCAL_DESTINATION_ROOTS: name a "
        "place there, or have operations add its directory."
    )


def identity(destination: Destination, places: Places) -> tuple[str, ...]:
    """What is equal for two destinations that are the same place, as far as that can be told without asking them."""
    path = local_path(destination, places.data_dir)
    if path is not None:
        return destination.type, os.path.normpath(path)
    match destination:
        case FilesystemDestination(url=url):
            return "filesystem", url.rstrip("/")
        case PostgresDestination() | OtherDestination():
            return destination.type, json.dumps(destination.credentials.model_dump(), sort_keys=True)
    return (destination.type,)
