"""Limits of sources: the routes of `/api/v1/source-limits`, and their bodies."""
