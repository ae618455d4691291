"""Work of one cycle: which connectors are in it, and why. Pure, and never changed once it is made.

    pressing   changed, named by a hint, or due for their next try
    in turn    wait for nothing but their turn in a roll-out: they are in line with their row
    waiting    both

What waits for its turn in a roll-out keeps the status that it has: neither `retrying`, nor waiting for Prefect.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from deployments.planning.plan import Desired, Invalid

Ids = frozenset[int]


@dataclass(frozen=True, slots=True)
class WorkSet:
    """The ids of one cycle's connectors."""

    changed: Ids = frozenset()
    """Their rows were changed since they were last read, or a hint names them."""
    due: Ids = frozenset()
    """The time of their next try has come."""
    deferred: Ids = frozenset()
    """Their patch waits for a later cycle of a roll-out."""

    @property
    def in_turn(self) -> Ids:
        """Those that wait for their turn in a roll-out alone."""
        return self.deferred - self.changed - self.due

    @property
    def waiting(self) -> Ids:
        """All of them."""
        return self.changed | self.due | self.deferred

    def needs_prefect(self, desired: Mapping[int, Desired]) -> Ids:
        """Those that ask something of Prefect, by what their rows ask for; one without a row is to be deleted."""
        return frozenset(i for i in self.waiting if not _only_invalid(desired.get(i)))

    def needs_a_record(self, desired: Mapping[int, Desired]) -> Ids:
        """Those that ask nothing of Prefect: what is wrong with them is recorded, whether or not Prefect is there."""
        return self.waiting - self.needs_prefect(desired)

    def waits_for_prefect(self, desired: Mapping[int, Desired], settled: Set[int] = frozenset()) -> Ids:
        """Those that are said to wait while Prefect is away; `settled` were dealt with before it went."""
        return self.needs_prefect(desired) - self.in_turn - settled

    def still_in_turn(self, settled: Set[int]) -> Ids:
        """Those whose turn in a roll-out did not come, when Prefect went away after `settled` were dealt with."""
        return self.in_turn - settled

    def scope(self, desired: Mapping[int, Desired], known: Set[int], due_now: Set[int], *, audit: bool) -> Ids:
        """Those that are looked at in Prefect: in an audit all that have a row or a status.

        Else those that need Prefect, and what has become due since: `due_now`, once Prefect answers again.
        """
        everything = frozenset(desired.keys() | known)
        return everything if audit else self.needs_prefect(desired) | (everything & due_now)


def _only_invalid(wanted: Desired | None) -> bool:
    """An active row that is invalid asks nothing of Prefect: its last good deployment stays as it is."""
    return wanted is not None and isinstance(wanted.wants, Invalid) and wanted.is_active
