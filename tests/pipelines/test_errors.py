"""What an exception means: whether a retry may help, and what the user is told."""

import errno

import pytest
import requests
from sqlalchemy.exc import NoSuchTableError, OperationalError

from pipelines.errors import ConfigurationError, RunError, Step, TransientError, UnexpectedError, classify


class PgError(Exception):
    """A driver's error that carries its SQLSTATE."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.pgcode = code


def wrapped(inner: BaseException) -> BaseException:
    """An error as dlt and SQLAlchemy wrap it."""
    return OperationalError("SELECT canary", {}, inner)


@pytest.mark.parametrize(
    ("error", "step", "kind", "words"),
    [
        (
            wrapped(PgError("password authentication failed", "28P01")),
            "extract",
            ConfigurationError,
            "source.credentials",
        ),
        (
            wrapped(PgError("password authentication failed", "28P01")),
            "load",
            ConfigurationError,
            "destination.credentials",
        ),
        (wrapped(PgError("x", "28000")), "prepare", ConfigurationError, "CAI_DATABASE_URL"),
        (wrapped(PgError('relation "v" does not exist', "42P01")), "extract", ConfigurationError, "source.tables"),
        (wrapped(PgError("permission denied for table v", "42501")), "extract", ConfigurationError, "Grant it"),
        (wrapped(PgError("terminating connection", "57P01")), "load", TransientError, "destination's database"),
        (wrapped(PgError("deadlock detected", "40P01")), "load", TransientError, "deadlock"),
        (wrapped(Exception("Lost connection: timed out")), "extract", TransientError, "could not be reached"),
        (NoSuchTableError("persons"), "extract", ConfigurationError, "no table persons"),
        (requests.ConnectionError("Max retries: Failed to resolve 'h'"), "extract", TransientError, "not known here"),
        (
            ModuleNotFoundError("No module named 'pymssql'", name="pymssql"),
            "extract",
            ConfigurationError,
            "lacks pymssql",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "load", UnexpectedError, "disk is full"),
        (MemoryError(), "extract", UnexpectedError, "out of memory"),
        (ZeroDivisionError("division by zero"), "normalize", UnexpectedError, "ZeroDivisionError"),
        (TransientError("As it is."), "extract", TransientError, "As it is."),
    ],
)
def test_each_error_is_of_its_kind_and_says_what_to_do(
    error: BaseException, step: Step, kind: type[RunError], words: str
) -> None:
    found = classify(error, step)
    assert type(found) is kind
    assert words in str(found)
    assert str(found).endswith(".")
    assert "canary" not in str(found)


def test_rows_that_a_database_quotes_are_left_out() -> None:
    told = 'duplicate key value violates unique constraint "k"\nDETAIL:  Key (mrn)=(canary) already exists.'
    assert "canary" not in str(classify(PgError(told, "23505"), "load"))
