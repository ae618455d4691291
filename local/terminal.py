"""Terminal output of a local installation: one plain line at a time, at once."""

import sys


def say(line: str) -> None:
    """Prints one line; a terminal that went away stops nothing."""
    try:
        print(line, flush=True)
    except (BrokenPipeError, OSError):
        sys.stdout = None  # print then prints nowhere, and says nothing
