"""A figure: what was measured, beside what, and whether it holds its bar."""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

ROUNDS = 5
"""How often each side of a figure is measured; the two sides take turns."""

LONG_ROUNDS = 3
"""The same, for what takes half a minute or more."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. A figure without a bar is there for docs/scale.md."""

    name: str
    measured: str
    baseline: str
    ratio: float | None
    bar: str
    holds: bool
    note: str = ""
    """What else must be known to judge it: above all, why it falls short."""

    @property
    def verdict(self) -> str:
        """`holds` or `FALLS SHORT`; nothing without a bar."""
        if not self.bar:
            return ""
        return "holds" if self.holds else "FALLS SHORT"


def in_turns(
    ours: Callable[[], float], baseline: Callable[[], float], rounds: int = ROUNDS, *, warm: bool = True
) -> tuple[list[float], list[float]]:
    """Seconds of both sides, measured alternately after one round that does not count, unless it is not `warm`."""
    if warm:
        ours()
        baseline()
    pairs = [(ours(), baseline()) for _ in range(rounds)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


async def in_turns_async(
    ours: Callable[[], Awaitable[float]], baseline: Callable[[], Awaitable[float]], rounds: int = LONG_ROUNDS
) -> tuple[list[float], list[float]]:
    """`in_turns`, for coroutines, all of which counts."""
    pairs = [(await ours(), await baseline()) for _ in range(rounds)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def median_ratio(ours: Sequence[float], baseline: Sequence[float]) -> float:
    """The median of the ratios pair by pair."""
    return statistics.median(a / b for a, b in zip(ours, baseline, strict=True))


def shown(seconds: Sequence[float]) -> str:
    """Median and spread, in milliseconds or seconds."""
    unit, factor = ("s", 1.0) if min(seconds) >= 1 else ("ms", 1000.0)
    return f"{spread(seconds, factor)[0]} {unit} ({spread(seconds, factor)[1]})"


def rate(per_second: Sequence[float]) -> str:
    """Median and spread of a rate."""
    middle, around = spread(per_second)
    return f"{middle} /s ({around})"


def spread(values: Sequence[float], factor: float = 1.0) -> tuple[str, str]:
    """The median, and the least and the greatest as `a to b`."""
    low, middle, high = (value * factor for value in (min(values), statistics.median(values), max(values)))
    return f"{middle:.1f}", f"{low:.1f} to {high:.1f}"


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table, and beneath it what is to be said of them."""
    lines = ["| figure | measured | baseline | ratio | bar | verdict |", "|---|---|---|---|---|---|"]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        cells = (figure.name, figure.measured, figure.baseline, ratio, figure.bar, figure.verdict)
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- *{figure.name}*: {figure.note}" for figure in figures if figure.note]
    return "\n".join([*lines, *(["", *notes] if notes else [])])
