"""The destination `postgres`: a PostgreSQL database. Pure."""

from typing import Annotated, Literal

from pydantic import Field

from connectors.destinations.base import AnyDestination
from connectors.sources.asking.ssh import Ssh
from connectors.sources.secret_references import Credential


class PostgresDestination(AnyDestination):
    """A PostgreSQL database."""

    type: Literal["postgres"]
    credentials: Annotated[Credential, Field(description="Its address, with user and password.")]
    ssh: Ssh = None
