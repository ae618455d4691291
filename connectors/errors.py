r"""Errors of requests, whichever door they came through.

    RequestError
    ├── NotFoundError              there is no such connector
    ├── NoSuchTokenError           there is no such token, for whoever asks
    ├── NoSuchCredentialError      there is no such credential, for whoever asks
    ├── NoSuchProtectionError      there is no such profile of what may land, for whoever asks
    ├── NoSuchSourceLimitError     there is no such limit of a source
    ├── NoSuchLoadError            the load history has no such run
    ├── NoSuchChangeError          nobody was asked about such a change at the source
    ├── NoSuchHeldLoadError        no load waits for a person under this number
    ├── NoSuchRunError             Prefect has no such run of the connector
    ├── ForbiddenError             the role of whoever asks is too low
    ├── NameTakenError             another connector has the name
    ├── TokenNameTakenError        another token has the name
    ├── CredentialNameTakenError   another credential has the name
    ├── ProtectionNameTakenError   another profile of what may land has the name
    ├── StaleError                 somebody changed the connector in between
    ├── ConstraintError            a constraint or trigger of the database's refuses it
    │   └── ClashError             because of other rows
    ├── NotRunnableError           it cannot be started by hand as it stands
    ├── NoSuchGenerationError      the history does not tell how the connector was then
    ├── NotRestorableError         what the history tells of that generation is not all that it was
    ├── ReasonRequiredError        a change needs a reason here
    ├── SourceError                a source that is asked says why not
    ├── Unanswered                 a source was asked, and no answer came
    └── PrefectUnavailableError    Prefect is asked, and does not answer

`connectors.connector.InvalidConnectorError` stands beside them: the user must change what was asked for.
"""

from connectors.people import Via


class RequestError(Exception):
    """A request was not done. The message is a sentence for the one who asked."""


class NotFoundError(RequestError):
    """There is no connector of this id."""

    def __init__(self, connector_id: int) -> None:
        super().__init__(f"There is no connector {connector_id}.")


class NoSuchTokenError(RequestError):
    """There is no token of this number, or it is another team's."""

    def __init__(self, token_id: int) -> None:
        super().__init__(f"There is no token {token_id}.")


class NoSuchCredentialError(RequestError):
    """There is no credential of this name, or it is another team's."""

    def __init__(self) -> None:
        super().__init__("There is no credential of this name.")


class NoSuchProtectionError(RequestError):
    """There is no profile of this name, or it is another team's."""

    def __init__(self) -> None:
        super().__init__("There is no profile of this name.")


class NoSuchSourceLimitError(RequestError):
    """There is no limit of this name."""

    def __init__(self) -> None:
        super().__init__("There is no limit of a source under this name.")


class NoSuchLoadError(RequestError):
    """The load history has no such run of the connector."""

    def __init__(self) -> None:
        super().__init__(
            "The load history has no such run of this connector: it has not begun to load, had nothing to do, or was "
            "longer ago than loads are kept."
        )


class NoSuchChangeError(RequestError):
    """Nobody was asked about a change of this number."""

    def __init__(self) -> None:
        super().__init__(
            "No change at this connector's source is to be decided under this number: see those there are."
        )


class NoSuchHeldLoadError(RequestError):
    """No load of the connector waits for a person under this number."""

    def __init__(self) -> None:
        super().__init__(
            "No load of this connector waits under this number: it has landed since, or other checks have failed. See "
            "what waits now."
        )


class NoSuchRunError(RequestError):
    """Prefect has no such run of the connector."""

    def __init__(self) -> None:
        super().__init__("Prefect has no such run of this connector, or holds it no more.")


class ForbiddenError(RequestError):
    """Whoever asks may not do it, and may know that it is there."""


class NameTakenError(RequestError):
    """Names are unique."""

    def __init__(self) -> None:
        super().__init__("Another connector already has this name: choose another one.")


class TokenNameTakenError(RequestError):
    """Names of tokens are unique: a name in the history is one token."""

    def __init__(self) -> None:
        super().__init__("Another token already has this name: choose another one.")


class CredentialNameTakenError(RequestError):
    """Names of credentials are unique."""

    def __init__(self) -> None:
        super().__init__("Another credential already has this name: choose another one.")


class ProtectionNameTakenError(RequestError):
    """A shipped profile, or another team's, has the name."""

    def __init__(self) -> None:
        super().__init__("Another profile already has this name: choose another one.")


class StaleError(RequestError):
    """The connector is not the one that the caller has seen."""

    def __init__(self, generation: int) -> None:
        super().__init__(
            f"Somebody has changed this connector in the meantime (it is at generation {generation}): "
            "read it again, and repeat your change on what is there now."
        )


class ConstraintError(RequestError):
    """A constraint or trigger that is no rule of ours refuses what was to be saved: a back end's, or operations'."""


class ClashError(ConstraintError):
    """It is refused because of other rows: a number or a value that is taken, a row that refers to this one."""


class NotRunnableError(RequestError):
    """The connector cannot be started by hand as it stands."""


class NoSuchGenerationError(RequestError):
    """The history does not tell how the connector was at this generation."""

    def __init__(self, generation: int) -> None:
        super().__init__(
            f"The history of this connector tells of no generation {generation}: see its history for those that there "
            "are."
        )


class NotRestorableError(RequestError):
    """What the history tells of a generation is not all that it was."""

    def __init__(self, generation: int) -> None:
        super().__init__(
            f"Generation {generation} held a secret in plain text, or what nobody can read, and the history does not "
            "keep that: change the connector by hand, with a reference to the secret."
        )


class ReasonRequiredError(RequestError):
    """A change without a reason, where CAI_REASON_REQUIRED asks for one."""

    def __init__(self, via: Via) -> None:
        where = {Via.REST: "in the header X-Reason", Via.PAGE: 'at "Why you do this"'}.get(via, "in the field reason")
        super().__init__(f"Every change needs a reason here, so nothing was changed: say why, {where}.")


class PrefectUnavailableError(RequestError):
    """Prefect does not answer. `why` is a sentence, and so is `way_out`."""

    def __init__(
        self, why: str, way_out: str = "Connectors can be changed all the same; try this again later."
    ) -> None:
        self.why = why
        super().__init__(f"Prefect is unavailable: {why} {way_out}")


class Unanswered(RequestError):  # noqa: N818  # an answer that is none
    """A source was asked, and no answer came in time."""


class SourceError(RequestError):
    """A source cannot be reached, or refuses. The message is a sentence without a secret or a value in it."""
