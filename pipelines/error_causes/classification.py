"""Classification: what an exception means, and one sentence for a person.

Errors are known by names and attributes instead of classes: importing every driver to recognise its errors would cost
seconds. What others say in their errors may quote rows: no sentence repeats it, and neither does the log.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator

from pipelines.error_causes import database_errors, http_errors
from pipelines.error_causes import known_errors as known_by_name
from pipelines.error_causes.chain import chain
from pipelines.error_causes.database_errors import Kind
from pipelines.error_causes.known_errors import side_of
from pipelines.error_causes.rules import state_of
from pipelines.error_causes.stacks import stack_of
from pipelines.errors import ConfigurationError, RunError, Step, TransientError, UnexpectedError

logger = logging.getLogger("prefect.pipelines")


def classify(error: BaseException, step: Step, known: Collection[str] = ()) -> RunError:
    """What an exception means when it comes out of this step. The message may still hold secrets: redact it.

    Args:
        error: what was raised.
        step: what the run was doing.
        known: names of the run's own tables and columns, which a sentence may show.
    """
    causes = chain(error)
    for cause in causes:
        if isinstance(cause, RunError):
            return cause
    side = side_of(step)
    # First: what these wrap (a chunk's length that is no number) would be taken for something else.
    told = http_errors.told(causes, side)
    for cause in reversed(causes) if told is None else ():
        names = _names(cause)
        for recognise in _FIRST:
            if (found := recognise(cause, names, step)) is not None:
                return found
    told = told or database_errors.told(causes, side, known) or http_errors.unreachable(causes, side)
    if told is not None:
        return _RAISED[told.kind](told.sentence)
    for cause in reversed(causes):
        names = _names(cause)
        for recognise in _LAST:
            if (found := recognise(cause, names, step)) is not None:
                return found
    names = {name for cause in causes for name in _names(cause)}
    if "TransientException" in names:
        return TransientError(
            f"The {side_of(step)} failed for now. What it said may quote rows and is not shown: the run's log names "
            "the kind of the error."
        )
    return UnexpectedError(
        f"The run failed while it {_DOING[step]}, and this program does not know why: "
        "operations must look into the run's log, which has the details."
    )


_FIRST = (
    known_by_name.bucket,
    known_by_name.http,
    known_by_name.contract,
    known_by_name.schema,
    known_by_name.package,
    known_by_name.table,
    known_by_name.machine,
)
_LAST = (known_by_name.address, known_by_name.header, known_by_name.settings)
"""Looked for where no database and no host has explained the error."""

_RAISED: dict[Kind, type[RunError]] = {
    Kind.CONFIGURATION: ConfigurationError,
    Kind.TRANSIENT: TransientError,
    Kind.UNEXPECTED: UnexpectedError,
}


_DOING: dict[Step, str] = {
    Step.PREPARE: "got ready",
    Step.EXTRACT: "read the source",
    Step.CHECK: "checked the rows",
    Step.NORMALIZE: "made files of the rows",
    Step.LOAD: "wrote to the destination",
    Step.HISTORY: "kept the versions of rows",
    Step.VERIFY: "compared source and destination",
    Step.SWEEP: "looked for rows that are gone at the source",
}
"""What a step does, in the words of a user."""


@contextlib.contextmanager
def as_fault(
    redact: Callable[[str], str], step: Step, known: Callable[[], Collection[str]] = frozenset[str]
) -> Iterator[None]:
    """Turn whatever is raised inside into a fault without secrets, and forget where it came from.

    A traceback would carry the values of drivers' frames into whatever prints or pickles it. The log gets classes,
    SQLSTATEs and, of what nobody expected, the stack; never what the errors said, which may quote rows.

    Args:
        redact: removes secrets.
        step: what the run is doing.
        known: names the run's own tables and columns, which a sentence may show.
    """
    try:
        yield
    except RunError as ours:
        # A source that echoes what it was sent may have put a secret into its sentence.
        if (clean := redact(str(ours))) != str(ours):
            ours.args = (clean,)
        # It may have been raised where a driver's error was handled, which a traceback would show beside it.
        raise ours from None
    except Exception as error:
        fault = classify(error, step, known())
        if isinstance(fault, UnexpectedError):
            # Not logger.exception, which would print what the errors say.
            logger.error("Unexpected in %s: %s.\n%s", step, _classes(error), stack_of(error))  # noqa: TRY400
        else:
            # For whoever knows the program: the sentence has no names of classes.
            logger.info("In %s: %s.", step, _classes(error))
        raise type(fault)(redact(str(fault))) from None


def _classes(error: BaseException) -> str:
    """The classes of an error and of what caused it, with SQLSTATEs: all that the log says of them."""
    return " <- ".join(
        type(cause).__name__ + (f" ({state})" if (state := state_of(cause)) else "") for cause in reversed(chain(error))
    )


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
