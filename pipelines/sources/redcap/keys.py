"""Keys of REDCap records, which become others when a project gets events, or an event or instrument begins to repeat.

A row of the same values then comes under another key, and that of before would stay beside it for ever. REDCap says
nothing of such a change but by the rows: their columns, and which of the key's are filled. So each load keeps how the
rows of an event are told apart, and the next one compares.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

RECORD_KEYS = ("redcap_event_name", "redcap_repeat_instrument", "redcap_repeat_instance")
"""What tells rows of one record apart in longitudinal and repeating projects."""

_EVENT, _INSTRUMENT, _INSTANCE = RECORD_KEYS


@dataclass(frozen=True, slots=True)
class KeyShape:
    """How the rows of a project are told apart, as far as they have been seen. None: there were none."""

    longitudinal: bool | None = None
    """Rows have an event."""
    repeats: bool | None = None
    """Rows have the columns of repeating events and instruments, filled or not."""
    events: Mapping[str, bool] = field(default_factory=dict)
    """Of each event, whether it repeats as a whole; "" in a project without events."""
    instruments: frozenset[tuple[str, str]] = frozenset()
    """The event and the name of each instrument that repeats."""

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Self:
        """The shape of what REDCap has answered."""
        longitudinal = repeats = False
        events: dict[str, bool] = {}
        instruments: set[tuple[str, str]] = set()
        empty = True
        for row in rows:
            empty = False
            event, instrument, instance = (str(row.get(name) or "") for name in RECORD_KEYS)
            longitudinal = longitudinal or bool(event)
            repeats = repeats or _INSTANCE in row or _INSTRUMENT in row
            if instrument:
                instruments.add((event, instrument))
            else:
                events[event] = events.get(event, False) or bool(instance)
        return cls() if empty else cls(longitudinal, repeats, events, frozenset(instruments))

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """The shape that loads before have kept; versions before kept no more than whether there are events."""
        kept = state.get("key_shape", {})
        return cls(
            state.get("longitudinal"),
            kept.get("repeats"),
            kept.get("events", {}),
            frozenset((event, instrument) for event, instrument in kept.get("instruments", ())),
        )

    def without(self, events: Collection[str]) -> "KeyShape":
        """The same without some events."""
        return replace(
            self,
            events={event: whole for event, whole in self.events.items() if event not in events},
            instruments=frozenset(pair for pair in self.instruments if pair[0] not in events),
        )

    def kept(self) -> dict[str, Any]:
        """The same for the state."""
        instruments = sorted(map(list, self.instruments))
        shape = {"repeats": self.repeats, "events": dict(self.events), "instruments": instruments}
        return {"longitudinal": self.longitudinal, "key_shape": shape}

    def turned(self, now: "KeyShape") -> bool:
        """Whether rows that have come before have another key by now.

        An instrument that repeats and is new to an event that was there may have stood in that event's own rows.
        """
        if now.longitudinal is None:
            return False
        return (
            self.longitudinal not in {None, now.longitudinal}
            or self.repeats not in {None, now.repeats}
            or any(self.events.get(event, repeats) is not repeats for event, repeats in now.events.items())
            or any(event in self.events for event, _ in now.instruments - self.instruments)
        )

    def with_more(self, now: "KeyShape") -> "KeyShape":
        """What is known after a load that brought a part of the rows."""
        if now.longitudinal is None:
            return self
        events = {**self.events, **now.events}
        return KeyShape(now.longitudinal, now.repeats, events, self.instruments | now.instruments)
