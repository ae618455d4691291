r"""What can go wrong in a run, and what follows from it.

    RunError
    ├── ConfigurationError   the user must act: no retry helps until the connector, a block or the source changes
    ├── TransientError       the same run may succeed later: Prefect retries it as `run_policy` says
    ├── TimeLimitError       it took longer than `run_policy.timeout_seconds`
    └── UnexpectedError      neither: a bug or a broken machine; operations must look

`classify` turns whatever dlt, a driver or the operating system raised into one of them, with one sentence for a person.
It looks at names and attributes instead of classes: importing every driver to recognise its errors would cost seconds.
"""

import contextlib
import errno
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Step = Literal["prepare", "extract", "normalize", "load"]

logger = logging.getLogger("prefect.pipelines")

_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_LONGEST = 400


class RunError(Exception):
    """A run failed. The message is one sentence without secrets, fit for the state of the flow run."""


class ConfigurationError(RunError):
    """The user must act."""


class TransientError(RunError):
    """Worth another try."""


class TimeLimitError(RunError):
    """The run was ended because it took too long."""


class UnexpectedError(RunError):
    """Operations must look."""


def quoted(names: Iterable[str]) -> str:
    """Names of the user's, as a sentence has them: nobody takes them for words of its own, or for the API's."""
    return ", ".join(f"'{name}'" for name in names)


def chain(error: BaseException) -> list[BaseException]:
    """`error` and everything that caused it, the root cause last."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        wrapped = [getattr(following, name, None) for name in ("exception", "inner_exc", "orig", "dbapi_exception")]
        inner = next((item for item in wrapped if isinstance(item, BaseException) and item not in found), None)
        following = inner or following.__cause__ or following.__context__
    return found


def classify(error: BaseException, step: Step) -> RunError:
    """What an exception means when it comes out of this step. The message may still hold secrets: redact it."""
    causes = chain(error)
    for cause in causes:
        if isinstance(cause, RunError):
            return cause
    for cause in reversed(causes):
        for recognise in (
            _bucket,
            _http,
            _contract,
            _package,
            _table,
            _machine,
            _database,
            _network,
            _address,
            _header,
            _settings,
        ):
            if (known := recognise(cause, _names(cause), step)) is not None:
                return known
    root = causes[-1]
    names = {name for cause in causes for name in _names(cause)}
    if "TransientException" in names:
        return TransientError(f"The {_side(step)} failed for now: {_brief(root)}")
    return UnexpectedError(
        f"The run failed while it {_DOING[step]}, and this program does not know why: "
        "operations must look into the run's log, which has the details."
    )


_DOING: dict[Step, str] = {
    "prepare": "got ready",
    "extract": "read the source",
    "normalize": "made files of the rows",
    "load": "wrote to the destination",
}
"""What a step does, in the words of a user."""


@contextlib.contextmanager
def as_fault(redact: Callable[[str], str], step: Step) -> Iterator[None]:
    """Turn whatever is raised inside into a fault without secrets, and forget where it came from.

    A traceback would carry the values of drivers' frames into whatever prints or pickles it.
    """
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        fault = classify(error, step)
        if isinstance(fault, UnexpectedError):
            logger.exception("Unexpected in %s.", step)
        else:
            # For whoever knows the program: the sentence has no names of classes.
            logger.info("In %s: %s.", step, " <- ".join(type(cause).__name__ for cause in reversed(chain(error))))
        raise type(fault)(redact(str(fault))) from None


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _side(step: Step) -> str:
    """Whose database or host a step talks to."""
    return {"load": "destination", "prepare": "platform"}.get(step, "source")


def _words(error: BaseException) -> str:
    """What an error says, without the number and the bytes that MySQL's and SQL Server's drivers wrap it in."""
    match error.args:
        case (int(), bytes(said)) | ((int(), bytes(said)),) if not isinstance(error, OSError):
            # Said twice, after a heading.
            lines = [line for line in said.decode(errors="replace").splitlines() if not line.startswith("DB-Lib")]
            return ": ".join(dict.fromkeys(lines))
        case (int(), str(said)) if not isinstance(error, OSError):
            return said
    return str(error)


def _brief(error: BaseException) -> str:
    """The error's own words, on one line and not too long, with a full stop."""
    text = re.sub(r"\s+", " ", _words(error)).strip()
    # What follows is advice for programmers, or rows: PostgreSQL's DETAIL quotes them.
    text = re.split(r" ?\(Background on this error| ?\[SQL:| Is the server running| DETAIL:| CONTEXT:| HINT:", text)[0]
    if len(text) > _LONGEST:
        text = text[:_LONGEST].rsplit(" ", 1)[0] + " ..."
    return text if text.endswith((".", "!", "?")) else f"{text or 'it gave no reason'}."


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


_FIELDS = {
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


def refused(status: int, url: str, side: str, fields: Fields) -> RunError:
    """What it means that a server answered with an error. The query, which may hold a key, is not shown."""
    where = f" at {bare}" if (bare := url.partition("?")[0]) else ""
    if status in _TRANSIENT_STATUS:
        return TransientError(f"The {side} answered {status}{where}: it is overloaded or down.")
    advice = {
        401: f"it did not accept the credentials: check {fields.login}",
        403: f"it forbids this: check what {fields.login} may do there",
        404: f"there is nothing: check {fields.place}",
    }.get(status, f"it did not accept the request: check {fields.request}")
    return ConfigurationError(f"The {side} answered {status}{where}: {advice}.")


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


def _network(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if not names & {
        "ConnectionError",
        "Timeout",
        "ChunkedEncodingError",
        "TransportError",
        "ConnectionResetError",
        "gaierror",
    }:
        return None
    text = str(error)
    found = re.search(r"host='([^']+)', port=(\d+)", text)
    where = f" at {found.group(1)}:{found.group(2)}" if found else ""
    unknown = re.search("resolve|not known|getaddrinfo", text)
    why = "its name is not known here" if unknown else "it does not answer or dropped the connection"
    return TransientError(f"The {_side(step)}{where} could not be reached: {why}; check the address and the network.")


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
    if not malformed and "invalid literal for int" not in str(error) and "invalid dsn" not in str(error):
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


def _machine(error: BaseException, names: set[str], step: Step) -> RunError | None:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return UnexpectedError("The worker's disk is full: free space below CAI_DATA_DIR, or move it.")
    if isinstance(error, MemoryError):
        return UnexpectedError("The worker ran out of memory.")
    if "Could not set lock on file" in str(error):
        return TransientError("Another program has the DuckDB file open: close it there.")
    return None


_LOGIN = re.compile(
    r"password authentication failed|no password supplied|access denied|login failed|authentication failed"
    r"|invalid username|role \"[^\"]*\" does not exist|no pg_hba.conf entry|ORA-01017",
    re.IGNORECASE,
)
_ABSENT = re.compile(
    r"relation .* does not exist|no such (table|column)|unknown (table|column|database)|does not exist"
    r"|invalid object name|ORA-00942|ORA-12514|ORA-12505|DPY-6001|DPY-6003|doesn't exist",
    re.IGNORECASE,
)
_DENIED = re.compile(r"permission (was )?denied|command denied|not allowed|insufficient privilege", re.IGNORECASE)
_AWAY = re.compile(
    r"(could not|cannot|unable to|can't) connect|connection refused|could not translate host|timed? ?out|timeout"
    r"|server closed the connection|server connection failed|connection .*(reset|closed|lost)|terminating connection"
    r"|starting up|shutting down|too many (clients|connections)"
    r"|name or service not known|temporary failure in name resolution|deadlock|could not serialize|is locked"
    r"|no route to host|network is unreachable|remaining connection slots|connection to server .* failed"
    r"|ORA-12541|ORA-12170|DPY-4011|DPY-6005",
    re.IGNORECASE,
)


def _database(error: BaseException, names: set[str], step: Step) -> RunError | None:
    """Errors of databases, by SQLSTATE where the driver has one and by their words otherwise."""
    state = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
    is_database = bool(state) or bool(
        names & {"DatabaseError", "OperationalError", "ProgrammingError", "InterfaceError", "DBAPIError"}
    )
    if not is_database and not (names & {"DestinationConnectionError"}):
        return None
    side = _side(step)
    setting = "CAI_DATABASE_URL" if side == "platform" else f"{side}.credentials"
    text = str(error)
    code = state if isinstance(state, str) else ""
    if code.startswith("28") or _LOGIN.search(text):
        return ConfigurationError(f"The {side} did not accept the login: check {setting} and the secret it refers to.")
    if code.startswith("42501") or _DENIED.search(text):
        return ConfigurationError(f"The {side} denies access: {_brief(error)} Grant it, or check {setting}.")
    if _AWAY.search(text) or code[:2] in {"08", "53", "57", "40"}:
        return TransientError(f"The {side}'s database could not be reached: {_brief(error)}")
    if code.startswith(("42", "3D", "3F")) or _ABSENT.search(text):
        where = "source.schema and source.tables" if side == "source" else "the destination's database and dataset_name"
        return ConfigurationError(f"The {side} lacks something that was named: {_brief(error)} Check {where}.")
    return None
