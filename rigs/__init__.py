"""Rigs: what tests and benchmarks set up alike, so that neither imports the other."""
