"""Profiles of what may land: the routes of `/api/v1/protections`, and their bodies."""
