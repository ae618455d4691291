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
"""


class ReconcileError(Exception):
    """Base of everything that a cycle can raise."""


class TransientError(ReconcileError):
    """The next try may succeed."""


class ServerUnavailableError(TransientError):
    """Prefect cannot be reached, or does not let us in."""


class OverloadedError(TransientError):
    """Prefect is busy; whether the call was carried out is unknown."""


class BusyError(OverloadedError):
    """Prefect is busy and has not carried out the call."""


class ConnectionLostError(TransientError):
    """The connection broke before the answer; whether the call was carried out is unknown."""


class ServerError(TransientError):
    """Prefect failed; whether the call was carried out is unknown."""


class RefusedError(ReconcileError):
    """Prefect refused one call; nothing was changed by it."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


class WorkPoolMissingError(RefusedError):
    """The work pool that the connector names does not exist."""


class WorkPoolUnfitError(ReconcileError):
    """No run of ours can start in the work pool that the connector names, so Prefect is asked for nothing."""


class TerminalError(ReconcileError):
    """This controller may not write any more."""


class LeaseLostError(TerminalError):
    """The lease ran out, or another controller took it."""


class WrongInstanceError(TerminalError):
    """Prefect's deployments of this instance belong to another database."""
