"""Platforms as a whole, with nothing replaced."""
