"""Deduplication: rows that come again land once."""
