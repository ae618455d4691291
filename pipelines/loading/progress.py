"""Progress of a run: what dlt counts, shown every few seconds of a run that takes longer than that.

Nobody knows how many rows a source holds, so extract counts for the first half of the way whatever it has read; the
second half are the load's jobs, whose number is known.
"""

import time
from collections.abc import Callable

from dlt.common.runtime.collector import NullCollector

EVERY_SECONDS = 5.0

Report = Callable[[float, str], None]
"""Takes a part of the way (0 to 100) and a sentence. Must not raise: nobody's run fails because it can't be watched."""


class Progress(NullCollector):
    """dlt's counters, told to whoever watches."""

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._report = report
        self._clock = clock
        self._told = clock()
        self._rows: dict[str, int] = {}
        self._jobs = [0, 0]

    def update(  # noqa: PLR0917  # dlt's own signature
        self,
        name: str,
        inc: int = 1,
        total: int | None = None,
        inc_total: int | None = None,
        message: str | None = None,
        label: str | None = None,
    ) -> None:
        """Called by dlt for every page, file and job."""
        step = self.step or ""
        if step.startswith("Extract") and name != "Resources" and not name.startswith("_dlt"):
            self._rows[name] = self._rows.get(name, 0) + inc
        if name == "Jobs" and not label:
            self._jobs = [self._jobs[0] + inc, max(self._jobs[1], total or 0) + (inc_total or 0)]
        now = self._clock()
        if now - self._told >= EVERY_SECONDS:
            self._told = now
            self._report(*self._state(step))

    def _state(self, step: str) -> tuple[float, str]:
        rows = ", ".join(f"{table} {count:,}" for table, count in self._rows.items())
        done, total = self._jobs
        if step.startswith("Load"):
            return 50 + 50 * done / max(total, 1), f"Writing: {done} of {total} parts. Read: {rows}."
        return (50.0 if step.startswith("Normal") else 10.0), f"Reading: {rows or 'nothing yet'}."
