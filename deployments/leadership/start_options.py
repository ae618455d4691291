"""Start options of a controller: what one start of it was asked to do."""

from dataclasses import dataclass
from enum import StrEnum


class WhenLed(StrEnum):
    """What a controller does when another one leads."""

    ASK = "ask"
    STAND_BY = "stand_by"
    LEAVE = "leave"


@dataclass(slots=True)
class StartOptions:
    """What one start of a controller was asked to do, over all of its terms.

    The two permissions are good once: whoever has acted on one takes it back, so that no later term finds it.
    """

    when_led: WhenLed = WhenLed.ASK
    once: bool = False
    allow_mass_prune: bool = False
    """For the first full cycle."""
    take_over: bool = False
    """For the first claim of the instance."""
    fulfilled: bool = False
    """There has been a full cycle."""
    foreground: bool = False
    """The process is the controller, and there for good: it is scraped, and it has the addresses of alerts. A flow run
    that leads gives way to it."""

    @property
    def unanswered(self) -> bool:
        """Whoever started it by hand waits for a full cycle, and there has been none."""
        return self.when_led is WhenLed.ASK and not self.fulfilled
