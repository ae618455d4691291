"""The authorization server of SMART Backend Services, as HL7's SMART 2.2 asks for it: it checks every claim."""

import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tests.support.servers.http_server import Answer, Asked

LONGEST_SECONDS = 300
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass
class SmartServer:
    """Gives tokens at /auth/token to one client, whose public keys it has, and asks for them in front of a FHIR server.

    `uses` is after how many requests a token is refused, as if it had ended early.
    """

    keys: list[dict[str, Any]]
    fhir: Any
    client_id: str = "clinical-ai"
    lasts: int = 300
    uses: int = 1_000_000
    failures: int = 0
    """How many token requests fail with 503 after their jti was noted."""
    configuration: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Any:
        home = f"http://{asked.headers['host']}"
        if asked.path.endswith("/.well-known/smart-configuration"):
            return {"token_endpoint": home + "/auth/token", **self.configuration}
        if asked.path == "/auth/token":
            return self._token(asked, home + "/auth/token")
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, 0) <= time.monotonic() or self.left[token] <= 0:
            return Answer({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "login"}]}, 401)
        self.left[token] -= 1
        return self.fhir(asked)

    def _token(self, asked: Asked, audience: str) -> Any:
        form = {key: values[0] for key, values in parse_qs(asked.body.decode()).items()}
        if (why := self._why_not(form, audience)) is not None:
            self.refusals.append(why)
            return Answer({"error": "invalid_client", "error_description": why}, 400)
        if self.failures:
            self.failures -= 1
            return Answer({}, 503)
        token = f"token-number-{len(self.tokens)}-of-the-server"
        self.tokens[token] = time.monotonic() + self.lasts
        self.left[token] = self.uses
        return {"access_token": token, "token_type": "bearer", "expires_in": self.lasts, "scope": form["scope"]}

    def _why_not(self, form: dict[str, str], audience: str) -> str | None:
        """What is wrong with a token request; None when nothing is. Its jti is noted."""
        try:
            token = jwt.decode(
                form.get("client_assertion", ""),
                KeySet.import_key_set({"keys": self.keys}),
                algorithms=["RS384", "ES384"],
            )
        except (JoseError, ValueError) as error:
            return type(error).__name__
        claims, now = token.claims, time.time()
        faults = {
            "grant_type and scope": form.get("grant_type") != "client_credentials" or not form.get("scope"),
            "client_assertion_type": form.get("client_assertion_type") != ASSERTION_TYPE,
            "a secret is sent": bool({"client_id", "client_secret"} & form.keys()),
            "header": not token.header.get("kid") or token.header.get("typ") != "JWT",
            "iss, sub or aud": (claims["iss"], claims["sub"], claims["aud"])
            != (self.client_id, self.client_id, audience),
            "exp": not now < claims["exp"] <= now + LONGEST_SECONDS,
            "jti was there": claims["jti"] in self.seen,
        }
        self.seen.add(claims["jti"])
        return next((fault for fault, found in faults.items() if found), None)
