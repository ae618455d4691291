r"""Errors of a run, and what follows from each.

    RunError
    ├── ConfigurationError   the user must act: no retry helps until the connector, a block or the source changes
    ├── TransientError       the same run may succeed later: Prefect retries it as `run_policy` says
    ├── TimeLimitError       it took longer than `run_policy.timeout_seconds`
    ├── ChecksError          a check of the rows failed, so none of them is visible; `HeldError`: a person decides
    └── UnexpectedError      neither: a bug or a broken machine; operations must look

`pipelines.error_causes.classification` turns whatever is raised into one of them, with one sentence for a person.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from connectors.loads import FailureKind


class Step(StrEnum):
    """Steps of a run, as the load history and Prefect's tasks name them."""

    PREPARE = "prepare"
    EXTRACT = "extract"
    CHECK = "check"
    NORMALIZE = "normalize"
    LOAD = "load"
    HISTORY = "history"
    SWEEP = "sweep"
    VERIFY = "verify"


class Side(StrEnum):
    """Whose server or file an error is about."""

    SOURCE = "source"
    DESTINATION = "destination"
    PLATFORM = "platform"


PASSING = frozenset({408, 423, 425, 429, 500, 502, 503, 504, 507, 509, *range(520, 531), 598, 599})
"""Statuses of HTTP that may pass."""


class RunError(Exception):
    """A run failed. The message is one sentence without secrets, fit for the state of the flow run."""

    kind: ClassVar[FailureKind] = FailureKind.UNEXPECTED


class ConfigurationError(RunError):
    """The user must act."""

    kind = FailureKind.CONFIGURATION


class TransientError(RunError):
    """Worth another try."""

    kind = FailureKind.TRANSIENT


class TimeLimitError(RunError):
    """The run was ended because it took too long."""

    kind = FailureKind.TIME_LIMIT


class ChecksError(RunError):
    """A check of the load's rows failed, so none of them became visible."""

    kind = FailureKind.CHECKS


@dataclass(frozen=True, slots=True)
class Held:
    """A table for whose sake a load waits for a person."""

    table: str
    marks: str
    """Which checks failed."""
    sentence: str
    """The same for people, without a value of a row."""


class HeldError(ChecksError):
    """The same, and a person may let the load through."""

    def __init__(self, message: str, held: tuple[Held, ...]) -> None:
        super().__init__(message)
        self.held = held


class UnexpectedError(RunError):
    """Operations must look."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What a user can correct when a server refuses, by the names that it has in the connector."""

    url: str
    """The server's address."""
    place: str
    """What says where on the server."""
    login: str
    request: str
    """What says how it is asked."""


def refused(status: int, url: str, side: Side, fields: Fields, *, said: str = "", again_in: str = "") -> RunError:
    """What it means that a server answered with an error. The query, which may hold a key, is not shown.

    `said` is what the server says about it, already without anything that might be a row's. `again_in` is when it wants
    to be asked again.
    """
    where = f" at {bare}" if (bare := url.partition("?")[0]) else ""
    words = f" It says: {said}." if said else ""
    if status in PASSING:
        why = {423: "it is locked by somebody else"}.get(status, "it is overloaded or down")
        later = f" It asks to be asked again in {again_in}." if again_in else ""
        return TransientError(f"The {side} answered {status}{where}: {why}.{words}{later}")
    advice = {
        401: f"it did not accept the credentials: check {fields.login}",
        403: f"it forbids this: check what {fields.login} may do there",
        404: f"there is nothing: check {fields.place}",
        410: f"there is nothing any more: check {fields.place}",
    }.get(status, f"it did not accept the request: check {fields.request}")
    return ConfigurationError(f"The {side} answered {status}{where}: {advice}.{words}")
