"""Logins of sources that speak HTTP: what is added to each request, and the token that OAuth2 gives.

Tokens live in this process alone: a run that dies asks for a new one.
"""

import threading
import time
from typing import Any

from dlt.sources.helpers.rest_client import auth
from requests import PreparedRequest, Request
from requests.auth import AuthBase

from connectors.sources.http import ApiKeyAuth, Auth, BasicAuth, BearerAuth, OAuth2Auth
from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError, Fields
from pipelines.sources.http.answers import Remark, value_of
from pipelines.sources.http.links import bare
from pipelines.sources.http.sending import Sender

FIELDS = Fields("source.auth.access_token_url", "source.auth.access_token_url", "source.auth", "source.auth")
"""What is to be corrected when no token is given."""

EARLY_SECONDS = 5.0
"""A token is renewed by so much before it ends: it has to arrive while it is good."""


class CookieAuth(AuthBase):
    """A key in a cookie, which dlt's own class does not do."""

    def __init__(self, name: str, value: str) -> None:
        self._cookie = f"{name}={value}"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Adds the cookie to a request."""
        request.headers["Cookie"] = self._cookie
        return request


class TokenAuth(AuthBase):
    """A token by OAuth2 client credentials, asked for when it is needed and again when it ends or is refused."""

    def __init__(self, login: OAuth2Auth, secrets: Secrets, sender: Sender, remark: Remark) -> None:
        self._url = login.access_token_url
        self._lasts = login.default_token_expiration
        self._form = {
            "client_id": secrets.plain_or_text(login.client_id),
            "client_secret": secrets.text(login.client_secret),
            "grant_type": "client_credentials",
            **({} if login.scope is None else {"scope": login.scope}),
        }
        self._secrets = secrets
        self._sender = sender
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
        response = self._sender.send(Request("POST", self._sender.own(self._url), data=self._form))
        if not response.ok:
            raise self._sender.refusal(response)
        where = bare(self._url)
        given = value_of(response.content, response.headers.get("Content-Type", ""), where, FIELDS, self._remark)
        token = given.get("access_token") if isinstance(given, dict) else None
        if not isinstance(token, str) or not token:
            raise ConfigurationError(f"The answer of {where} holds no access_token: check {FIELDS.login}.")
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
            self._remark(
                "The token's expires_in is no number of seconds: source.auth.default_token_expiration was taken "
                "instead."
            )
            return self._lasts
        return seconds


def login_of(credentials: Auth, secrets: Secrets, token_sender: Any, remark: Remark) -> Any:
    """What logs requests in. `token_sender(url, fields)` makes the sender that asks for tokens there."""
    match credentials:
        case BearerAuth(token=token):
            return auth.BearerTokenAuth(token=secrets.text(token))
        case BasicAuth(username=username, password=password):
            return auth.HttpBasicAuth(username=secrets.plain_or_text(username), password=secrets.text(password))
        case ApiKeyAuth(api_key=key, name=name, location="cookie"):
            return CookieAuth(name, secrets.text(key))
        case ApiKeyAuth(api_key=key, name=name, location=location):
            return auth.APIKeyAuth(name=name, api_key=secrets.text(key), location=location)
        case OAuth2Auth():
            return TokenAuth(credentials, secrets, token_sender(credentials.access_token_url, FIELDS), remark)
