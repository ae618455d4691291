"""Telling people of connectors: whom, and of what."""
