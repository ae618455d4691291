"""The resources of a connector as one source of dlt's."""

from typing import Any

import dlt
from dlt.extract import DltResource, DltSource


def source_of(name: str, resources: list[DltResource], contract: Any) -> DltSource:
    """One source, whose schema has the connector's name. Nested parts land as JSON: one table a resource."""
    make = dlt.source(lambda: resources, name=name, max_table_nesting=0, schema_contract=contract)
    return make()
