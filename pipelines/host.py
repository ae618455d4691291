"""Hosts of runs: who starts the steps, keeps the time limit, and knows what else is due.

Prefect is one (`pipelines.prefect_host`), a plain process another. Whom a run tells is no matter of its host's.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from connectors.connector import RunPolicy
from connectors.runs import Options
from pipelines.errors import Step
from pipelines.load_history import Tell, nobody
from pipelines.missed_run import Due


class RunHost(Protocol):
    """The surroundings of one run."""

    @property
    def run_id(self) -> UUID | None:
        """The host's id of the run, for whoever looks at the record of the load."""

    @property
    def actor(self) -> str | None:
        """Who or what started the run; None: nobody says."""

    @property
    def due(self) -> Due | None:
        """Set for a run that a scheduler made: it may have been missed."""

    def newer_run_exists(self, due: Due) -> bool:
        """Whether a newer run of the same deployment is due, runs or has run."""

    def in_step(self, step: Step, policy: RunPolicy, work: Callable[[], None]) -> None:
        """Do the work of a step, and do it again as the policy says when its error is transient."""

    def within(self, seconds: float | None) -> contextlib.AbstractContextManager[object]:
        """Limit a block to so many seconds: TimeoutError is raised in it."""

    def come_again(self, at: datetime, key: str, options: Options) -> None:
        """Start another run at a moment (aware), asked for the same; of one key one only.

        Raises:
            RunError: it can't be asked for, so somebody has to start it.
        """

    def helped(self, load_id: int, runs: int) -> contextlib.AbstractContextManager[object]:
        """Have so many other runs help a load, which takes parts itself (`flows.parts`); none may come.

        At its end those that have not begun are called off.
        """


class PlainHost:
    """A run in a plain process: no scheduler, each step is done once, no limit of time."""

    def __init__(self, due: Due | None = None, run_id: UUID | None = None, actor: str | None = None) -> None:
        self.due = due
        self.run_id = run_id
        self.actor = actor

    def newer_run_exists(self, due: Due) -> bool:
        """No: nobody schedules here."""
        del due
        return False

    def in_step(self, step: Step, policy: RunPolicy, work: Callable[[], None]) -> None:
        """Just do it."""
        del step, policy
        work()

    def within(self, seconds: float | None) -> contextlib.AbstractContextManager[object]:
        """No limit."""
        del seconds
        return contextlib.nullcontext()

    def come_again(self, at: datetime, key: str, options: Options) -> None:
        """Nobody does: whoever started this run starts another."""
        del at, key, options

    def helped(self, load_id: int, runs: int) -> contextlib.AbstractContextManager[object]:
        """Nobody does."""
        del load_id, runs
        return contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class Listeners:
    """Whom a run tells while it goes and at its end. They must not raise."""

    tell: Tell = nobody
    """Told how the load ended."""
    report: Callable[[float, str], None] = lambda _progress, _sentence: None
    """Told how far the run is, from 0 to 100 and in a sentence, every few seconds."""
