"""Asking: when a source is asked, and the way there."""
