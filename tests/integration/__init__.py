"""Tests on a real PostgreSQL, Prefect server or HTTP server, in one process."""
