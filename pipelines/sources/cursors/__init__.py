"""Cursors: values, windows, and the rows that are newer."""
