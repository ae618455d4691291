"""Tokens: NIST's own examples, another implementation's outcome, and what holds for any value."""

import hashlib
import hmac
import io
import string
from typing import Any

import pyarrow as pa
import pytest
from fastfpe import ff1  # type: ignore[import-untyped]
from ffx import FF1  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import ConfigurationError
from pipelines.protection import opening
from pipelines.protection.methods.tokens import FEWEST, Tokens
from tests.unit.pipelines.protection.test_treating import KEY, arrow, landed, protecting

TOKENS = Tokens(KEY)
ENCIPHERED = hmac.digest(KEY, b"tokenize", hashlib.sha256)
AES_128 = "2B7E151628AED2A6ABF7158809CF4F3C"
AES_192 = f"{AES_128}EF4359D8D580AA4F"
AES_256 = f"{AES_192}7F036D6F04FC6A94"
NINES, SEVENS = "39383736353433323130", "3737373770717273373737"


@pytest.mark.parametrize(
    ("key", "tweak", "value", "token"),
    [
        (AES_128, "", "0123456789", "2433477484"),
        (AES_128, NINES, "0123456789", "6124200773"),
        (AES_128, SEVENS, "0123456789abcdefghi", "a9tv40mll9kdu509eum"),
        (AES_192, "", "0123456789", "2830668132"),
        (AES_192, NINES, "0123456789", "2496655549"),
        (AES_192, SEVENS, "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"),
        (AES_256, "", "0123456789", "6657667009"),
        (AES_256, NINES, "0123456789", "1001623463"),
        (AES_256, SEVENS, "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"),
    ],
)
def test_the_cipher_gives_what_nist_publishes_for_ff1(key: str, tweak: str, value: str, token: str) -> None:
    alphabet = string.digits + (string.ascii_lowercase if len(value) > 10 else "")
    assert ff1.encrypt(key, tweak, alphabet, value) == token
    assert ff1.decrypt(key, tweak, alphabet, token) == value


@given(st.text(string.digits, min_size=6, max_size=40))
def test_a_token_is_that_of_another_implementation(digits: str) -> None:
    assert TOKENS.of(digits) == FF1(ENCIPHERED, radix=10).encrypt(digits)


def form(text: str) -> str:
    """A text with one sign for each class."""
    return "".join(
        "9" if sign in string.digits else "a" if sign in string.ascii_lowercase
        else "A" if sign in string.ascii_uppercase else sign
        for sign in text
    )  # fmt: skip


@given(st.lists(st.from_regex(r"\A[A-Z]{2,4}[-/ .]?[0-9]{3,9}[a-z]{0,3}\Z"), min_size=2, max_size=9, unique=True))
def test_tokens_keep_the_form_are_different_and_are_turned_back_by_the_key_alone(values: list[str]) -> None:
    found = [TOKENS.of(value) for value in values]
    for value, token in zip(values, found, strict=True):
        signs = form(value)
        if 10 ** signs.count("9") * 26 ** (signs.count("a") + signs.count("A")) < FEWEST:
            assert token is None
            continue
        assert token is not None
        assert form(token) == signs
        assert TOKENS.opened(token) == value
        assert Tokens(b"other").opened(token) != value or token == value
    made = [token for token in found if token is not None]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    ("value", "takes"),
    [
        (123456, True), ("12345", False), ("abcde", True), ("abcd", False), ("A1234", False), ("A12345", True),
        ("", False), (True, False), ("Müller-123456", False), ("١٢٣٤٥٦", False), ("123-45-6789", True), (1.5, False),
    ],
)  # fmt: skip
def test_what_has_too_few_of_its_form_lands_as_nothing_and_is_counted(value: Any, takes: bool) -> None:
    rule = [{"path": "a", "method": "tokenize"}]
    step = protecting(rule)
    (row,) = step([{"a": value}])
    assert (row["a"] is not None) is takes
    assert step.treating.untreatable[0] == (not takes)
    assert arrow(rule, {"a": [value, value]}) == {"a": [row["a"]] * 2}


def test_a_key_may_be_tokens_where_each_value_has_one() -> None:
    rule = [{"path": "id", "method": "tokenize"}]
    assert landed(rule, {"id": "123456"}, keys=("id",)) == {"id": TOKENS.of("123456")}
    for page in ([{"id": "12345"}], pa.table({"id": ["123456", "12345"]})):
        with pytest.raises(ConfigurationError, match="'id' is part of the key of t") as caught:
            protecting(rule, keys=("id",))(page)
        assert "12345" not in str(caught.value)


def test_the_command_turns_tokens_back(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CAI_SECRET_MASK_KEY", KEY.decode())
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKENS.of('MRN-0042-77')}\n12\n"))
    assert opening.main() == 0
    assert capsys.readouterr().out == "MRN-0042-77\n\n"
