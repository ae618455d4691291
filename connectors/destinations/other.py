"""Other destinations, by their names in dlt: warehouses and lakes without a model of their own here. Pure."""

from typing import Annotated

from pydantic import Field, StringConstraints

from connectors.destinations.base import AnyDestination
from connectors.sources.secret_references import Credential

OTHER_DESTINATIONS = (
    "athena",
    "bigquery",
    "clickhouse",
    "databricks",
    "dremio",
    "ducklake",
    "fabric",
    "lance",
    "lancedb",
    "motherduck",
    "mssql",
    "qdrant",
    "redshift",
    "snowflake",
    "sqlalchemy",
    "synapse",
    "weaviate",
)
"""The destinations that dlt has besides those with a model of their own here."""


class OtherDestination(AnyDestination):
    """Any other destination of dlt, by its name there, with credentials as dlt takes them (an address or JSON)."""

    type: Annotated[
        str,
        StringConstraints(pattern="|".join(OTHER_DESTINATIONS)),
        Field(description=f"dlt's name of it, one of: {', '.join(OTHER_DESTINATIONS)}."),
    ]
    credentials: Annotated[Credential, Field(description="As dlt takes them: an address, or JSON.")]

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        return OTHER_DESTINATIONS
