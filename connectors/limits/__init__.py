"""Limits of values: numbers, names and JSON that the table, Prefect and people can all take. Pure."""
