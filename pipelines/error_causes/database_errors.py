"""Errors of databases and lakes, told in sentences of our own: a driver's words are never shown.

PostgreSQL's DETAIL, DuckDB's "Could not convert" and Delta's "Preview of invalid data" quote rows, so what a driver
says may hold a patient's name. `pipelines.error_causes.rules` reads it and finds a reason; here each reason has its
sentence. The only words of others in a sentence are names: tables and columns that the run itself knows, a constraint
from the error's own fields, and the server, database and parameter of an address that nobody could connect to. This
module is pure.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from pipelines.error_causes.rules import Reason, fields_of, reason_of, state_of, words_of
from pipelines.errors import Side


class Kind(StrEnum):
    """Kinds of errors, by what follows: see `pipelines.errors`."""

    CONFIGURATION = "configuration"
    TRANSIENT = "transient"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class Told:
    """An error's kind and sentence."""

    kind: Kind
    sentence: str


@dataclass(frozen=True, slots=True)
class Names:
    """Names of what an error is about, as far as they are known to be names and no values of a row."""

    table: str | None = None
    column: str | None = None
    constraint: str | None = None
    address: str | None = None
    """What a connection failed by: a database's or a parameter's name."""
    server: str | None = None

    @property
    def place(self) -> str:
        """` in column 'x' of table 'y'`, or as much of it as is known."""
        parts = [f" in column '{self.column}'"] if self.column else []
        if self.table:
            parts.append(f" of table '{self.table}'" if parts else f" in table '{self.table}'")
        return "".join(parts)


def told(causes: list[BaseException], side: Side, known: Collection[str]) -> Told | None:
    """What a chain of errors means, the root cause last; None when it is none of a database or lake.

    Args:
        causes: an error and everything that caused it.
        side: whose database it is.
        known: names of the run's own tables and columns: only those are shown.
    """
    for cause in reversed(causes):
        reason = reason_of(cause)
        if reason is not None:
            kind, sentence = _SENTENCES[reason]
            words = sentence if isinstance(sentence, str) else sentence[0 if side is Side.DESTINATION else 1]
            return Told(kind, _filled(words, side, names_of(causes, cause, known), state_of(cause)))
    return None


def _filled(sentence: str, side: Side, names: Names, state: str) -> str:
    login = "CAI_DATABASE_URL" if side is Side.PLATFORM else f"{side}.credentials"
    where = (
        "the destination's database and dataset_name" if side is Side.DESTINATION else "source.schema and source.tables"
    )
    return sentence.format(
        side=side,
        login=login,
        where=where if side is not Side.PLATFORM else login,
        place=names.place,
        table=f" '{names.table}'" if names.table else "",
        constraint=f" '{names.constraint}'" if names.constraint else "",
        address=f" '{names.address}'" if names.address else "",
        server=f" at {names.server}" if names.server else "",
        code=f" (SQLSTATE {state})" if state else "",
    )


# --- names ------------------------------------------------------------------------------------------------------------

_NAME = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"
_NOT_NULL = re.compile(rf"Constraint Error: NOT NULL constraint failed: (?P<table>{_NAME})\.(?P<column>{_NAME})")
_IN_WORDS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"^Constraint Error: CHECK constraint failed on table \"(?P<table>{_NAME})\"",
        rf"when casting from source column (?P<column>{_NAME})\s*(\n|$)",
        rf"^(null value in )?column \"(?P<column>{_NAME})\"( of relation \"(?P<table>{_NAME})\")?",
        rf"(ERROR:\s+|^)relation \"({_NAME}\.)?(?P<table>{_NAME})\" does not exist",
        rf"(ERROR:\s+|^)permission denied for (table|relation|view) (?P<table>{_NAME})\b",
        rf"(ERROR:\s+|^)must be owner of (table|relation|view) (?P<table>{_NAME})\b",
        rf"[Nn]o such table: ({_NAME}\.)?(?P<table>{_NAME})$",
        rf"[Nn]o such column: ({_NAME}\.)?(?P<column>{_NAME})$",
        rf"^Table '({_NAME}\.)?(?P<table>{_NAME})' doesn't exist",
        rf"^Unknown column '({_NAME}\.)?(?P<column>{_NAME})' in ",
        rf"^Catalog Error: Table with name (?P<table>{_NAME}) does not exist",
        rf"Column '(?P<column>{_NAME})' is declared non-nullable but contains nulls",
    )
)
"""Where a driver's words hold a name. A row could look like one, so only a name that the run knows is taken from "
"them."""

_IN_ADDRESS = re.compile(
    rf"(database|Unknown database) [\"'](?P<database>{_NAME})[\"']"
    rf"|(parameter: |connection option )\"(?P<parameter>{_NAME})\"|invalid (?P<setting>{_NAME}) value:"
)
TUNNELS: set[int] = set()
"""Ports of this machine that lead into SSH tunnels (`pipelines.access.tunnels`): to people they say nothing."""

_SERVER = re.compile(r'connection to server at "([A-Za-z0-9._:/-]+)"(?: \([^)]*\))?, port (\d+) failed')


def names_of(causes: list[BaseException], cause: BaseException, known: Collection[str]) -> Names:
    """What an error is about: the table of the load file or resource that it came from, and what the error says itself.

    A database's own code (a trigger, a function) can put anything into the fields of its error: none of it is taken.
    """
    folded = {name.lower() for name in known}
    fields = fields_of(cause)
    words = words_of(cause)
    by_code = "function" in fields.get("context", "").lower() or fields.get("source_function") == "exec_stmt_raise"
    found: dict[str, str | None] = {"table": _table_of(causes), "column": None}
    if not by_code:
        context = re.fullmatch(
            rf"COPY (?P<table>{_NAME}), line \d+, column (?P<column>{_NAME})(: .*)?", fields.get("context", "")
        )
        matches = [match for pattern in _IN_WORDS if (match := pattern.search(words))]
        seen = [match.groupdict() for match in (*matches, context) if match]
        for name in ("table", "column"):
            found[name] = next((each[name] for each in seen if (each.get(name) or "").lower() in folded), found[name])
        # Of these nothing comes from a row.
        sure = _NOT_NULL.fullmatch(words.strip())
        for candidate in (sure.groupdict() if sure else {}, {name: fields.get(f"{name}_name", "") for name in found}):
            found |= {name: value for name, value in candidate.items() if re.fullmatch(_NAME, value)}
    constraint = "" if by_code else fields.get("constraint_name", "")
    # Before a connection stands, no row can be in what is said.
    at_connect = _SERVER.search(words) or re.search("^invalid |Unknown database|Failed to connect", words)
    address = _IN_ADDRESS.search(words) if at_connect and not state_of(cause) else None
    server = _SERVER.search(words)
    return Names(
        table=found["table"],
        column=found["column"],
        constraint=constraint if re.fullmatch(_NAME, constraint) else None,
        address=next((name for name in address.groupdict().values() if name), None) if address else None,
        server=_place(server.group(1), int(server.group(2))) if server else None,
    )


def _place(host: str, port: int) -> str:
    if host == "127.0.0.1" and port in TUNNELS:
        return "the far end of its SSH tunnel"
    return f"{host}:{port}"


def _table_of(causes: list[BaseException]) -> str | None:
    """The table of dlt's load job (`table.file.retries.format`) or resource that failed: names that dlt made."""
    for cause in causes:
        for value in (getattr(cause, "job_id", None), getattr(cause, "pipe_name", None)):
            name = value.partition(".")[0] if isinstance(value, str) else ""
            if name and not name.startswith("_dlt"):
                return name
    return None


# --- sentences --------------------------------------------------------------------------------------------------------

_SENTENCES: dict[Reason, tuple[Kind, str | tuple[str, str]]] = {
    Reason.LOGIN: (
        Kind.CONFIGURATION,
        "The {side} did not accept the login: check {login} and the secret it refers to.",
    ),
    Reason.DENIED: (
        Kind.CONFIGURATION,
        (
            "The {side} denies access{place}{code}. Grant it (a login that may make no schema needs dataset_name: a "
            "schema that it owns), or check {login}.",
            "The {side} denies access{place}{code}. Grant it, or check {login}.",
        ),
    ),
    Reason.NO_DATABASE: (
        Kind.CONFIGURATION,
        "The {side}'s server{server} has no database{address}: create it there, or correct the address in {login}.",
    ),
    Reason.PARAMETER: (
        Kind.CONFIGURATION,
        "The address in {login} has a parameter{address} that the database's driver does not know or whose value it "
        "does "
        "not take: correct or remove it.",
    ),
    Reason.CERTIFICATE: (
        Kind.CONFIGURATION,
        "The {side}'s database{server} and this worker can't agree on TLS: check sslmode and sslrootcert in {login}, "
        "and "
        "that the certificate is valid, is made for this host and comes from an authority that the worker trusts.",
    ),
    Reason.ABSENT: (
        Kind.CONFIGURATION,
        (
            "The destination lacks something that was named{place}{code}: check {where}. A table that somebody has "
            "dropped there comes back, with all its rows, by a full refresh.",
            "The {side} lacks something that was named{place}{code}: check {where}.",
        ),
    ),
    Reason.AWAY: (
        Kind.TRANSIENT,
        "The {side}'s database{server} could not be reached, or dropped the connection{code}: it is down, restarts "
        "or has "
        "too many connections, or its address in {login} is wrong.",
    ),
    Reason.BUSY: (
        Kind.TRANSIENT,
        "The {side}'s database was busy with another transaction{place}{code}: a deadlock, a lock that was not given "
        "in "
        "time, or a change at the same moment.",
    ),
    Reason.CANCELLED: (
        Kind.TRANSIENT,
        "The {side}'s database cancelled the statement{place}{code}: its statement_timeout, or an administrator.",
    ),
    Reason.READ_ONLY: (
        Kind.TRANSIENT,
        "The {side}'s database takes no writes{code}: it is a standby or was set to read only; check {login}.",
    ),
    Reason.FULL: (
        Kind.TRANSIENT,
        "The {side}'s disk is full{code}: free space there.",
    ),
    Reason.MEMORY: (
        Kind.TRANSIENT,
        "The {side}'s database ran out of memory{place}{code}.",
    ),
    Reason.CONVERSION: (
        Kind.CONFIGURATION,
        (
            "A value does not fit the type that the destination has{place}{code}: change the column's type there, give "
            "the column its type with types in source, or load the table anew with full_refresh.",
            "A value can't be made into the type that is asked for{place}{code}, by a view, a function or a column's "
            "own type: correct it at the source, or leave the column out.",
        ),
    ),
    Reason.CHARACTERS: (
        Kind.CONFIGURATION,
        (
            "A text{place} holds characters that the destination's database has no form for{code}: correct them, or "
            "use a database with the encoding UTF8.",
            "A text{place} holds bytes that are no characters in the encoding of the source's database{code}: correct "
            "them there, or leave the column out by columns of the table.",
        ),
    ),
    Reason.NUL: (
        Kind.CONFIGURATION,
        "A text{place} holds the character NUL, which PostgreSQL takes in no text{code}: remove it at the source.",
    ),
    Reason.NOT_NULL: (
        Kind.CONFIGURATION,
        "A row has no value{place}, where the {side} demands one{code}: drop NOT NULL there, or leave out such rows at "
        "the source.",
    ),
    Reason.UNIQUE: (
        Kind.CONFIGURATION,
        "Two rows{place} are equal where the {side}'s constraint{constraint} wants each value once{code}: drop it "
        "there, "
        "or name what tells rows apart as primary_key.",
    ),
    Reason.FOREIGN_KEY: (
        Kind.CONFIGURATION,
        "A row{place} breaks the foreign key{constraint} of the {side}{code}: drop it there, or make it DEFERRABLE, "
        "for tables are loaded one by one.",
    ),
    Reason.CHECK: (
        Kind.CONFIGURATION,
        "A row{place} breaks the constraint{constraint} of the {side}{code}: drop it there, or correct the rows at the "
        "source.",
    ),
    Reason.TWICE: (
        Kind.CONFIGURATION,
        "Several rows of one load have the same key{place}{code}, and the {side} takes only one: name what tells rows "
        "apart as primary_key, or load the table anew with full_refresh.",
    ),
    Reason.OWN_CODE: (
        Kind.CONFIGURATION,
        "A trigger or function in the {side}'s database refused a row{place}{code}: correct it there. What it said may "
        "quote the row and is not shown here; the database's own log has it.",
    ),
    Reason.DEPENDENT: (
        Kind.CONFIGURATION,
        "Something in the {side}'s database depends on what would be changed{place}{code}, such as a view: drop it "
        "there, load, and make it anew.",
    ),
    Reason.EXISTS: (
        Kind.CONFIGURATION,
        "The {side} already has something of another kind, or of another owner, under a name that is "
        "needed{place}{code}: "
        "rename it there, or choose another dataset_name.",
    ),
    Reason.LIMIT: (
        Kind.CONFIGURATION,
        "A table has more than the {side}'s database can hold{place}{code}: too many columns, or a value that is too "
        "long "
        "for an index.",
    ),
    Reason.FILE_IN_USE: (
        Kind.TRANSIENT,
        "Another program has the DuckDB file open: close it there.",
    ),
    Reason.FILE_NEWER: (
        Kind.CONFIGURATION,
        "The DuckDB file was written by a newer DuckDB than the worker's: update the worker, or set storage_version "
        "where "
        "the file is made.",
    ),
    Reason.FILE_BROKEN: (
        Kind.CONFIGURATION,
        "The file at destination.path is no DuckDB file, or a damaged one: restore it from a backup, or name another "
        "path.",
    ),
    Reason.FILE_PLACE: (
        Kind.CONFIGURATION,
        "The DuckDB file can't be opened or made: check destination.path, and that the worker may write there.",
    ),
    Reason.INTERNAL: (
        Kind.UNEXPECTED,
        "The {side}'s database reports a fault of its own{place}{code}: its administrators must look into its log.",
    ),
    Reason.UNKNOWN: (
        Kind.TRANSIENT,
        "The {side}'s database refused or failed{place}{code}, and says so in words that may quote rows: they are not "
        "shown here; its own log has them.",
    ),
}
"""What is said of each reason, and what follows; of two sentences the first is the destination's."""
