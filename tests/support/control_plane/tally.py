"""Tally of the random walks and the kills, for the one line at the end of a test run."""

from collections import Counter

done: Counter[str] = Counter()
"""`steps`, `faults`, `kills`, and `divergences`: a walk or a kill after which Prefect and the table differed."""


def standstill(seconds: float) -> None:
    """Note how long a cycle took while a row was locked."""
    done["cycles beside a locked row"] += 1
    done["longest of them, ms"] = max(done["longest of them, ms"], round(seconds * 1000))


def line() -> str | None:
    """The line, when there was any such test."""
    if not done:
        return None
    return ", ".join(f"{what}: {done[what]}" for what in ("steps", "faults", "kills")) + (
        f", divergences = {done['divergences']}, cycles beside a locked row: {done['cycles beside a locked row']}, "
        f"the longest {done['longest of them, ms'] / 1000:.1f} s"
    )
