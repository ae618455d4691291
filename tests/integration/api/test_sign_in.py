"""Sign-in by others: bearer JWTs of a provider, and a proxy that authenticates. Real keys, over real HTTP."""

import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from pydantic import SecretStr, ValidationError

from api.app import create_app
from api.sign_in import bearer
from settings import Settings
from tests.support.api_rig import BODY, CONNECTORS, TOKEN, no_prefect, reached, unreachable
from tests.support.servers.http_server import Asked, WebServer

CLIENT = "connectors"
ROLES = {"oncology": {"role": "editor", "team": "oncology"}, "platform": {"role": "admin"}}


class Issuer:
    """A provider: its keys, and tokens that it signs."""

    def __init__(self) -> None:
        self.keys = [RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})]
        self.reads = 0
        self.calls_itself: str | None = None
        self.web = WebServer(self._answer)

    def _answer(self, asked: Asked) -> Any:
        if asked.path.startswith("/.well-known"):
            return {"issuer": self.calls_itself or self.web.url, "jwks_uri": f"{self.web.url}/jwks"}
        self.reads += 1
        return KeySet(list(self.keys)).as_dict(private=False)

    def token(self, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
        """An access token, with these claims changed; None leaves one out."""
        known = {"iss": self.web.url, "aud": CLIENT, "sub": "u1", "email": "ann@example.org", "groups": ["oncology"]}
        told = {**known, "exp": int(time.time()) + 300, **claims}
        signer = key or self.keys[-1]
        full = {"alg": "RS256", "typ": "at+jwt", "kid": signer.kid, **(header or {})}
        return jwt.encode(
            {key: value for key, value in full.items() if value is not None},
            {key: value for key, value in told.items() if value is not None},
            signer,
            algorithms=["RS256", "HS256", "PS256"],
        )


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """A provider on 127.0.0.1."""
    made = Issuer()
    with made.web:
        yield made


async def serving(settings: Settings, **transport: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API with these settings."""
    app = create_app(settings, no_prefect, reached, unreachable)
    async with app.router.lifespan_context(app):
        asgi = httpx.ASGITransport(app=app, raise_app_exceptions=False, **transport)
        async with httpx.AsyncClient(transport=asgi, base_url="http://127.0.0.1:8080") as http:
            yield http


def configured(database_url: str, **more: Any) -> Settings:
    """Settings of an installation with roles for two groups."""
    return Settings(database_url=SecretStr(database_url), oidc_roles=ROLES, **more)


@pytest.fixture
async def api(database_url: str, issuer: Issuer) -> AsyncIterator[httpx.AsyncClient]:
    """The API, which trusts the provider."""
    settings = configured(database_url, oidc_issuer=issuer.web.url, oidc_client_id=CLIENT, api_token=[SecretStr(TOKEN)])
    async for http in serving(settings):
        yield http


async def listed(api: httpx.AsyncClient, token: str) -> int:
    """The status of a list that is asked for with this token."""
    return (await api.get(CONNECTORS, headers={"Authorization": f"Bearer {token}"})).status_code


async def test_a_token_of_the_provider_has_the_roles_of_its_groups(api: httpx.AsyncClient, issuer: Issuer) -> None:
    headers = {"Authorization": f"Bearer {issuer.token()}"}
    made = await api.post(CONNECTORS, headers=headers, json=BODY)
    assert (made.status_code, made.json()["team"]) == (201, "oncology")
    assert (await api.get("/api/v1/tokens", headers=headers)).status_code == 403
    for groups in (["strangers"], [], None, "oncology", [{"a": 1}]):
        assert await listed(api, issuer.token(groups=groups)) == 403, groups
    assert await listed(api, issuer.token(groups=["platform"])) == 200
    assert await listed(api, TOKEN) == 200
    assert (await api.get(CONNECTORS)).status_code == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://another.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"nbf": 9_999_999_999},
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(
    api: httpx.AsyncClient, issuer: Issuer, claims: dict[str, Any]
) -> None:
    assert await listed(api, issuer.token(**claims)) == 401


async def test_a_token_that_is_signed_otherwise_is_refused(api: httpx.AsyncClient, issuer: Issuer) -> None:
    strangers = RSAKey.generate_key(2048, {"kid": "first"})
    good = issuer.token()
    # The public key as a shared secret, which a careless check would take.
    head = urlsafe_b64encode(b'{"alg":"HS256","typ":"at+jwt","kid":"first"}').rstrip(b"=")
    signed = head + b"." + good.split(".")[1].encode()
    mac = hmac.digest(issuer.keys[0].as_pem(private=False), signed, "sha256")
    confused = (signed + b"." + urlsafe_b64encode(mac).rstrip(b"=")).decode()
    for token in (
        issuer.token(key=strangers),
        confused,
        issuer.token({"typ": "JWT"}),  # an ID token
        f"eyJhbGciOiJub25lIn0.{good.split('.')[1]}.",
        good[:-4] + "AAAA",
        "a.b.c",
    ):
        assert await listed(api, token) == 401, token
    assert await listed(api, good) == 200


async def test_a_key_that_is_rotated_in_is_known_and_strangers_keys_cost_no_more(
    api: httpx.AsyncClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await listed(api, issuer.token()) == 200
    strangers = RSAKey.generate_key(2048, {"kid": "strangers"})
    for _ in range(5):
        assert await listed(api, issuer.token(key=strangers)) == 401
    assert issuer.reads == 1
    issuer.keys.append(RSAKey.generate_key(2048, {"kid": "second"}))
    monkeypatch.setattr(bearer, "ASKED_AGAIN_SECONDS", 0.0)
    assert await listed(api, issuer.token()) == 200
    assert issuer.reads == 2
    withdrawn = issuer.token(key=issuer.keys.pop(0))
    monkeypatch.setattr(bearer, "KEYS_LAST_SECONDS", 0.0)
    assert await listed(api, withdrawn) == 401


async def test_a_provider_that_calls_itself_otherwise_or_is_down_lets_nobody_in(
    api: httpx.AsyncClient, issuer: Issuer
) -> None:
    issuer.calls_itself = "https://another.example"
    answer = await api.get(CONNECTORS, headers={"Authorization": f"Bearer {issuer.token()}"})
    assert answer.status_code == 503
    assert "sign-in service" in answer.json()["detail"]
    assert await listed(api, TOKEN) == 200


@pytest.mark.parametrize(
    ("peer", "headers", "method", "status"),
    [
        ("10.1.2.3", {"X-User": "ann", "X-Groups": "oncology, other"}, "GET", 200),
        ("10.1.2.3", {"X-User": "ann"}, "GET", 403),
        ("10.1.2.3", {}, "GET", 401),
        ("10.9.9.9", {"X-User": "ann", "X-Groups": "platform"}, "GET", 401),
        ("10.9.9.9", {"X-User": "ann", "X-Groups": "platform", "X-Forwarded-For": "10.1.2.3"}, "GET", 401),
        ("10.1.2.3", {"X-User": "ann", "X-Groups": "oncology", "Sec-Fetch-Site": "cross-site"}, "POST", 401),
        ("10.1.2.3", {"X-User": "ann", "X-Groups": "oncology", "Sec-Fetch-Site": "same-origin"}, "POST", 201),
    ],
)
async def test_a_proxy_is_believed_from_its_own_addresses_alone(
    database_url: str, peer: str, headers: dict[str, str], method: str, status: int
) -> None:
    settings = configured(
        database_url, trusted_user_header="X-User", trusted_groups_header="X-Groups", trusted_proxies=["10.1.0.0/16"]
    )
    async for api in serving(settings, client=(peer, 1)):
        answer = await api.request(method, CONNECTORS, headers=headers, json=BODY if method == "POST" else None)
        assert answer.status_code == status


@pytest.mark.parametrize(
    "wrong",
    [
        {"oidc_issuer": "https://idp.example"},
        {"trusted_user_header": "X-User"},
        {"trusted_proxies": "10.0.0.300"},
        {"oidc_roles": {"platform": {"role": "admin", "teams": "oncology"}}},
        {"oidc_roles": {"platform": {"role": "owner"}}},
    ],
)
def test_settings_that_would_let_in_too_many_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)
