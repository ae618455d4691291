"""SMART Backend Services (HL7, SMART 2.2): a token for an assertion that is signed with the client's private key.

The server names the address that gives tokens in `.well-known/smart-configuration`. An assertion is good for that
address alone, for four minutes, and once: each try of a request has one of its own, for a server that failed on the way
may have noted the one before. The private key never leaves this process.
"""

import json
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from requests import PreparedRequest, Request
from requests.auth import AuthBase

from connectors.sources.http import SmartBackendAuth
from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError, Fields
from pipelines.sources.http.answers import Remark, value_of
from pipelines.sources.http.sending import Sender
from pipelines.sources.http.tokens import TokenRequest

FIELDS = Fields("source.base_url", "source.base_url", "source.auth", "source.auth")
"""What is to be corrected when no token is given."""

GOOD_FOR_SECONDS = 240
"""An assertion's time; the standard allows five minutes, of which clocks may take a part."""

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_SMALLEST_RSA = 2048
_PRIVATE_PARTS = ("d", "p", "q", "dp", "dq", "qi")

SigningKey = RSAKey | ECKey


class SmartBackend:
    """The token requests of one connector. The server's configuration is read once a run."""

    LASTS: ClassVar[float] = 300.0
    """Seconds that a token is good for where the server does not say: the standard's longest."""

    def __init__(
        self,
        login: SmartBackendAuth,
        base_url: str,
        secrets: Secrets,
        token_sender: Callable[[str, Fields], Sender],
        remark: Remark,
    ) -> None:
        self._client_id = secrets.plain_or_text(login.client_id)
        self._key = signing_key(secrets.resolve(login.private_key), secrets)
        self._key_id = login.key_id or self._key.kid or self._key.thumbprint()
        self._scope = login.scope
        self._base_url = base_url
        self._token_sender = token_sender
        self._remark = remark
        self._request: TokenRequest | None = None

    def request(self) -> TokenRequest:
        """The form for a token.

        Raises:
            RunError: when the server does not tell where it gives tokens, or can't take our signature.
        """
        if self._request is None:
            url = self._token_address()
            form = {"grant_type": "client_credentials", "scope": self._scope}
            signature = Assertion(form, self._client_id, url, self._key, self._key_id)
            self._request = TokenRequest(self._token_sender(url, FIELDS), url, form, signature)
        return self._request

    def _token_address(self) -> str:
        sender = self._token_sender(self._base_url, FIELDS)
        where = sender.own(f"{self._base_url.rstrip('/')}/.well-known/smart-configuration")
        response = sender.send(Request("GET", where, {"Accept": "application/json"}))
        if not response.ok:
            raise sender.refusal(response)
        kind = response.headers.get("Content-Type", "")
        found = value_of(response.content, kind, where, FIELDS, self._remark)
        return token_address(found if isinstance(found, dict) else {}, where, algorithm_of(self._key))


class Assertion(AuthBase):
    """Signs the form of a token request anew each time that it is sent."""

    def __init__(self, form: Mapping[str, str], client_id: str, audience: str, key: SigningKey, key_id: str) -> None:
        self._form = form
        self._client_id = client_id
        self._audience = audience
        self._key = key
        self._key_id = key_id

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Adds an assertion that was never sent before."""
        algorithm, now = algorithm_of(self._key), int(time.time())
        header = {"alg": algorithm, "kid": self._key_id, "typ": "JWT"}
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": self._audience,
            "iat": now,
            "exp": now + GOOD_FOR_SECONDS,
            "jti": str(uuid.uuid4()),
        }
        # joserfc signs by neither of the two unless it is told to.
        signed = jwt.encode(header, claims, self._key, algorithms=[algorithm])
        request.prepare_body({**self._form, "client_assertion_type": ASSERTION_TYPE, "client_assertion": signed}, None)
        return request


def algorithm_of(key: SigningKey) -> str:
    """The algorithm of SMART that a key signs by."""
    return "RS384" if isinstance(key, RSAKey) else "ES384"


def signing_key(value: Any, secrets: Secrets) -> SigningKey:
    """A private key that SMART takes, from PEM or JWK: a text, or the JWK as a block holds it.

    Raises:
        ConfigurationError: when it is none. Nothing of it is shown.
    """
    if isinstance(value, Mapping) and isinstance(value.get("value"), str | Mapping):
        value = value["value"]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            # Variables of an environment often hold a PEM in one line.
            value = value.replace("\\n", "\n")
    if isinstance(value, Mapping):
        secrets.hide([part for name in _PRIVATE_PARTS if isinstance(part := value.get(name), str)])
    key = _imported(value)
    if key is None or not key.is_private:
        raise ConfigurationError(
            "source.auth.private_key holds no private key that can sign: it must be PEM or JWK, RSA or of the curve "
            "P-384, without a passphrase (python -m api.sources.key_pairs makes one)."
        )
    if isinstance(key, ECKey) and key.curve_name != "P-384":
        raise ConfigurationError("source.auth.private_key is of another curve than P-384, which ES384 needs.")
    if isinstance(key, RSAKey) and key.raw_value.key_size < _SMALLEST_RSA:
        raise ConfigurationError(f"source.auth.private_key is an RSA key of fewer than {_SMALLEST_RSA} bits.")
    return key


def _imported(value: Any) -> SigningKey | None:
    kinds: list[type[RSAKey] | type[ECKey]] = [RSAKey, ECKey]
    if isinstance(value, Mapping):
        kinds = [kind for kind in kinds if value.get("kty") == kind.key_type]
        value = {name: part for name, part in value.items() if isinstance(part, str | list)}
    elif not isinstance(value, str):
        return None
    for kind in kinds:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weak keys, which are refused in a sentence
                return kind.import_key(value)
        except (ValueError, TypeError, JoseError):
            continue
    return None


def token_address(configuration: Mapping[str, Any], where: str, algorithm: str) -> str:
    """The address that gives tokens, by a server's SMART configuration. Pure.

    Raises:
        ConfigurationError: when there is none, or it takes no signature of ours.
    """
    named = configuration.get("token_endpoint")
    if not isinstance(named, str) or not named.strip():
        raise ConfigurationError(
            f"The answer of {where} names no token_endpoint: the server does not offer SMART Backend Services; check "
            "source.base_url, or use another source.auth."
        )
    address = urljoin(where, named.strip())
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or (parts.scheme == "http" and where.startswith("https://")):
        raise ConfigurationError(
            f"The answer of {where} names a token_endpoint that is not reached by https, as source.base_url is: have "
            "the server's administrator correct it."
        )
    methods = configuration.get("token_endpoint_auth_methods_supported")
    if isinstance(methods, list) and methods and "private_key_jwt" not in methods:
        raise ConfigurationError(
            "The server does not take signed assertions (private_key_jwt) for its tokens: use another source.auth."
        )
    algorithms = configuration.get("token_endpoint_auth_signing_alg_values_supported")
    if isinstance(algorithms, list) and algorithms and algorithm not in algorithms:
        other = {"RS384": "ES384", "ES384": "RS384"}[algorithm]
        way_out = f"make a key for {other}" if other in algorithms else "ask its administrator which it takes"
        raise ConfigurationError(
            f"The server does not take signatures by {algorithm}, as source.auth.private_key makes them: {way_out}."
        )
    return address
