"""Reasons for which a database or a lake fails: by SQLSTATE, by the driver's number or class, else by its words.

What a driver says may quote rows, so it is read here, turned into one of a closed set of reasons, and goes nowhere
else; `pipelines.error_causes.database_errors` has a sentence for each. Classes are known by their names: importing
every driver to recognise its errors would cost seconds. This module is pure.
"""

import re
from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Reasons for which a database refuses or fails."""

    LOGIN = "login"
    DENIED = "denied"
    NO_DATABASE = "no_database"
    PARAMETER = "parameter"
    CERTIFICATE = "certificate"
    ABSENT = "absent"
    AWAY = "away"
    BUSY = "busy"
    CANCELLED = "cancelled"
    READ_ONLY = "read_only"
    FULL = "full"
    MEMORY = "memory"
    CONVERSION = "conversion"
    CHARACTERS = "characters"
    NUL = "nul"
    NOT_NULL = "not_null"
    UNIQUE = "unique"
    FOREIGN_KEY = "foreign_key"
    CHECK = "check"
    TWICE = "twice"
    OWN_CODE = "own_code"
    DEPENDENT = "dependent"
    EXISTS = "exists"
    LIMIT = "limit"
    FILE_IN_USE = "file_in_use"
    FILE_BROKEN = "file_broken"
    FILE_NEWER = "file_newer"
    FILE_PLACE = "file_place"
    INTERNAL = "internal"
    UNKNOWN = "unknown"


def reason_of(error: BaseException) -> Reason | None:
    """Why a database or a lake failed, or None when this is no error of one that is known."""
    names = {kind.__name__ for kind in type(error).__mro__}
    package = type(error).__module__.partition(".")[0]
    words = words_of(error)
    # MySQL's number says more than its SQLSTATE, which is mostly 42000 or HY000.
    by_number = _NUMBERS.get(package, {}).get(_number(error) or 0)
    found: Reason | None
    if by_number is not None:
        found = by_number
    elif state := state_of(error):
        found = _of_state(state, error)
    elif "duckdb" in package:
        found = _of_duckdb(names, words)
    elif names & _LAKE_CLASSES or (type(error) is Exception and _first(_LAKE_WORDS, words)):
        found = _first(_LAKE_WORDS, words) or (Reason.BUSY if "CommitFailedError" in names else Reason.UNKNOWN)
    elif names & {"ArrowInvalid", "ArrowTypeError", "ArrowNotImplementedError"}:
        found = _first(_ARROW_WORDS, words)
    elif words.startswith("[libpq]"):
        # What PostgreSQL said in the middle of a COPY: only its words are left of it, in the language of the server.
        found = _first(_SERVER_WORDS, words.partition("ERROR:")[2].strip() or words) or Reason.UNKNOWN
    elif names & _DATABASE_CLASSES:
        found = _first(_CONNECT_WORDS, words) or _first(_SERVER_WORDS, words.strip())
    else:
        found = None
    return found


_DATABASE_CLASSES = {
    "DatabaseError",
    "OperationalError",
    "ProgrammingError",
    "InterfaceError",
    "IntegrityError",
    "DataError",
    "InternalError",
    "DBAPIError",
    "DestinationConnectionError",
}
_LAKE_CLASSES = {"DeltaError", "CommitFailedError", "SchemaMismatchError", "DeltaProtocolError", "TableNotFoundError"}


def state_of(error: BaseException) -> str:
    """An error's SQLSTATE, or nothing. psycopg2 calls it pgcode, every other driver sqlstate."""
    for name in ("pgcode", "sqlstate"):
        state = getattr(error, name, None)
        if isinstance(state, str) and re.fullmatch(r"[0-9A-Z]{5}", state):
            return state
    return ""


def _of_state(state: str, error: BaseException) -> Reason:
    if state == "23505" and str(fields_of(error).get("constraint_name", "")).startswith("pg_"):
        return Reason.BUSY  # two that make the same schema or table at once meet in PostgreSQL's own catalog
    if state == "22021" and "0x00" in words_of(error):
        return Reason.NUL
    for known in (state, state[:2]):
        if known in _STATES:
            return _STATES[known]
    return Reason.UNKNOWN


_STATES: dict[str, Reason] = {
    "08": Reason.AWAY,
    "0L": Reason.DENIED,
    "0P": Reason.LOGIN,
    "21": Reason.TWICE,
    "22": Reason.CONVERSION,
    "22021": Reason.CHARACTERS,
    "22P05": Reason.CHARACTERS,
    "23": Reason.CHECK,
    "23502": Reason.NOT_NULL,
    "23503": Reason.FOREIGN_KEY,
    "23001": Reason.FOREIGN_KEY,
    "23505": Reason.UNIQUE,
    "25006": Reason.READ_ONLY,
    "26": Reason.AWAY,
    "28": Reason.LOGIN,
    "2B": Reason.DEPENDENT,
    "0A000": Reason.DEPENDENT,
    "3D": Reason.NO_DATABASE,
    "3F": Reason.ABSENT,
    "40": Reason.BUSY,
    "42501": Reason.DENIED,
    "42804": Reason.CONVERSION,
    "42846": Reason.CONVERSION,
    "42883": Reason.ABSENT,
    "42P01": Reason.ABSENT,
    "42703": Reason.ABSENT,
    "42704": Reason.ABSENT,
    "42P06": Reason.EXISTS,
    "42P07": Reason.EXISTS,
    "42701": Reason.EXISTS,
    "42710": Reason.EXISTS,
    "44": Reason.CHECK,
    "53": Reason.AWAY,
    "53100": Reason.FULL,
    "53200": Reason.MEMORY,
    "54": Reason.LIMIT,
    "55006": Reason.BUSY,
    "55P03": Reason.BUSY,
    "57": Reason.AWAY,
    "57014": Reason.CANCELLED,
    "58": Reason.AWAY,
    "P0": Reason.OWN_CODE,
    "XX": Reason.INTERNAL,
}
"""Reasons by SQLSTATE, or by its class, which is its first two characters."""


def _of_duckdb(names: set[str], words: str) -> Reason:
    return _first(_DUCKDB_WORDS, words) or next(
        (reason for name, reason in _DUCKDB_CLASSES.items() if name in names), Reason.UNKNOWN
    )


_DUCKDB_CLASSES = {
    "ConversionException": Reason.CONVERSION,
    "OutOfRangeException": Reason.CONVERSION,
    "TypeMismatchException": Reason.CONVERSION,
    "ConstraintException": Reason.CHECK,
    "OutOfMemoryException": Reason.MEMORY,
    "DependencyException": Reason.DEPENDENT,
    "TransactionException": Reason.BUSY,
    "InterruptException": Reason.CANCELLED,
    "PermissionException": Reason.DENIED,
    "CatalogException": Reason.ABSENT,
    "HTTPException": Reason.AWAY,
    "ConnectionException": Reason.AWAY,
    "FatalException": Reason.INTERNAL,
    "InternalException": Reason.INTERNAL,
}
"""Reasons by DuckDB's classes, where its words say nothing more."""

_Words = tuple[tuple[Reason, re.Pattern[str]], ...]


def _compiled(*pairs: tuple[Reason, str]) -> _Words:
    return tuple((reason, re.compile(pattern, re.IGNORECASE)) for reason, pattern in pairs)


def _first(table: _Words, words: str) -> Reason | None:
    return next((reason for reason, pattern in table if pattern.search(words)), None)


_DUCKDB_WORDS = _compiled(
    (Reason.FILE_IN_USE, r"^IO Error: Could not set lock on file"),
    (
        Reason.FILE_NEWER,
        r"^(IO|Serialization|Invalid Input) Error: .{0,400}(version number|storage version|newer version)",
    ),
    (Reason.FILE_BROKEN, r"^(IO|Serialization) Error: .*(not a valid DuckDB|corrupt|checksum|WAL)"),
    (Reason.FULL, r"^IO Error: .*(No space left|disk full)|^Out of Memory Error: .*(max_temp_directory_size|temp)"),
    (
        Reason.FILE_PLACE,
        r"^IO Error: .*(cannot open|could not create|permission denied|read-only|is a directory|no such)",
    ),
    (Reason.NOT_NULL, r"^Constraint Error: NOT NULL "),
    (Reason.CHECK, r"^Constraint Error: CHECK "),
    (Reason.UNIQUE, r"^Constraint Error: (PRIMARY KEY|UNIQUE|duplicate key)"),
    (Reason.FOREIGN_KEY, r"^Constraint Error: Violates foreign key"),
    (Reason.EXISTS, r"^Catalog Error: .{0,200}already exists"),
    (Reason.DEPENDENT, r"^(Dependency|Catalog) Error: .{0,200}depend"),
    (Reason.LOGIN, r"^Invalid Input Error: .*(token|authenticat)"),
)
_LAKE_WORDS = _compiled(
    (Reason.TWICE, r"multiple source rows"),
    (Reason.CHECK, r"rows failed validation|invariant|violates? .{0,20}constraint|constraint .{0,60}violat"),
    (
        Reason.CONVERSION,
        r"^(Arrow error: )?(Cast|Arrow|Parser) error|cannot cast|can't cast|schema .{0,40}mismatch|cannot merge types",
    ),
    (Reason.FULL, r"no space left|os error 28"),
    (Reason.DENIED, r"permission denied|access denied|forbidden|os error 13|status: 403"),
    (Reason.BUSY, r"concurrent|transaction failed|commit.{0,20}conflict|version .{0,20}already exists"),
    (Reason.AWAY, r"error sending request|connect(ion)? (error|refused|reset)|timed? ?out|dns error|status: 5\d\d"),
    (Reason.ABSENT, r"not a delta table|no such file|not found"),
)
_ARROW_WORDS = _compiled(
    (
        Reason.CONVERSION,
        r"could not convert|conversion error|tried to convert|cast|would (lose|result|cause)|overflow|out of bounds"
        r"|not in range|too large|truncat|rescal|failed to parse|error parsing|precision|cannot mix|expected .* got"
        r"|non-nullable",
    ),
)
_CONNECT_WORDS = _compiled(
    (Reason.PARAMETER, r"invalid (URI query parameter|connection option)|invalid \w+ value:|for connection option \""),
    (
        Reason.NO_DATABASE,
        r"database \"[^\"]*\" does not exist|unknown database|cannot open database|ORA-12514|ORA-12505|DPY-6001"
        r"|DPY-6003",
    ),
    (
        Reason.LOGIN,
        r"password authentication failed|no password supplied|access denied for user|login failed|authentication failed"
        r"|invalid username|role \"[^\"]*\" does not exist|no pg_hba.conf entry|ORA-01017|DPY-4001",
    ),
    (
        Reason.CERTIFICATE,
        r"certificate|server does not support SSL|SSL error|SSL is required|sslmode .{0,20}require"
        r"|wrong version number",
    ),
    (
        Reason.AWAY,
        r"(could not|cannot|unable to|can't) (connect|translate host)|failed to connect|connection refused"
        r"|timed? ?out|timeout expired"
        r"|server closed the connection|server connection failed|connection .{0,40}(reset|closed|lost)|starting up"
        r"|shutting down|too many (clients|connections)|name or service not known|temporary failure in name resolution"
        r"|no route to host|network is unreachable|remaining connection slots|connection to server .* failed"
        r"|ORA-12541|ORA-12170|DPY-4011|DPY-6005",
    ),
)
_SERVER_WORDS = _compiled(
    (Reason.CANCELLED, r"^canceling statement|query execution was interrupted|max_statement_time|ORA-01013"),
    (Reason.AWAY, r"^terminating connection|^server closed|^SSL connection has been closed|^could not receive data"
        r"|^lost connection"),
    (Reason.DENIED, r"^permission denied|command denied|not allowed to|insufficient privilege|permission was denied"
        r"|ORA-01031"),
    (Reason.ABSENT, r"^(relation|column|schema|function) .{1,200} does not exist|no such (table|column)"
        r"|unknown (table|column)"
     r"|invalid object name|invalid column name|ORA-00942|ORA-00904|doesn't exist"),
    (Reason.BUSY, r"^deadlock|could not serialize|database (table )?is locked|lock wait timeout"),
    (Reason.CHARACTERS, r"^invalid byte sequence|^character with byte sequence|could not decode to UTF-8"),
    (Reason.CONVERSION, r"^invalid (input|value)|out of range|^value too long|^cannot (cast|convert)"
        r"|^division by zero|^malformed|^date/time"),
    (Reason.FULL, r"^could not (extend|write)|no space left|disk is full"),
)  # fmt: skip
"""Reasons by what servers say, for errors without a code. Anchored where a row could stand in the words."""


def _number(error: BaseException) -> int | None:
    """The number that MySQL's and SQL Server's drivers put first."""
    args = error.args[0] if error.args and isinstance(error.args[0], tuple) else error.args
    return args[0] if args and isinstance(args[0], int) and not isinstance(error, OSError) else None


_NUMBERS: dict[str, dict[int, Reason]] = {
    "pymysql": {
        **dict.fromkeys((1044, 1045, 1698), Reason.LOGIN),
        1049: Reason.NO_DATABASE,
        **dict.fromkeys((1142, 1143, 1227, 1370), Reason.DENIED),
        **dict.fromkeys((1051, 1054, 1109, 1146, 1305), Reason.ABSENT),
        **dict.fromkeys((1040, 1053, 1129, 1203, 1927, 2002, 2003, 2005, 2006, 2013, 2055, 4031), Reason.AWAY),
        **dict.fromkeys((1205, 1213, 1412), Reason.BUSY),
        **dict.fromkeys((1317, 1969, 3024), Reason.CANCELLED),
        **dict.fromkeys((1264, 1265, 1292, 1365, 1366, 1406), Reason.CONVERSION),
        **dict.fromkeys((1290, 1836), Reason.READ_ONLY),
        **dict.fromkeys((2026, 3159), Reason.CERTIFICATE),
        1021: Reason.FULL,
        1356: Reason.ABSENT,
    },
    "pymssql": {
        **dict.fromkeys((18456, 18470, 18486), Reason.LOGIN),
        **dict.fromkeys((4060, 911), Reason.NO_DATABASE),
        **dict.fromkeys((229, 230, 262, 297), Reason.DENIED),
        **dict.fromkeys((207, 208, 2812), Reason.ABSENT),
        **dict.fromkeys((20002, 20003, 20004, 20006, 20009, 20047), Reason.AWAY),
        **dict.fromkeys((1205, 1222, 3960), Reason.BUSY),
        **dict.fromkeys((241, 242, 244, 245, 248, 8114, 8115, 8152, 2628, 8134), Reason.CONVERSION),
        1105: Reason.FULL,
    },
}
"""Reasons by the numbers of drivers that know no SQLSTATE, by the driver's package."""


def words_of(error: BaseException) -> str:
    """What an error says, without the number and the bytes that MySQL's and SQL Server's drivers wrap it in."""
    match error.args:
        case (int(), bytes(said)) | ((int(), bytes(said)),) if not isinstance(error, OSError):
            return said.decode(errors="replace")
        case (int(), str(said)) if not isinstance(error, OSError):
            return said
    return str(error)


def fields_of(error: BaseException) -> dict[str, str]:
    """The names that an error of PostgreSQL carries apart from its words: psycopg2's `diag`, ADBC's details."""
    found: dict[str, str] = {}
    diag: Any = getattr(error, "diag", None)
    for name in ("table_name", "column_name", "constraint_name", "context", "source_function"):
        if isinstance(value := getattr(diag, name, None), str):
            found[name] = value
    details = getattr(error, "details", None)
    for pair in details if isinstance(details, list) else ():
        match pair:
            case (bytes(key) | str(key), bytes(value) | str(value)):
                key = key.decode(errors="replace") if isinstance(key, bytes) else key
                value = value.decode(errors="replace") if isinstance(value, bytes) else value
                found[key.removeprefix("PG_DIAG_").lower()] = value
    return found
