"""Paging: all pages of one resource, and the proof that they are all."""
