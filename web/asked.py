"""The form of a load that is asked for a part: what stands in it, and the options that it means. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connectors.connector import InvalidConnectorError
from connectors.limits.ids import parse_number
from connectors.refusals import Refusal
from connectors.runs import Options
from connectors.schedules.dates import moment_of


@dataclass(frozen=True, slots=True)
class Typed:
    """What stands in the form of a load that is asked for a part."""

    tables: tuple[str, ...] = ()
    row_limit: str = ""
    backfill_from: str = ""
    backfill_to: str = ""
    full_refresh: bool = False
    allow_mass_delete: bool = False
    ignore_quiet_hours: bool = False

    @classmethod
    def of(cls, sent: Mapping[str, str]) -> "Typed":
        """What a browser has sent."""
        return cls(
            tuple(text for name, text in sent.items() if name.startswith("table.")),
            sent.get("row_limit", "").strip(),
            sent.get("backfill_from", "").strip(),
            sent.get("backfill_to", "").strip(),
            "full_refresh" in sent,
            "allow_mass_delete" in sent,
            "ignore_quiet_hours" in sent,
        )

    def options(self, timezone: str) -> Options:
        """The run's options. What a field says that can't be read is refused at it.

        Args:
            timezone: of the connector, on whose clock the moments are.

        Raises:
            InvalidConnectorError: a field holds no number or no moment.
        """
        refusals: list[Refusal] = []
        limit = parse_number(self.row_limit)
        if self.row_limit and limit is None:
            refusals.append(Refusal("/row_limit", "This must be a whole number, such as 100."))
        begin, end = (
            _moment(name, getattr(self, name), timezone, refusals) for name in ("backfill_from", "backfill_to")
        )
        if refusals:
            raise InvalidConnectorError(tuple(refusals))
        return Options(
            self.full_refresh, self.tables, limit, begin, end,
            allow_mass_delete=self.allow_mass_delete, ignore_quiet_hours=self.ignore_quiet_hours,
        )  # fmt: skip


NOTHING = Typed()
"""A form that nobody has filled in."""


def _moment(name: str, text: str, timezone: str, refusals: list[Refusal]) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
        return None if found is None else moment_of(found, timezone)
    except (ValueError, OSError, KeyError):
        refusals.append(Refusal(f"/{name}", "This must be a day and a time, such as 2026-01-31T06:00."))
        return None


def names_of(source: Any) -> list[str]:
    """What a source names to be loaded, as it can be ticked; nothing where only a run knows."""
    said = source if isinstance(source, Mapping) else {}
    listed = said.get("tables") or said.get("resources") or said.get("resource_types") or ()
    return [
        str(each.get("name") or each.get("table", "")) if isinstance(each, Mapping) else str(each) for each in listed
    ]
