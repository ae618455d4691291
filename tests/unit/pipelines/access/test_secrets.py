"""References to secrets: Prefect's blocks and the worker's variables, and what is hidden of them."""

import base64
import html
import io
import json
import logging
import pickle
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import pytest

from connectors.sources.asking.ssh import SshTunnel
from connectors.sources.secret_references import EnvRef
from pipelines.access.buckets import Bucket
from pipelines.access.denied_hosts import DeniedHosts
from pipelines.access.secrets import Secrets
from pipelines.access.tunnels import Way
from pipelines.error_causes.classification import as_fault
from pipelines.errors import ConfigurationError, RunError, Step
from pipelines.sources.http.sending import Sender
from pipelines.sources.http.tokens import TokenRequest


def test_a_variable_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAI_SECRET_NOWHERE", raising=False)
    with pytest.raises(ConfigurationError, match="no variable CAI_SECRET_NOWHERE"):
        Secrets().resolve(EnvRef(env="CAI_SECRET_NOWHERE"))
    monkeypatch.setenv("CAI_SECRET_NOWHERE", " ")
    with pytest.raises(ConfigurationError, match="is empty"):
        Secrets().resolve(EnvRef(env="CAI_SECRET_NOWHERE"))


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("canary-1", "header canary-1"),
        ("pa ss/word", "url pa%20ss%2Fword and pa+ss%2Fword"),
        ('quo"te\\d', 'json {"x": "quo\\"te\\\\d"} and repr \'quo"te\\\\d\''),
        ("postgresql://u:canary@h/d", "login failed for canary"),
        ("postgresql://u:ca/na@ry@h/d", "could not translate host name ca/na@ry"),
        ("host=h password=canary dbname=d", "canary"),
        ('{"private_key": "canary\\nlong line of a key"}', "long line of a key"),
        ("Server=h;Pwd=canary;", "canary"),
        ("s3cret", "Basic czNjcmV0"),
    ],
)
def test_a_secret_is_hidden_in_every_shape(secret: str, told: str) -> None:
    secrets = Secrets()
    secrets.hide(secret)
    hidden = secrets.redact(told)
    assert "***" in hidden
    assert "canary" not in hidden
    assert secret not in hidden


def test_logs_hide_arguments_and_what_exceptions_say(caplog: pytest.LogCaptureFixture) -> None:
    secrets = Secrets()
    secrets.hide("canary")
    with secrets.guard():
        logging.getLogger("prefect.any").warning("%s and %d%%", "canary", 5)
        try:
            int("canary")
        except ValueError:
            logging.getLogger("prefect.any").exception("failed")
    assert "*** and 5%" in caplog.text
    assert "builtins.ValueError" in caplog.text
    assert "in test_logs_hide_arguments_and_what_exceptions_say" in caplog.text
    assert "invalid literal" not in caplog.text
    assert "canary" not in caplog.text.replace('int("canary")', "")
    logging.getLogger("prefect.any").warning("after it: canary")
    assert "after it: canary" in caplog.text


def test_the_words_of_libraries_are_not_logged_while_a_run_lasts(caplog: pytest.LogCaptureFixture) -> None:
    with Secrets().guard():
        logging.getLogger("dlt").error("Job failed: Could not convert string 'Quillfeather' to INT32")
        try:
            int("Quillfeather")
        except ValueError:
            name = "Quill" + "feather"  # a local variable of this frame
            logging.getLogger("dlt").exception(f"Transient exception for {name}")
    assert name not in caplog.text.replace('int("Quillfeather")', "")
    assert "may quote rows and is not shown" in caplog.text
    assert "builtins.ValueError" in caplog.text


class Unprintable:
    """What some libraries hand to their logger."""

    def __str__(self) -> str:
        raise ValueError("canary")


ODD = "p\u00e4\"s&<w>'\u00f6/rd+1="
"""A password with all that somebody's encoding changes."""


@pytest.mark.parametrize(
    "told",
    [
        json.dumps(json.dumps(ODD)),
        json.dumps(ODD).replace("/", "\\/"),
        json.dumps(ODD).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
        html.escape(ODD, quote=False),
        html.escape(ODD).replace("&#x27;", "&#39;"),
        html.escape(ODD).replace("&#x27;", "&apos;"),
        base64.b64encode(f"user:{ODD}".encode("latin-1")).decode(),
        base64.b64encode(f"user:{ODD}".encode()).decode(),
        quote(ODD.encode("latin-1"), safe=""),
        quote(ODD),
        ODD.encode().decode("latin-1"),
        repr(ODD.encode()),
    ],
)
def test_a_secret_is_hidden_in_what_pages_scripts_and_headers_make_of_it(told: str) -> None:
    secrets = Secrets()
    secrets.hide(ODD)
    assert "***" in secrets.redact(told)


@pytest.mark.parametrize(
    ("message", "arguments", "shown"),
    [
        ("login %d as %s", ("canary", "me"), "login %d as %s ('***', 'me')"),
        ("canary %s %s", ("one",), "*** %s %s ('one',)"),
        (Unprintable(), ("canary",), "<Unprintable> ('***',)"),
    ],
)
def test_a_librarys_wrong_log_call_hurts_nobody_and_shows_no_secret(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], message: Any, arguments: Any, shown: str
) -> None:
    secrets = Secrets()
    secrets.hide("canary")
    with secrets.guard():
        logging.getLogger("prefect.any").warning(message, *arguments)
    assert caplog.messages == [shown]
    assert "canary" not in caplog.text + capsys.readouterr().err


def test_a_log_that_can_not_be_written_prints_nothing_of_what_went_wrong(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)  # Python's own, and afterwards as it was
    full = io.StringIO()
    full.close()
    handler: logging.Handler = logging.StreamHandler(full)
    log = logging.getLogger("prefect.pipelines")
    log.addHandler(handler)
    monkeypatch.setattr(log, "level", logging.INFO)
    secrets = Secrets()
    secrets.hide("swordfish-1")
    try:
        with secrets.guard(), pytest.raises(RunError), as_fault(secrets.redact, Step.EXTRACT):
            raise ConnectionError("no login with swordfish-1")
    finally:
        log.removeHandler(handler)
    assert "swordfish-1" not in capfd.readouterr().err


def test_runs_in_threads_hide_for_each_other(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Secrets(), Secrets()
    first.hide("canary-1")
    second.hide("canary-2")
    with first.guard():
        with second.guard():
            logging.getLogger("any.library").warning("canary-1 canary-2")
        logging.getLogger("any.library").warning("canary-1")
    assert "canary" not in caplog.text


def test_secrets_show_nothing_of_themselves() -> None:
    secrets = Secrets()
    secrets.hide({"user": "u", "password": "canary"})
    assert "canary" not in repr(secrets)
    assert b"canary" not in pickle.dumps(secrets)
    known: Any = secrets.redact("u is no secret, canary is")
    assert known == "u is no secret, *** is"


def test_what_holds_a_resolved_secret_does_not_show_it() -> None:
    ssh = SshTunnel.model_validate(
        {"host": "gate.example.org", "user": "reader", "private_key": {"env": "CAI_SECRET_GATE"}}
    )
    holders = [
        Way("source", ssh, {"private_key": "canary-1"}, ("db", 5432), DeniedHosts(), Path()),
        Bucket("s3://labs", {"aws_secret_access_key": "canary-1"}, {"password": "canary-1"}),
        TokenRequest(Mock(spec=Sender), "https://id.example.org", {"client_secret": "canary-1"}),
    ]
    for holder in holders:
        assert "canary-1" not in f"{holder!r} {holder}", type(holder)
