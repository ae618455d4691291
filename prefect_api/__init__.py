"""Prefect's server: the names that are ours in it, and the calls to it."""
