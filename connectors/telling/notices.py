"""Notices of a connector: whom it tells of what, by reference to where that is sent. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from connectors.sources.secret_references import BlockRef, Credential, Strict


class News(StrEnum):
    """What people are told of, once as it begins."""

    FAILED = "failed"
    """Its loads have failed as often in a row as operations count for trouble."""
    LATE = "late"
    """It has not loaded for more than two of its intervals."""
    SHAPE_CHANGED = "shape_changed"
    """Columns of the source are not what they were."""
    FIRST_SUCCESS = "first_success"
    RECOVERED = "recovered"
    """It has loaded again after it failed or was late."""


TROUBLE = (News.FAILED, News.LATE, News.SHAPE_CHANGED, News.RECOVERED)


class Notify(Strict):
    """An address, and what it is told of."""

    to: Annotated[
        Credential,
        Field(description="A notification block of Prefect, or a secret that holds an Apprise URL (mail, chat)."),
    ]
    of: Annotated[
        tuple[News, ...],
        Field(min_length=1, description="Of what: failed, late, shape_changed, first_success, recovered."),
    ] = TROUBLE

    @property
    def address(self) -> str:
        """What tells one address of a connector from its others."""
        ((kind, name),) = self.to.model_dump().items()
        return f"notify:{kind}:{name}"


_NOTIFY: TypeAdapter[tuple[Notify, ...]] = TypeAdapter(tuple[Notify, ...])


@dataclass(frozen=True, slots=True)
class Ended:
    """A load that has ended and says how its connector does."""

    completed: bool
    message: str
    failures: int
    """In a row, with this one."""
    failures_before: int
    loads_completed: int
    """With this one."""
    changed: tuple[str, ...] = ()
    """Columns that are not what they were, which nobody had heard of, each as `table.column`."""


def addresses(said: Any, owner: str | None, owners: Mapping[str, str]) -> tuple[Notify, ...]:
    """Whom a connector tells, by what its row says; where it says nothing, its owner, if he has an address."""
    if said is None:
        block = None if owner is None else owners.get(owner)
        return () if block is None else (Notify(to=BlockRef(block=block)),)
    try:
        return _NOTIFY.validate_python(said)
    except ValidationError:
        return ()


def news_of(load: Ended, alert_after_failures: int) -> Iterable[tuple[News, str]]:
    """What the end of a load is news of, each with a sentence."""
    if load.changed:
        more = f" and {len(load.changed) - 10} more" if len(load.changed) > 10 else ""
        yield News.SHAPE_CHANGED, f"Columns of its source changed: {', '.join(load.changed[:10])}{more}."
    if not load.completed and load.failures == alert_after_failures:
        yield News.FAILED, load.message
    if load.completed and load.failures_before >= alert_after_failures:
        yield News.RECOVERED, load.message
    if load.completed and load.loads_completed == 1:
        yield News.FIRST_SUCCESS, load.message
