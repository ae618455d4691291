"""Free texts under `protect`: what the recognisers find, what they leave, and a worker that has none."""

import json
import logging
import socket
from importlib.util import find_spec
from pathlib import Path

import pytest

from connectors.sources.protection.rules import Kind
from pipelines.errors import ConfigurationError
from pipelines.protection.masking import masking_key
from pipelines.protection.methods import texts
from pipelines.protection.methods.texts import LONGEST, recogniser
from pipelines.protection.methods.tokens import Tokens
from pipelines.protection.methods.values import is_a
from tests.support.data_plane.platform import Platform

pytestmark = pytest.mark.skipif(
    find_spec("presidio_analyzer") is None,
    reason="No recognisers here: uv pip install --require-hashes -r requirements-texts.lock",
)


@pytest.fixture(scope="module", autouse=True)
def _no_web() -> None:
    """Nothing here may ask the web for anything: it would be said to somebody that a text is looked at."""
    patch = pytest.MonkeyPatch()

    def refuse(*_: object) -> None:
        raise AssertionError("a recogniser asked the network")

    patch.setattr(socket, "getaddrinfo", refuse)
    texts.recogniser.cache_clear()
    recogniser()("mail to ann.quill@clinic.org")
    patch.undo()


@pytest.mark.parametrize(
    ("text", "lands"),
    [
        ("SSN 123-45-6789.", "<NUMBER>."),
        ("her number is 123-45-6789", "her number is <US_SSN>"),
        ("call (206) 555-0100 or +49 30 123456", "call <PHONE_NUMBER> or <PHONE_NUMBER>"),
        ("mail ann.quill@clinic.org", "mail <EMAIL_ADDRESS>"),
        ("see https://a.b/c?x=1", "see <URL>"),
        ("from 10.0.0.1", "from <IP_ADDRESS>"),
        ("seen 03/04/2021 and 1970-01-31", "seen <DATE_TIME> and <DATE_TIME>"),
        ("on March 4, 2021 and the 5th of May", "on <DATE_TIME> and the <DATE_TIME>"),
        ("a 94-year-old, aged 95", "a <AGE>-year-old, aged <AGE>"),
        ("(MRN: 12-3456), 00423377", "(<NUMBER>), <NUMBER>"),
        ("BP 120/80, pain 5/10, 1-2 tablets of 2.5 mg, age 71", "BP 120/80, pain 5/10, 1-2 tablets of 2.5 mg, age 71"),
        ("Mr. Quill of Ulm is well", "Mr. Quill of Ulm is well"),
        ("", ""),
        ("x" * (LONGEST + 1), None),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_a_text_lands_without_what_patterns_find_and_with_its_names(text: str, lands: str | None) -> None:
    assert recogniser()(text) == lands


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("emails", "write to a.b@c.org!"), ("ssns", "ssn 123-45-6789"), ("ssns", "x 666 12 3456"),
        ("phone_numbers", "(206) 555-0100"), ("phone_numbers", "206.555.0100"), ("phone_numbers", "+49 30 1234"),
        ("urls", "ftp://a.b/c"), ("urls", "WWW.a.org"), ("ip_addresses", "10.0.0.1"),
        ("ip_addresses", "fe80:0:0:1:2:3:4:5"), ("dates", "2024-01-31"), ("dates", "20240131"),
    ],
)  # fmt: skip
def test_it_finds_what_rules_for_values_find(kind: str, text: str) -> None:
    assert is_a(Kind(kind), text)
    assert not is_a(Kind(kind), recogniser()(text))


def test_a_pattern_that_is_given_up_lets_no_text_through(caplog: pytest.LogCaptureFixture) -> None:
    class GivenUp:
        supported_entities = ("X",)

        def analyze(self, text: str, *_: object) -> list[object]:
            logging.getLogger("presidio-analyzer").error("Failed to validate text %s", text)
            logging.getLogger("presidio-analyzer").warning("Regex pattern '%s' timed out after %s seconds", "x", 60)
            return []

    found = texts.Recogniser()
    found._recognisers.append(GivenUp())
    assert found("canary") is None
    assert "canary" not in caplog.text


def test_a_connector_lands_texts_and_tokens(platform: Platform, inbox: Path) -> None:
    rows = [
        {"id": "MRN-000123", "note": "call 206-555-0100", "visit": {"text": "seen 03/04/2021"}, "code": "1"},
        {"id": "MRN-000124", "note": 7, "visit": {"text": None}, "code": "123456"},
    ]
    (inbox / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rules = [
        {"path": "id", "method": "tokenize"},
        {"path": "code", "method": "tokenize"},
        {"names": ["note", "text"], "method": "text"},
    ]
    source = {"type": "files", "url": str(inbox), "format": "jsonl", "table": "visit", "primary_key": "id"}
    connector = platform.add({**source, "protect": {"rules": rules}})
    summary = platform.run(connector)
    key = Tokens(masking_key(platform.settings.data_dir))
    found = platform.duck(f"SELECT id, note, visit, code FROM connector_{connector}.visit ORDER BY note NULLS LAST")
    assert [(row[0], row[1], json.loads(row[2]), row[3]) for row in found] == [
        (key.of("MRN-000123"), "call <PHONE_NUMBER>", {"text": "seen <DATE_TIME>"}, None),
        (key.of("MRN-000124"), None, {"text": None}, key.of("123456")),
    ]
    assert any("tokenize (code) never lands as it is. A token is made of values" in each for each in summary.remarks)
    assert any("can't be treated by text (names note, text)" in each for each in summary.remarks)


def test_a_worker_without_the_recogniser_says_what_to_install(
    platform: Platform, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox / "a.jsonl").write_text('{"id": 1, "note": "canary"}')
    monkeypatch.setattr(texts, "find_spec", lambda name: None if name.startswith("presidio") else find_spec(name))
    source = {"type": "files", "url": str(inbox), "format": "jsonl", "table": "visit"}
    connector = platform.add({**source, "protect": {"rules": [{"path": "note", "method": "text"}]}})
    with pytest.raises(ConfigurationError, match="install the extra 'texts'"):
        platform.run(connector)
