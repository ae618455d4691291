"""OAuth2 tokens: asked for when a request needs one, and again when it ends or is refused.

Tokens live in this process alone: a run that dies asks for a new one.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from requests import PreparedRequest, Request
from requests.auth import AuthBase

from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError
from pipelines.sources.http.answers import Remark, value_of
from pipelines.sources.http.links import bare
from pipelines.sources.http.sending import Sender

EARLY_SECONDS = 5.0
"""A token is renewed by so much before it ends: it has to arrive while it is good."""

KNOWN = ("invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "unauthorized_client", "scope")
"""The words of OAuth2 that a sentence may repeat."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The form that is posted to the address that gives tokens."""

    sender: Sender
    url: str
    form: Mapping[str, str] = field(repr=False)
    signature: AuthBase | None = None
    """Adds to the form what must be new in each try."""


class TokenAuth(AuthBase):
    """A login by a token. `lasts` are the seconds that one is good for, where the server does not say."""

    def __init__(
        self, make_request: Callable[[], TokenRequest], lasts: float, secrets: Secrets, remark: Remark
    ) -> None:
        self._make_request = make_request
        self._lasts = lasts
        self._secrets = secrets
        self._remark = remark
        self._lock = threading.Lock()
        self._token: str | None = None
        self._ends = 0.0

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Adds the token to a request."""
        with self._lock:
            if self._token is None or time.monotonic() >= self._ends:
                self._ask()
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def forget(self) -> bool:
        """The server refuses the token, which may have ended early. False when there is none that could be renewed."""
        with self._lock:
            had, self._token = self._token is not None, None
        return had

    def _ask(self) -> None:
        asked = self._make_request()
        sender = asked.sender
        request = Request("POST", sender.own(asked.url), {"Accept": "application/json"}, data=dict(asked.form))
        response = sender.send(request, asked.signature)
        if not response.ok:
            raise sender.refusal(response, known=KNOWN)
        where = bare(asked.url)
        kind = response.headers.get("Content-Type", "")
        given = value_of(response.content, kind, where, sender.fields, self._remark)
        token = given.get("access_token") if isinstance(given, dict) else None
        if not isinstance(token, str) or not token:
            raise ConfigurationError(f"The answer of {where} holds no access_token: check {sender.fields.login}.")
        self._secrets.hide(token)
        self._token = token
        self._ends = time.monotonic() + max(0.0, self._seconds(given.get("expires_in")) - EARLY_SECONDS)

    def _seconds(self, said: Any) -> float:
        """For how long the token is good, by what the server says of it."""
        if said is None:
            return self._lasts
        try:
            seconds = float(said)
        except (TypeError, ValueError):
            seconds = float("nan")
        if not 0 <= seconds < float("inf"):
            self._remark(f"The token's expires_in is no number of seconds: {self._lasts:g} seconds were taken instead.")
            return self._lasts
        return seconds
