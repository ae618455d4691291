"""Rig of the benchmarks: the stage that they run on, counted calls, and figures beside their bars."""
