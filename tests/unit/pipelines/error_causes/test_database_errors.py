"""Errors of databases: each has its reason and a sentence of ours, and no word of a driver's is in it."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.error_causes.classification import classify
from pipelines.error_causes.database_errors import told
from pipelines.errors import ConfigurationError, RunError, Side, Step, TransientError, UnexpectedError

PATIENT = "Quillfeather"
KNOWN = {"visit", "name", "id"}


def raised(module: str, kind: str, words: str, bases: str = "", **attributes: Any) -> Exception:
    """An error as a driver raises it, by the names of its class and module, which is all that is looked at."""
    parent: type[Exception] = Exception
    for base in reversed(bases.split()):
        parent = type(base, (parent,), {"__module__": module})
    made: Exception = type(kind, (parent,), {"__module__": module})(words)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


class Diag:
    """The fields of an error of PostgreSQL's."""

    def __init__(self, **fields: str) -> None:
        self.__dict__.update(fields)


def pg(state: str, words: str, **fields: str) -> Exception:
    return raised("psycopg2.errors", "Broken", words, "DatabaseError", pgcode=state, diag=Diag(**fields))


def adbc(state: str, words: str, **details: str) -> Exception:
    pairs = [(f"PG_DIAG_{key.upper()}".encode(), value.encode()) for key, value in details.items()]
    text = f"INVALID_DATA: [libpq] Failed to execute COPY statement: PGRES_FATAL_ERROR ERROR:  {words}"
    return raised("adbc_driver_manager", "DataError", text, "DatabaseError", sqlstate=state, details=pairs)


def duck(kind: str, words: str) -> Exception:
    return raised("_duckdb", kind, words, "DatabaseError")


def lake(words: str) -> Exception:
    return raised("_internal", "DeltaError", words)


def connecting(words: str) -> Exception:
    text = f'connection to server at "db.example", port 5433 failed: {words}'
    return raised("psycopg2", "OperationalError", text, "DatabaseError")


CASES = [
    (pg("23514", f'new row for relation "visit" violates "no_q"\nDETAIL:  Failing row contains (1, {PATIENT}).',
        table_name="visit", constraint_name="no_q"), ConfigurationError, "table 'visit' breaks the constraint 'no_q'"),
    (pg("23505", f"duplicate key\nDETAIL:  Key (name)=({PATIENT}) already exists.", table_name="visit",
        constraint_name="u"), ConfigurationError, "constraint 'u' wants each value once (SQLSTATE 23505)"),
    (pg("23505", "duplicate key", table_name="pg_namespace", constraint_name="pg_namespace_nspname_index"),
     TransientError, "busy with another transaction"),
    (pg("23503", f"insert\nDETAIL:  Key (name)=({PATIENT}) is not present.", constraint_name="visit_name_fkey"),
     ConfigurationError, "foreign key 'visit_name_fkey'"),
    (pg("23502", f'null value in column "name"\nDETAIL:  Failing row contains (1, {PATIENT}).', table_name="visit",
        column_name="name"), ConfigurationError, "no value in column 'name' of table 'visit'"),
    (pg("42804", 'column "name" is of type integer but expression is of type character varying'), ConfigurationError,
     "column 'name'"),
    (pg("22P02", f'invalid input syntax for type integer: "{PATIENT}"'), ConfigurationError, "types in source"),
    (pg("P0001", f"bad {PATIENT}"), ConfigurationError, "trigger or function"),
    (pg("23514", f"bad {PATIENT}", table_name=PATIENT, column_name=PATIENT, constraint_name=PATIENT,
        source_function="exec_stmt_raise"), ConfigurationError, "breaks the constraint of the destination"),
    (pg("42501", "permission denied for table visit"), ConfigurationError, "denies access in table 'visit'"),
    (pg("40P01", "deadlock detected"), TransientError, "deadlock"),
    (pg("57014", "canceling statement due to statement timeout"), TransientError, "statement_timeout"),
    (pg("21000", "MERGE command cannot affect row a second time"), ConfigurationError, "primary_key"),
    (pg("42601", f'syntax error at or near "{PATIENT}"'), TransientError, "SQLSTATE 42601"),
    (pg("XX001", "page 7 of relation is corrupt"), UnexpectedError, "fault of its own"),
    (adbc("22P03", "incorrect binary data format", context="COPY visit, line 1, column name"), ConfigurationError,
     "column 'name' of table 'visit'"),
    (adbc("22P02", "x", context=f'COPY visit, line 1, column name: "{PATIENT}"'), ConfigurationError, "column 'name'"),
    (adbc("22021", 'invalid byte sequence for encoding "UTF8": 0x00', context="COPY visit, line 1, column name"),
     ConfigurationError, "in column 'name' of table 'visit' holds the character NUL"),
    (adbc("22P05", "character with byte sequence 0xe4 has no equivalent"), ConfigurationError, "encoding UTF8"),
    (duck("ConversionException", f"Conversion Error: Could not convert string '{PATIENT}' to INT32 when casting from "
          "source column name\n\nLINE 1: ..."), ConfigurationError, "has in column 'name'"),
    (duck("ConversionException", f"Conversion Error: Could not convert 'casting from source column {PATIENT}"
          f"\n' to INT when casting from source column {PATIENT}"), ConfigurationError, "has: change"),
    (duck("ConstraintException", f'Constraint Error: CHECK constraint failed on table "visit" with expression '
          f"CHECK((name != '{PATIENT}'))"), ConfigurationError, "A row in table 'visit' breaks"),
    (duck("ConstraintException", "Constraint Error: PRIMARY KEY or UNIQUE constraint violation: duplicate key "
          f'"{PATIENT}"'),
     ConfigurationError, "each value once"),
    (duck("ConstraintException", f'Constraint Error: Violates foreign key constraint because key "name: {PATIENT}" '
          "does not exist in the referenced table"), ConfigurationError, "foreign key"),
    (duck("ConstraintException", "Constraint Error: NOT NULL constraint failed: visit.name"), ConfigurationError,
     "in column 'name' of table 'visit'"),
    (duck("IOException", 'IO Error: Could not set lock on file "x"'), TransientError, "close it there"),
    (duck("IOException", 'IO Error: The file "x" exists, but it is not a valid DuckDB database file!'),
     ConfigurationError, "no DuckDB file"),
    (duck("InvalidInputException", f"Invalid Input Error: {PATIENT}"), TransientError, "not shown here"),
    (lake("Generic DeltaTable error: External error: Invalid data found: 2 rows failed validation check. Preview of "
          f"invalid data:\n| 3 | {PATIENT} |"), ConfigurationError, "breaks the constraint"),
    (lake("Generic DeltaTable error: MERGE matched a target row with multiple source rows that satisfy"),
     ConfigurationError, "the same key"),
    (Exception(f"Cast error: Cannot cast string '{PATIENT}' to value of Int32 type"), ConfigurationError,
     "does not fit"),
    (raised("pyarrow.lib", "ArrowInvalid", f"Could not convert '{PATIENT}' with type str: tried to convert to int64",
            "ValueError"), ConfigurationError, "does not fit"),
    (connecting('FATAL:  database "nope" does not exist'), ConfigurationError,
     "server at db.example:5433 has no database 'nope'"),
    (connecting("FATAL:  password authentication failed for user"), ConfigurationError, "did not accept the login"),
    (connecting("server does not support SSL, but SSL was required"), ConfigurationError, "sslmode"),
    (connecting("Connection refused"), TransientError, "database at db.example:5433 could not be reached"),
    (raised("psycopg2", "OperationalError", 'invalid sslmode value: "x"', "DatabaseError"), ConfigurationError,
     "parameter 'sslmode'"),
    (raised("pymysql.err", "OperationalError", "", "DatabaseError", args=(1366, f"Incorrect value: '{PATIENT}'")),
     ConfigurationError, "does not fit"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind", "words"), CASES)
def test_an_error_of_a_destination_is_told_in_words_of_ours(error: Exception, kind: type[RunError], words: str) -> None:
    found = classify(error, Step.LOAD, KNOWN)
    assert type(found) is kind, found
    assert words in str(found)
    assert PATIENT not in str(found)
    assert str(found).endswith(".")
    assert "{" not in str(found)


MID_READ = [
    (f'invalid input syntax for type integer: "{PATIENT}"', ConfigurationError, "correct it at the source"),
    ("canceling statement due to statement timeout", TransientError, "cancelled the statement"),
    ("terminating connection due to administrator command", TransientError, "dropped the connection"),
    (f"bad {PATIENT}\nCONTEXT:  PL/pgSQL function f(text) line 1 at RAISE", TransientError, "not shown here"),
]


def test_bytes_of_a_sqlite_text_that_are_no_characters_are_told_without_them() -> None:
    words = f"Could not decode to UTF-8 column 'name' with text '{PATIENT}'"
    found = classify(raised("sqlite3", "OperationalError", words, "DatabaseError"), Step.EXTRACT, KNOWN)
    assert type(found) is ConfigurationError
    assert "bytes that are no characters" in str(found)
    assert PATIENT not in str(found)


@pytest.mark.parametrize(("words", "kind", "shown"), MID_READ)
def test_what_a_source_says_in_the_middle_of_a_read_is_told_in_words_of_ours(
    words: str, kind: type[RunError], shown: str
) -> None:
    error = OSError(f"[libpq] Execution error [PGRES_FATAL_ERROR]: ERROR:  {words}")
    found = classify(error, Step.EXTRACT, KNOWN)
    assert type(found) is kind
    assert shown in str(found)
    assert PATIENT not in str(found)


def test_a_load_file_says_which_table_it_was() -> None:
    job = raised("dlt.load.exceptions", "LoadClientJobFailed", PATIENT, job_id="visit.0a1b.0.parquet")
    job.client_exception = Exception(f"Cast error: Cannot cast string '{PATIENT}'")  # type: ignore[attr-defined]
    assert "in table 'visit'" in str(classify(job, Step.LOAD))


QUOTED = [
    "{}", "'{}'", '"{}"', "Key (name)=({}) exists", 'relation "{}" does not exist', 'column "{}" of relation "{}"',
    "no such table: {}", "permission denied for table {}",
    "Table '{}' doesn't exist", "when casting from source column {}", "Conversion Error: {}", "Cast error: {}",
    "Catalog Error: Table with name {} does not exist", "[libpq] ERROR:  {}", 'database "{}" does not exist',
    "INVALID_DATA: Column '{}' is declared non-nullable but contains nulls",
]  # fmt: skip
CLASSES = [
    ("psycopg2", "ProgrammingError"), ("_duckdb", "ConstraintException"), ("_duckdb", "BinderException"),
    ("_internal", "DeltaError"), ("pyarrow.lib", "ArrowInvalid"), ("pymysql.err", "DataError"),
    ("builtins", "ValueError"), ("builtins", "Exception"), ("sqlite3", "OperationalError"),
]  # fmt: skip
STEPS = (Step.PREPARE, Step.EXTRACT, Step.NORMALIZE, Step.LOAD)


@given(
    st.sampled_from(QUOTED), st.sampled_from(CLASSES), st.sampled_from(STEPS), st.sampled_from(["", "22P02", "42P01"])
)
def test_a_row_is_never_taken_for_a_name(template: str, kind: tuple[str, str], step: Any, state: str) -> None:
    error = raised(*kind, template.replace("{}", PATIENT), "DatabaseError", pgcode=state)
    assert PATIENT not in str(classify(error, step, KNOWN))


def test_every_reason_has_a_sentence_on_every_side() -> None:
    for (error, _, _), side in itertools.product(CASES, Side):
        found = told([error], side, KNOWN)
        assert found is None or found.sentence.endswith(".")
