"""Whole platforms, with nothing replaced."""
