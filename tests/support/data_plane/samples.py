"""Sources of connectors, as rows hold them."""

from typing import Any

from pydantic import TypeAdapter

from connectors.sources.files import FilesSource
from local.clinic import TABLES

EMR = {"env": "CAI_SECRET_EMR"}


def omop(credentials: dict[str, str], *names: str) -> dict[str, Any]:
    """A source with these tables of the clinic."""
    tables = [{"name": name, "primary_key": list(TABLES[name])} for name in names or TABLES]
    return {"type": "sql_database", "credentials": credentials, "schema": "public", "tables": tables}


def files_source(**keys: Any) -> FilesSource:
    return TypeAdapter(FilesSource).validate_python({"type": "files", "url": "/in", "format": "csv", **keys})
