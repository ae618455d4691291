"""Liveness probe of the controller's pods, which asks whether its loop moves: `python -m deployments.alive`.

The controller touches a file at each turn of its loop, leading or standing by, whether or not Prefect or the database
answers. Standard library only: the probe runs every half minute beside it, and importing Prefect takes two seconds.
"""

import os
import sys
import time
from pathlib import Path

ALIVE_FILE = "controller.alive"
OLDEST_SECONDS = 300.0
"""As long as the automation *controller silent* waits: one turn may be a long full cycle."""


def verdict(alive: Path, now: float) -> str | None:
    """What is wrong, as a sentence; None when the file was touched lately. `now` is in seconds since the epoch."""
    try:
        age = now - alive.stat().st_mtime
    except FileNotFoundError:
        return f"There is no {alive}: the controller's loop has not turned yet."
    if age > OLDEST_SECONDS:
        return f"The controller's loop last turned {age:.0f} s ago."
    return None


if __name__ == "__main__":
    sys.exit(verdict(Path(os.environ["CAI_DATA_DIR"]) / ALIVE_FILE, time.time()))
