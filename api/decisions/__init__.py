"""Decisions by the REST API: what waits for a person, and what the person says."""
