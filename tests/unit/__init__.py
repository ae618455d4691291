"""Decisions and values: no process, no database, no server."""
