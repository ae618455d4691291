"""HTTP client of the sources: for the host that the connector names, and for no other.

A misconfigured or hostile server could send credentials anywhere by a link or a redirect; here they stay with that
host.
"""

import functools
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import count
from typing import Any

from requests import PreparedRequest, Request, Response
from requests.auth import AuthBase

from connectors.sources.http import Auth, FhirAuth, Headers
from pipelines.access.secrets import Secrets
from pipelines.errors import Fields, RunError, TransientError
from pipelines.sources import Context
from pipelines.sources.http.answers import Remark, value_of
from pipelines.sources.http.logins import login_of
from pipelines.sources.http.sending import Sender
from pipelines.sources.http.waiting import LONGEST_WAIT, Patience

LONGEST_WAIT_OF_A_TEST = 5.0
"""Seconds that a test of a connector waits because a server says so: somebody waits for it."""


class Client:
    """A client of one host, with a connector's headers and credentials. `fields` are what a user can correct."""

    def __init__(
        self, base_url: str, headers: Mapping[str, str], login: AuthBase | None, sender: Sender, remark: Remark
    ) -> None:
        self.base_url = base_url
        self.fields = sender.fields
        self.remark = remark
        self._headers = dict(headers)
        self._login = login
        self._sender = sender
        self._patience = Patience()

    def request(
        self,
        path: str,
        method: str = "GET",
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        data: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Request:
        """A request of a path below the base address, not sent yet. `headers` go before the connector's own."""
        url = f"{self.base_url.rstrip('/')}/{path.lstrip('/')}" if path else self.base_url
        if path.startswith(("http://", "https://")):
            url = path
        self._sender.own(url)
        return Request(
            method, url, {**self._headers, **(headers or {})}, data=data or {}, params=dict(params or {}), json=json
        )

    def elsewhere(self, url: str, headers: Mapping[str, str], method: str = "GET") -> Request:
        """A request of an address that the server has named, not sent yet: no sentence shows its path."""
        return Request(method, url, {**self._headers, **headers})

    def send(
        self,
        request: Request,
        *,
        hurried: bool = False,
        patience: Patience | None = None,
        stream: bool = False,
        leaving: Callable[[], None] | None = None,
    ) -> Response:
        """The answer to a request, whatever its status and its body.

        Args:
            request: what is asked.
            hurried: it is tried once, unless the server says when to send it again.
            patience: with this request; None: the client's own.
            stream: leave the answer's body to be read.
            leaving: called when all is there, a token too, and the request is about to leave.

        Raises:
            RunError: when there is none.
        """
        login = self._login if leaving is None else _Leaving(self._login, leaving)
        return self._sender.send(request, login, hurried=hurried, patience=patience, stream=stream)

    def send_openly(self, url: str, headers: Mapping[str, str]) -> Response:
        """The answer to a request for a body to be read that takes none of the connector's headers and no login.

        Raises:
            RunError: when there is none.
        """
        return self._sender.send(Request("GET", url, dict(headers)), stream=True)

    def refusal(self, response: Response, known: Iterable[str] = ()) -> RunError:
        """What an answer with the status of an error means. `known` are names that may stand in what a server says."""
        return self._sender.refusal(response, known=known)

    def answer(
        self,
        request: Request,
        *,
        later: bool = False,
        ends: Iterable[int] = (),
        known: Iterable[str] = (),
        hurried: bool = False,
    ) -> Response:
        """An answer whose `json()` is its value, None when it has no content. `later`: pages before it were read.

        `ends` are statuses that mean that there is no more. `known` are names that may stand in what a server says.
        `hurried`: an error that may pass is met by asking for less, and not by asking again.

        Raises:
            RunError: when the server refuses, or answers with something else.
        """
        for tries in count(1):
            response = self.send(request, hurried=hurried)
            if response.status_code in {204, 205, *ends}:
                value = None
            elif not response.ok:
                raise self._sender.refusal(response, later=later, known=known)
            else:
                try:
                    value = self._value(response)
                except TransientError:
                    # A body that is cut off is as passing as a connection that is.
                    if hurried or (wait := self._patience.wait(tries, None)) is None:
                        raise
                    time.sleep(wait)
                    continue
            # Read once: the paginator asks for it as well.
            response.json = functools.partial(lambda found: found, value)  # type: ignore[method-assign]
            return response
        raise AssertionError

    def _value(self, response: Response) -> Any:
        where = self._sender.shown(str(response.url))
        kind = response.headers.get("Content-Type", "")
        return value_of(response.content, kind, where, self.fields, self.remark)


class _Leaving(AuthBase):
    """A login that tells when a request has all that it needs."""

    def __init__(self, login: AuthBase | None, leaving: Callable[[], None]) -> None:
        self._login = login
        self._leaving = leaving

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Adds the login, and tells."""
        request = request if self._login is None else self._login(request)
        self._leaving()
        return request

    def forget(self) -> bool:
        """The server refuses the token. False when there is none that could be renewed."""
        return bool(getattr(self._login, "forget", bool)())


def source_client(
    base_url: str,
    headers: Headers,
    credentials: Auth | FhirAuth | None,
    context: Context,
    fields: Fields,
    *,
    also: Collection[str] = (),
) -> Client:
    """A client with a connector's headers and credentials, resolved.

    `fields` are those of its kind of source, `also` the server's other hosts.
    """
    secrets = context.secrets
    patience = Patience(LONGEST_WAIT_OF_A_TEST if context.rehearsal else LONGEST_WAIT)
    login = None
    if credentials is not None:
        login = login_of(
            credentials,
            secrets,
            lambda url, token_fields: Sender(url, token_fields, patience, context.denied),
            context.remarks.add,
            base_url,
        )
    plain = {name: secrets.plain_or_text(value) for name, value in headers.items()}
    return Client(base_url, plain, login, Sender(base_url, fields, patience, context.denied, also), context.remarks.add)


def resolved(value: Any, secrets: Secrets) -> Any:
    """Parameters or a body with the references in it resolved."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    from connectors.sources.secret_references import Credential  # noqa: PLC0415

    if isinstance(value, Mapping):
        if set(value) & {"secret", "block", "env"} and len(value) == 1:
            try:
                adapter: TypeAdapter[Credential] = TypeAdapter(Credential)
                return secrets.text(adapter.validate_python(value))
            except ValidationError:
                return value
        return {key: resolved(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item, secrets) for item in value]
    return value
