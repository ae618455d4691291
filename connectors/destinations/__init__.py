"""Destinations: the kinds that a connector may name, a module each, and the union of them all.

As with sources: the models are the shapes of the connector's JSON, frozen, and unknown keys are refused.
"""

from typing import Annotated

from connectors.destinations.duckdb import DuckdbDestination
from connectors.destinations.filesystem import FilesystemDestination
from connectors.destinations.other import OtherDestination
from connectors.destinations.postgres import PostgresDestination
from connectors.sources.unions import ByType

Destination = Annotated[DuckdbDestination | PostgresDestination | FilesystemDestination | OtherDestination, ByType()]
"""Where a connector's rows go."""
