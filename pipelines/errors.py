r"""Errors of a run, and what follows from each.

    RunError
    ├── ConfigurationError   the user must act: no retry helps until the connector, a block or the source changes
    ├── TransientError       the same run may succeed later: Prefect retries it as `run_policy` says
    ├── TimeLimitError       it took longer than `run_policy.timeout_seconds`
    └── UnexpectedError      neither: a bug or a broken machine; operations must look

`classify` turns whatever dlt, a driver or the operating system raised into one of them, with one sentence for a person.
It looks at names and attributes instead of classes: importing every driver to recognise its errors would cost seconds.
What others say in their errors may quote rows: no sentence repeats it, and neither does the log.
"""

import contextlib
import errno
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from connectors.loads import FailureKind
from pipelines.error_causes import database_errors, http_errors
from pipelines.error_causes.database_errors import Kind, Side
from pipelines.error_causes.rules import state_of

Step = Literal["prepare", "extract", "normalize", "load"]

logger = logging.getLogger("prefect.pipelines")

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


class UnexpectedError(RunError):
    """Operations must look."""


def quoted(names: Iterable[str]) -> str:
    """Names of the user's, as a sentence has them: nobody takes them for words of its own, or for the API's."""
    return ", ".join(f"'{name}'" for name in names)


_WRAPPED = ("job_exception", "client_exception", "exception", "inner_exc", "orig", "dbapi_exception")
"""The attributes in which dlt and SQLAlchemy keep the error that theirs is about."""


def chain(error: BaseException) -> list[BaseException]:
    """`error` and everything that caused it, the root cause last."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        wrapped = [getattr(following, name, None) for name in _WRAPPED]
        inner = next((item for item in wrapped if isinstance(item, BaseException) and item not in found), None)
        following = inner or following.__cause__ or following.__context__
    return found


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
    side = _side(step)
    # First: what these wrap (a chunk's length that is no number) would be taken for something else.
    told = http_errors.told(causes, side)
    for cause in reversed(causes) if told is None else ():
        names = _names(cause)
        for recognise in (_bucket, _http, _contract, _schema, _package, _table, _machine):
            if (found := recognise(cause, names, step)) is not None:
                return found
    told = told or database_errors.told(causes, side, known) or http_errors.unreachable(causes, side)
    if told is not None:
        return _RAISED[told.kind](told.sentence)
    for cause in reversed(causes):
        names = _names(cause)
        for recognise in (_address, _header, _settings):
            if (found := recognise(cause, names, step)) is not None:
                return found
    names = {name for cause in causes for name in _names(cause)}
    if "TransientException" in names:
        return TransientError(
            f"The {_side(step)} failed for now. What it said may quote rows and is not shown: the run's log names the "
            "kind of the error."
        )
    return UnexpectedError(
        f"The run failed while it {_DOING[step]}, and this program does not know why: "
        "operations must look into the run's log, which has the details."
    )


_RAISED: dict[Kind, type[RunError]] = {
    Kind.CONFIGURATION: ConfigurationError,
    Kind.TRANSIENT: TransientError,
    Kind.UNEXPECTED: UnexpectedError,
}


_DOING: dict[Step, str] = {
    "prepare": "got ready",
    "extract": "read the source",
    "normalize": "made files of the rows",
    "load": "wrote to the destination",
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
            from pipelines.error_causes.stacks import stack_of  # noqa: PLC0415  # it knows RunError

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


def _side(step: Step) -> Side:
    """Whose database or host a step talks to."""
    match step:
        case "load":
            return "destination"
        case "prepare":
            return "platform"
    return "source"


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


_FIELDS: dict[Side, Fields] = {
    "source": Fields("its address in source", "its address in source", "the credentials in source", "source"),
    "destination": Fields(
        url="its address in destination",
        place="its address in destination, and dataset_name",
        login="destination.credentials",
        request="destination",
    ),
    "platform": Fields("PREFECT_API_URL", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_URL"),
}
"""The names where nobody knows better: whoever reads a source over HTTP does."""


def refused(status: int, url: str, side: str, fields: Fields, *, said: str = "", again_in: str = "") -> RunError:
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


def _http(error: BaseException, names: set[str], step: Step) -> RunError | None:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if not isinstance(status, int):
        return None
    request = getattr(response, "request", None) or getattr(error, "request", None)
    side = _side(step)
    return refused(status, str(getattr(request, "url", None) or ""), side, _FIELDS[side])


def _bucket(error: BaseException, names: set[str], step: Step) -> RunError | None:
    """Errors of object stores and SFTP, by their HTTP status where they have one."""
    response = getattr(error, "response", None)
    if "ClientError" in names and isinstance(response, dict):  # AWS
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    elif "AzureError" in names:
        status = getattr(error, "status_code", None) or 503
    elif "HttpError" in names:  # Google
        status = getattr(error, "code", None)
    elif names & {"RefreshError", "AuthenticationException"}:
        status = 401
    else:
        away = names & {"EndpointConnectionError", "HTTPClientError", "NoValidConnectionsError", "SSHException"}
        status = 503 if away else None
    side = _side(step)
    match status:
        case 400 | 401 | 403:
            return ConfigurationError(
                f"The {side}'s bucket does not accept the login or forbids this: check {side}.credentials, "
                "the secret it refers to, and what it may do there."
            )
        case 404:
            return ConfigurationError(f"The {side}'s bucket or directory is not there: check {side}.url.")
        case None:
            return None
    return TransientError(
        f"The {side}'s bucket could not be reached or is overloaded: check {side}.url and the network."
    )


def _contract(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if "DataValidationError" not in names:
        return None
    table, column = getattr(error, "table_name", "?"), getattr(error, "column_name", None)
    what = f"column '{column}' of table '{table}'" if column else f"table '{table}'"
    return ConfigurationError(
        f"The schema contract is broken by {what}: the source sends what the frozen schema does not have; "
        "set schema_contract to evolve or discard_value, or correct the source."
    )


def _package(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if not names & {"MissingDependencyException", "ModuleNotFoundError"}:
        return None
    packages = [
        str(name) for name in getattr(error, "dependencies", None) or [getattr(error, "name", None) or "a package"]
    ]
    extra = next((_EXTRAS[root] for name in packages if (root := name.partition(".")[0]) in _EXTRAS), None)
    what = f"install the extra '{extra}' of this package" if extra else "install it"
    return ConfigurationError(
        f"The worker lacks {', '.join(packages)}, which this kind needs: {what} in the worker's image."
    )


_EXTRAS = {
    **dict.fromkeys(("pymysql", "pymssql", "oracledb"), "databases"),
    **dict.fromkeys(("s3fs", "adlfs", "gcsfs", "paramiko", "azure", "google"), "buckets"),
    **dict.fromkeys(("dlt[s3]", "dlt[az]", "dlt[gs]", "dlt[sftp]"), "buckets"),
    **dict.fromkeys(("deltalake", "dlt[deltalake]"), "lakes"),
}
"""The extra of pyproject.toml that brings a package."""


def _header(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if "InvalidHeader" not in names and "nvalid header value" not in str(error):
        return None
    return ConfigurationError(
        "A header or a secret in it holds a line break or another character that no header takes."
    )


def _settings(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if "ConfigurationException" not in names:
        return None
    lacking = ", ".join(sorted(getattr(error, "fields", None) or ()))
    detail = f"lacks {lacking}" if lacking else "is not what this kind takes"
    return ConfigurationError(f"{_side(step)}.credentials {detail}: complete the secret or block it refers to.")


def _address(error: BaseException, names: set[str], step: Step) -> RunError | None:
    malformed = names & {"NoSuchModuleError", "ArgumentError", "InvalidConnectionString", "InvalidNativeValue"}
    if not malformed:
        return None
    return ConfigurationError(
        f"{_side(step)}.credentials holds no address that is understood: "
        "it must look like postgresql://user:password@host:5432/database."
    )


def _table(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if "NoSuchTableError" in names:
        return ConfigurationError(f"The source has no table {error}: check source.tables and source.schema.")
    if "IncrementalCursorInvalidCoercion" in names:
        return ConfigurationError(
            f"The cursor '{getattr(error, 'cursor_path', '')}' can't be compared with the value to begin at: "
            "initial_value must be of the cursor's own type, and a backfill needs a cursor that holds moments."
        )
    if names & {"IncrementalCursorPathMissing", "IncrementalCursorPathHasValueNone"}:
        return ConfigurationError(
            f"The cursor '{getattr(error, 'json_path', '')}' is missing or empty in some rows: "
            "name another cursor, or load with a primary key and write_disposition merge."
        )
    return None


def _schema(error: BaseException, names: set[str], step: Step) -> RunError | None:
    """What dlt refuses because of a table's schema. Table and column are names of the schema, not of rows."""
    table, column = getattr(error, "table_name", None), getattr(error, "column_name", None)
    place = (f"column '{column}' of " if column else "") + f"table '{table}'"
    if "UnboundColumnException" in names:
        return ConfigurationError(
            f"A column of table '{table}' that must have a value, such as its primary_key, came with none: name "
            f"another "
            "key, or correct the source."
        )
    if names & {"CannotCoerceColumnException", "CannotCoerceNullException"}:
        return ConfigurationError(
            f"Values do not fit the type of {place if table else 'a column'}: give the column its type with types in "
            "source, or load the table anew with full_refresh."
        )
    if names & {"TablePropertiesConflictException", "DestinationSchemaWillNotUpdate", "TableIdentifiersFrozen"}:
        return ConfigurationError(
            f"The destination's {place} can't be changed to what the connector now asks for: load it anew with "
            "full_refresh, or name another dataset_name."
        )
    return None


def _machine(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if isinstance(error, MemoryError):
        return UnexpectedError("The worker ran out of memory.")
    if not isinstance(error, OSError):
        return None
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return UnexpectedError("The worker's disk is full: free space below CAI_DATA_DIR, or move it.")
    if error.errno in _PLACES and error.filename is not None:
        side = _side(step)
        if side == "platform":
            return UnexpectedError("The worker can't write below CAI_DATA_DIR: check that directory's owner and mode.")
        place = "destination.path or destination.url" if side == "destination" else "source.url"
        return ConfigurationError(
            f"A file or directory of the {side} is missing, is something else, or is closed to the worker: check "
            f"{place} "
            "and what the worker may do there."
        )
    return None


_PLACES = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
"""What the operating system says of a path that is wrong, for as long as nobody corrects it."""
