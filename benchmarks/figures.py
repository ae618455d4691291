"""A figure: what was measured, beside what, and whether it holds its bar."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ROUNDS = 5
"""How often each side of a figure is measured; the two sides take turns."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    name: str
    measured: str
    baseline: str
    ratio: float | None
    bar: str
    holds: bool

    @property
    def verdict(self) -> str:
        """`holds` or `FALLS SHORT`."""
        return "holds" if self.holds else "FALLS SHORT"


def in_turns(ours: Callable[[], float], baseline: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Seconds of both sides, measured alternately after one round that does not count."""
    ours()
    baseline()
    pairs = [(ours(), baseline()) for _ in range(ROUNDS)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def median_ratio(ours: Sequence[float], baseline: Sequence[float]) -> float:
    """The median of the ratios pair by pair."""
    return statistics.median(a / b for a, b in zip(ours, baseline, strict=True))


def shown(seconds: Sequence[float]) -> str:
    """Median and spread, in milliseconds or seconds."""
    unit, factor = ("s", 1.0) if min(seconds) >= 1 else ("ms", 1000.0)
    low, middle, high = (value * factor for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:.1f} {unit} ({low:.1f} to {high:.1f})"


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table."""
    lines = ["| figure | measured | baseline | ratio | bar | verdict |", "|---|---|---|---|---|---|"]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        cells = (figure.name, figure.measured, figure.baseline, ratio, figure.bar, figure.verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
