"""Servers that tests start, with what they do wrong on purpose."""
