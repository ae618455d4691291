"""Options of a run: what the one who starts it may ask of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is asked for; all of its connector, when nothing is said."""

    full_refresh: bool = False
    tables: tuple[str, ...] = ()
    row_limit: int | None = None
    backfill_from: datetime | None = None
    backfill_to: datetime | None = None

    @property
    def partial(self) -> bool:
        """Whether the run looks at a part of the source only, so that a cursor must not move."""
        return self.backfill_from is not None or self.backfill_to is not None

    @property
    def of_everything(self) -> bool:
        """Whether the run says how the connector does; one of a part, asked for by hand, does not."""
        return not (self.partial or self.tables or self.row_limit)

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked beside the connector's own settings, as JSON has it."""
        asked = {
            "full_refresh": self.full_refresh,
            "tables": list(self.tables),
            "row_limit": self.row_limit,
            "backfill_from": self.backfill_from and self.backfill_from.isoformat(),
            "backfill_to": self.backfill_to and self.backfill_to.isoformat(),
        }
        return {name: value for name, value in asked.items() if value}
