"""Names of tables and columns, as SQL has them."""


def quoted_name(name: str) -> str:
    """A name as PostgreSQL and DuckDB take it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
