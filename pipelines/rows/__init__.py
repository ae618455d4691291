"""Rows on their way from a source to a load file: names, types, order."""
