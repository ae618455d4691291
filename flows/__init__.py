"""Flows that Prefect runs: thin entry points without logic of their own."""
