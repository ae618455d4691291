"""Alembic migrations: the only place that creates or changes tables."""
