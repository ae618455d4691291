"""Keys and addresses of SMART Backend Services."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OctKey, RSAKey

from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError
from pipelines.sources.http.smart_backend import signing_key, token_address

WHERE = "https://fhir.example.org/r4/.well-known/smart-configuration"


def weak_key() -> str:
    """An RSA key of 1024 bits as PEM."""
    key = rsa.generate_private_key(65537, 1024)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no key", "holds no private key"),
        ("", "holds no private key"),
        ("[1]", "holds no private key"),
        ({"token": "x"}, "holds no private key"),
        (OctKey.generate_key(256).as_dict(private=True), "holds no private key"),
        (ECKey.generate_key("P-384").as_pem(private=False).decode(), "holds no private key"),
        (ECKey.generate_key("P-384").as_dict(private=False), "holds no private key"),
        (ECKey.generate_key("P-256").as_pem(private=True).decode(), "another curve than P-384"),
        (weak_key(), "fewer than 2048 bits"),
    ],
)
def test_what_is_no_key_of_smart_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        signing_key(value, Secrets())


def test_the_private_parts_of_a_jwk_are_hidden() -> None:
    key = RSAKey.generate_key(2048).as_dict(private=True)
    for value in (key, json.dumps(key), {"value": key}, {"value": json.dumps(key)}):
        secrets = Secrets()
        assert signing_key(value, secrets).is_private
        for part in ("d", "p", "q"):
            assert secrets.redact(f"a {key[part]} b") == "a *** b"


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://login.example.org/token", "https://login.example.org/token"),
        ("/token", "https://fhir.example.org/token"),
        ("http://fhir.example.org/token", "not reached by https"),
        ("ftp://fhir.example.org/token", "not reached by https"),
        (7, "names no token_endpoint"),
    ],
)
def test_the_address_of_tokens_is_the_servers(endpoint: Any, expected: str) -> None:
    try:
        found = token_address({"token_endpoint": endpoint}, WHERE, "ES384")
    except ConfigurationError as error:
        found = str(error)
    assert expected in found
