"""Causes of failed runs, in sentences of our own."""
