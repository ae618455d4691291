"""Checks of a load's rows, after they were read and before one of them becomes visible in the destination."""
