"""Asking: when a source is asked."""
