"""SMART Backend Services: tokens for signed assertions, from a server that checks them as HL7 says."""

import json
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from api.sources.key_pairs import Algorithm, make_pair
from pipelines.errors import ConfigurationError
from pipelines.sources.http import waiting
from tests.support.data_plane.platform import Platform
from tests.support.servers.fhir import FhirServer, patient
from tests.support.servers.http_server import WebServer
from tests.support.servers.smart import SmartServer

PRIVATE, PUBLIC = make_pair("k1", Algorithm.ES384)


def source(url: str, **auth: Any) -> dict[str, Any]:
    login = {
        "type": "smart_backend",
        "client_id": "clinical-ai",
        "private_key": {"env": "CAI_SECRET_SMART"},
        "key_id": "k1",
        "scope": "system/*.rs",
        **auth,
    }
    return {
        "type": "fhir", "base_url": url + "/fhir", "resource_types": ["Patient"], "page_size": 10, "auth": login,
    }  # fmt: skip


def patients() -> FhirServer:
    return FhirServer(*(patient(number, f"2024-01-01T00:00:{number:02}Z") for number in range(45)))


@pytest.mark.parametrize("algorithm", [Algorithm.ES384, Algorithm.RS384])
@pytest.mark.parametrize("shape", ["pem", "pem in one line", "jwk"])
def test_a_signed_assertion_brings_a_token(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, algorithm: Algorithm, shape: str
) -> None:
    private, public = make_pair("k1", algorithm)
    kind = ECKey if algorithm == Algorithm.ES384 else RSAKey
    monkeypatch.setenv("CAI_SECRET_SMART", {
        "pem": private.decode(),
        "pem in one line": private.decode().replace("\n", "\\n"),
        "jwk": json.dumps(kind.import_key(private).as_dict(private=True)),
    }[shape])  # fmt: skip
    server = SmartServer([public], patients())
    with WebServer(server) as web:
        connector = platform.add(source(web.url))
        assert platform.run(connector).rows == {"patient": 45}
    assert (len(server.tokens), server.refusals) == (1, [])
    assert platform.duck(f"SELECT count(DISTINCT id) FROM connector_{connector}.patient") == [(45,)]


@pytest.mark.parametrize(
    ("how", "tokens"), [({"uses": 2}, 3), ({"lasts": 1}, 5)], ids=["refused in mid-run", "ended in mid-run"]
)
def test_a_token_is_renewed_in_mid_run(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], tokens: int
) -> None:
    monkeypatch.setenv("CAI_SECRET_SMART", PRIVATE.decode())
    server = SmartServer([PUBLIC], patients(), **how)
    with WebServer(server) as web:
        assert platform.run(platform.add(source(web.url))).rows == {"patient": 45}
    assert len(server.tokens) >= tokens
    assert server.refusals == []


def test_each_try_has_an_assertion_of_its_own(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("CAI_SECRET_SMART", PRIVATE.decode())
    server = SmartServer([PUBLIC], patients(), failures=2)
    with WebServer(server) as web:
        assert platform.run(platform.add(source(web.url))).rows == {"patient": 45}
    assert (len(server.seen), server.refusals) == (3, [])


def test_a_rotation_is_another_key_beside_the_old_one(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = make_pair("k2", Algorithm.RS384)
    server = SmartServer([PUBLIC, public], patients())
    with WebServer(server) as web:
        for key, key_id in ((PRIVATE, "k1"), (private, "k2")):
            monkeypatch.setenv("CAI_SECRET_SMART", key.decode())
            platform.run(platform.add(source(web.url, key_id=key_id)))
        server.keys = [public]
        monkeypatch.setenv("CAI_SECRET_SMART", PRIVATE.decode())
        with pytest.raises(ConfigurationError, match=r"answered 400 .* check source\.auth"):
            platform.run(platform.add(source(web.url)))


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({"token_endpoint": None}, "does not offer SMART Backend Services"),
        ({"token_endpoint_auth_methods_supported": ["client_secret_basic"]}, "does not take signed assertions"),
        (
            {"token_endpoint_auth_signing_alg_values_supported": [Algorithm.RS384]},
            "signatures by ES384, as source.auth.private_key makes them: make a key for RS384",
        ),
    ],
)
def test_a_server_that_takes_no_such_login_is_told(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, configuration: dict[str, Any], words: str
) -> None:
    monkeypatch.setenv("CAI_SECRET_SMART", PRIVATE.decode())
    server = SmartServer([PUBLIC], patients(), configuration=configuration)
    with WebServer(server) as web, pytest.raises(ConfigurationError, match=words):
        platform.run(platform.add(source(web.url)))
    assert not server.tokens


def test_nothing_of_a_key_is_logged_or_told(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CAI_SECRET_SMART", PRIVATE.decode())
    server = WebServer(SmartServer([], patients()))
    with caplog.at_level("DEBUG"), server as web, pytest.raises(ConfigurationError) as caught:
        platform.run(platform.add(source(web.url)))
    told = caplog.text + str(caught.value)
    assert not any(line in told for line in PRIVATE.decode().splitlines()[1:-1])
