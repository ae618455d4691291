"""Benchmarks of the data plane: `python -m benchmarks.data`."""
