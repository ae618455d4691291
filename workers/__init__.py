"""Warm workers: Prefect workers whose runs are forked from a process that has imported everything already."""
