"""The names and types under which dlt's schema knows a table of loads before."""

import dlt

from connectors.sources.write_rules import landed_table, snake_case


def table_name(schema: dlt.Schema, resource: str) -> str:
    """The table that a resource fills: one of an earlier version keeps the name that it had then."""
    landed, before = landed_table(resource), snake_case(resource)
    return before if landed not in schema.tables and before in schema.tables else landed


def column_types(schema: dlt.Schema, resource: str) -> dict[str, str]:
    """The types of a table's columns, from all loads before; empty for a table that nothing was loaded into."""
    columns = schema.tables.get(table_name(schema, resource), {}).get("columns", {})
    return {name: str(column["data_type"]) for name, column in columns.items() if "data_type" in column}
