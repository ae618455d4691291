"""People and programs that act on connectors, as the history names them.

Each door (REST, a form, the page, the controller) makes one `Actor` of whoever stands before it and hands it to the use
cases, which write it into the transaction of the change: the trigger of `cai_connectors` reads it there.
This module is pure.
"""

from dataclasses import dataclass
from enum import StrEnum


class Via(StrEnum):
    """Doors through which a connector is changed."""

    REST = "rest"
    FORM = "form"
    PAGE = "page"
    SQL = "sql"
    CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class Actor:
    """One who acts, for the time of one request, form or cycle."""

    name: str
    """Such as `alice`, `prefect:bob`, `environment` (the token of CAI_API_TOKEN), `controller`."""
    via: Via
    reason: str | None = None
    """In the actor's own words, such as those of the header `X-Reason`."""
    request_id: str | None = None
    """By which the entries of one request are found together, and its lines in the log."""
