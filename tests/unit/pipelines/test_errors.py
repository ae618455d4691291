"""Classification of exceptions: whether a retry may help, and the sentence for the user."""

import errno
import logging
import re

import pytest
import requests
from dlt.common.configuration.exceptions import ConfigurationValueError
from sqlalchemy.exc import NoSuchTableError, OperationalError

from pipelines.error_causes.classification import as_fault, classify
from pipelines.errors import ConfigurationError, RunError, Step, TransientError, UnexpectedError


class PgError(Exception):
    """A driver's error that carries its SQLSTATE."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.pgcode = code


def wrapped(inner: BaseException) -> BaseException:
    """An error as dlt and SQLAlchemy wrap it."""
    return OperationalError("SELECT canary", {}, inner)


def answered(status: int) -> requests.HTTPError:
    """What a client raises when a server says no."""
    response = requests.Response()
    response.status_code = status
    response.request = requests.Request("GET", "http://h/x?key=canary").prepare()
    return requests.HTTPError(response=response)


@pytest.mark.parametrize(
    ("error", "step", "kind", "words"),
    [
        (
            wrapped(PgError("password authentication failed", "28P01")),
            Step.EXTRACT,
            ConfigurationError,
            "source.credentials",
        ),
        (
            wrapped(PgError("password authentication failed", "28P01")),
            Step.LOAD,
            ConfigurationError,
            "destination.credentials",
        ),
        (wrapped(PgError("x", "28000")), Step.PREPARE, ConfigurationError, "CAI_DATABASE_URL"),
        (wrapped(PgError('relation "v" does not exist', "42P01")), Step.EXTRACT, ConfigurationError, "source.tables"),
        (wrapped(PgError("permission denied for table v", "42501")), Step.EXTRACT, ConfigurationError, "Grant it"),
        (wrapped(PgError("terminating connection", "57P01")), Step.LOAD, TransientError, "destination's database"),
        (wrapped(PgError("deadlock detected", "40P01")), Step.LOAD, TransientError, "deadlock"),
        (wrapped(Exception("Lost connection: timed out")), Step.EXTRACT, TransientError, "could not be reached"),
        (NoSuchTableError("persons"), Step.EXTRACT, ConfigurationError, "no table persons"),
        (
            requests.ConnectionError("Max retries: Failed to resolve 'h'"),
            Step.EXTRACT,
            TransientError,
            "not known here",
        ),
        (
            ModuleNotFoundError("No module named 'pymssql'", name="pymssql"),
            Step.EXTRACT,
            ConfigurationError,
            "lacks pymssql",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), Step.LOAD, UnexpectedError, "disk is full"),
        (MemoryError(), Step.EXTRACT, UnexpectedError, "out of memory"),
        (KeyError("id"), Step.NORMALIZE, UnexpectedError, "failed while it made files of the rows"),
        (answered(404), Step.LOAD, ConfigurationError, "The destination answered 404 at http://h/x: there is nothing"),
        (answered(401), Step.LOAD, ConfigurationError, "check destination.credentials"),
        (answered(503), Step.LOAD, TransientError, "The destination answered 503"),
        (answered(401), Step.PREPARE, ConfigurationError, "check PREFECT_API_AUTH_STRING"),
        (answered(401), Step.EXTRACT, ConfigurationError, "The source answered 401"),
        (ConfigurationValueError("no key"), Step.LOAD, ConfigurationError, "destination.credentials is not what"),
        (TransientError("As it is."), Step.EXTRACT, TransientError, "As it is."),
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
    assert not re.search(r"[a-z](Error|Exception|Missing|Timeout)\b", str(found))


def test_what_a_sentence_leaves_out_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "prefect.pipelines")
    with pytest.raises(UnexpectedError) as caught, as_fault(str, Step.NORMALIZE):
        raise KeyError("id")
    assert "KeyError" in caplog.text
    assert "id" not in str(caught.value).split()
    with pytest.raises(ConfigurationError), as_fault(str, Step.LOAD):
        raise ConfigurationValueError("no key")
    assert "ConfigurationValueError" in caplog.text


def test_rows_that_a_database_quotes_are_left_out() -> None:
    told = 'duplicate key value violates unique constraint "k"\nDETAIL:  Key (mrn)=(canary) already exists.'
    assert "canary" not in str(classify(PgError(told, "23505"), Step.LOAD))
