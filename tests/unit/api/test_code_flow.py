"""State that a browser keeps while it logs in elsewhere."""

from base64 import urlsafe_b64encode

import pytest

from api.sign_in.code_flow import Attempt


def test_an_attempt_is_read_as_it_was_written() -> None:
    attempt = Attempt("state", "nonce", "verifier", "/connectors/7?said=a")
    assert Attempt.read(attempt.written()) == attempt


@pytest.mark.parametrize(
    "text", ["", "x", "é", "{}", *(urlsafe_b64encode(each).decode() for each in (b"[]", b"{}", b"7", b"\xff"))]
)
def test_what_is_no_attempt_is_none(text: str) -> None:
    assert Attempt.read(text) is None


def test_an_attempt_of_other_kinds_is_none() -> None:
    said = b'{"state": 1, "nonce": "n", "verifier": "v", "leads_to": "/"}'
    assert Attempt.read(urlsafe_b64encode(said).decode()) is None
