"""Deletes: what a connector does with rows that are gone at the source. Pure."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from connectors.limits.closed_sets import ClosedSet
from connectors.schedules.cron import ScheduleError, parse
from connectors.sources.checks import LandingWithChecks
from connectors.sources.secret_references import refused
from connectors.sources.write_rules import WriteDisposition

EVERY_LOAD = "load"


class Deletes(ClosedSet):
    """What is done with a row that is gone at the source."""

    IGNORE = "ignore"
    MARK = "mark"
    REMOVE = "remove"


def _when(value: str) -> str:
    if value == EVERY_LOAD:
        return value
    try:
        parse(value, "UTC", 1)
    except ScheduleError:
        raise refused("{field} must be 'load', or a cron of five fields such as '0 3 * * 0'.") from None
    return value


Every = Annotated[
    str,
    AfterValidator(_when),
    Field(
        description="When the keys of the source are compared: after each `load`, or after the first load that "
        "follows a date of a cron, in the connector's time zone."
    ),
]


def refuse_time_without_deletes(deletes: Deletes, every: str) -> None:
    """Refuse a time at which nothing is done."""
    if every != EVERY_LOAD and deletes is Deletes.IGNORE:
        raise refused("{field} needs deletes, which says what happens to the rows: mark or remove.", "deletes_every")


class Deleting(LandingWithChecks):
    """How the rows of a table are written of which some may be gone."""

    deletes: Annotated[
        Deletes,
        Field(
            description="What happens to rows whose key, or in `files` whose file, is gone at the source: `remove` "
            "deletes them, `mark` puts the moment into their column `_deleted_at`, `ignore` leaves them."
        ),
    ] = Deletes.IGNORE
    deletes_every: Every = EVERY_LOAD

    @model_validator(mode="after")
    def _no_time_without_deletes(self) -> Self:
        refuse_time_without_deletes(self.deletes, self.deletes_every)
        return self


def refuse_deletes_without_files(how: Deleting, *, origin: bool) -> None:
    """Refuse deletes by file of a table that is replaced, or whose rows do not say which file they are of."""
    if how.deletes is Deletes.IGNORE:
        return
    if how.write_disposition is WriteDisposition.REPLACE:
        raise refused("{field} mean nothing for a table that is replaced: a load has only what is there.", "deletes")
    if not origin:
        raise refused("{field} go by the file that each row came from: set origin to true.", "deletes")


class LandingWithDeletes(Deleting):
    """How the rows of a table are written whose keys a run can ask for alone or page by page."""

    @model_validator(mode="after")
    def _deletes_go_by_key(self) -> Self:
        if self.deletes is not Deletes.IGNORE and self.write_disposition is not WriteDisposition.MERGE:
            raise refused(
                "{field} go by the key: they need a primary_key and the write_disposition merge. A table that is "
                "replaced has none of the rows that are gone.",
                "deletes",
            )
        return self
