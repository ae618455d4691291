"""Decisions that wait for a person: as runs leave them, and as people take them."""
