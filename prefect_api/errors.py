"""Errors between the table and Prefect, and who must act on each.

    ReconcileError
    ├── TransientError              try again, later
    │   ├── ServerUnavailableError  nobody answers, or nobody knows us: no connector's fault
    │   ├── OverloadedError         502, 504 or a timeout: go slower
    │   │   └── BusyError           429 or 503: not carried out
    │   ├── ConnectionLostError     the connection broke under the call
    │   └── ServerError             500, a body cut short
    ├── RefusedError                Prefect says no to this one (4xx): tried again, ever more slowly
    │   └── WorkPoolMissingError    the work pool does not exist yet
    ├── WorkPoolUnfitError          no run of ours can start in the work pool
    └── TerminalError               this controller must stop writing; operations must act
        ├── LeaseLostError          another controller leads
        └── WrongInstanceError      Prefect's deployments belong to another database

What a *user* must mend is no exception here: an invalid row is a decision of the plan (`connectors.refusals`), and a
deployment that is not ours is the phase `conflict`. No message carries a request's body: it may hold what a user typed.

Each class carries what follows from it: the reason in a connector's status, and the result of an action in the metrics.
"""

from enum import StrEnum
from typing import ClassVar

from connectors.status import Reason


class ActionResult(StrEnum):
    """What became of an action, as metrics name it."""

    DONE = "done"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"


class ReconcileError(Exception):
    """Base of everything that a cycle can raise."""

    reason: ClassVar = Reason.INTERNAL_ERROR
    """What the status of a connector says whose action it prevented."""
    result: ClassVar = ActionResult.FAILED


class TransientError(ReconcileError):
    """The next try may succeed. `status_code` is Prefect's answer; None when there was none, or none to be read."""

    reason = Reason.SERVER_ERROR

    def __init__(self, message: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class ServerUnavailableError(TransientError):
    """Prefect cannot be reached, or does not let us in."""

    result = ActionResult.UNAVAILABLE


class OverloadedError(TransientError):
    """Prefect is busy; whether the call was carried out is unknown."""

    result = ActionResult.UNANSWERED


class BusyError(OverloadedError):
    """Prefect is busy and has not carried out the call."""


class ConnectionLostError(TransientError):
    """The connection broke before the answer; whether the call was carried out is unknown."""

    result = ActionResult.UNANSWERED


class ServerError(TransientError):
    """Prefect failed; whether the call was carried out is unknown."""


class RefusedError(ReconcileError):
    """Prefect refused one call; nothing was changed by it."""

    reason = Reason.REQUEST_REFUSED
    result = ActionResult.REFUSED

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


class WorkPoolMissingError(RefusedError):
    """The work pool that the connector names does not exist."""

    reason = Reason.WORK_POOL_MISSING


class WorkPoolUnfitError(ReconcileError):
    """No run of ours can start in the work pool that the connector names, so Prefect is asked for nothing."""

    reason = Reason.WORK_POOL_UNFIT


class TerminalError(ReconcileError):
    """This controller may not write any more."""


class LeaseLostError(TerminalError):
    """The lease ran out, or another controller took it."""


class WrongInstanceError(TerminalError):
    """Prefect's deployments of this instance belong to another database."""


def reason_of(error: Exception) -> Reason:
    """The reason in the status of a connector whose action was prevented."""
    return error.reason if isinstance(error, ReconcileError) else Reason.INTERNAL_ERROR


def result_of(error: Exception | None) -> ActionResult:
    """What became of an action that an error prevented; None: nothing did."""
    if error is None:
        return ActionResult.DONE
    return error.result if isinstance(error, ReconcileError) else ActionResult.FAILED
