"""Databases: dialects, cursors, and values by reader."""
