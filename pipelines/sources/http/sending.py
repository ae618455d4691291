"""Requests as they are sent: to one host only, tried again while an error may pass, as patiently as the server asks.

If the process dies while it waits, nothing was written: the next run asks anew.
"""

import logging
import re
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from dlt.sources.helpers.requests.session import Session
from requests import ConnectTimeout, PreparedRequest, Request, RequestException, Response
from requests.auth import AuthBase
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from pipelines.access.denied_hosts import DeniedHosts, check_proxied, guard
from pipelines.error_causes.classification import classify
from pipelines.errors import ConfigurationError, Fields, RunError, Side, Step, TransientError, refused
from pipelines.sources.http.answers import complaint
from pipelines.sources.http.error_words import safe_words
from pipelines.sources.http.links import bare, followed
from pipelines.sources.http.waiting import Patience, in_words, is_passing, retry_after

TIMEOUT_SECONDS = 60
_WORTH_A_LINE = 5.0
"""Seconds of waiting that the run's log tells of."""

_TOO_MANY = re.compile(r"too many (requests|calls)|rate.?limit|throttl", re.IGNORECASE)
"""What some servers say, by the status of another error, of a limit that is spent for now."""

logger = logging.getLogger("prefect.pipelines")


class ExpiredError(TransientError):
    """A later page has expired at the server (410), or is not there (404): its search begins again."""


class PostRedirectedError(ConfigurationError):
    """What was posted would be lost by a redirect. `url` is where it should have been sent: a host of the connector."""

    def __init__(self, sentence: str, url: str) -> None:
        super().__init__(sentence)
        self.url = url


class UnreachedError(TransientError):
    """No connection came about: what was to be sent has not left."""


class Sender:
    """Sends requests to one server. `fields` are what a user can correct when it refuses, `also` its other hosts."""

    def __init__(
        self, home: str, fields: Fields, patience: Patience, denied: DeniedHosts, also: Collection[str] = ()
    ) -> None:
        self.home = home
        self.fields = fields
        self._also = also
        self._patience = patience
        self._session = Session(timeout=TIMEOUT_SECONDS, raise_for_status=False)
        self._denied = denied
        guard(self._session, denied)
        self._session.rebuild_auth = self._redirected  # type: ignore[method-assign,assignment]
        self._own: set[str] = set()

    def own(self, url: str) -> str:
        """Take note of an address that the connector itself names, which a sentence may show."""
        self._own.add(_as_sent(url))
        return url

    def shown(self, url: str) -> str:
        """An address in a sentence, without its query. Of one that the server named no path: it may hold a value."""
        address = _as_sent(url)
        if address in self._own:
            return address
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.netloc}/..."

    def send(
        self,
        request: Request,
        login: AuthBase | None = None,
        seen_from: str = "",
        *,
        hurried: bool = False,
        patience: Patience | None = None,
        stream: bool = False,
    ) -> Response:
        """The answer to a request, whatever its status. It is prepared anew for each try: a token may have ended.

        Args:
            request: what is asked.
            login: added to it.
            seen_from: where its address was named, which may be relative.
            hurried: an error that may pass is met by asking for less, so that it is not tried again here.
            patience: with this request; None: the sender's own.
            stream: leave the answer's body to be read.

        Raises:
            RunError: when there is none, or when the request would leave for another host.
        """
        request.url = followed(self.home, str(request.url), self.fields, seen_from, self._also)
        request.auth = login
        patience = patience or (self._patience.hurried() if hurried else self._patience)
        renewed = False
        for tries in count(1):
            try:
                response = self._once(request, stream)
            except RequestException as error:
                fault = classify(error, Step.EXTRACT)
                if isinstance(fault, TransientError) and _never_left(error):
                    fault = UnreachedError(str(fault))
                wait = patience.wait(tries, None) if isinstance(fault, TransientError) else None
                if wait is None:
                    raise fault from None
            else:
                if response.status_code == 401 and not renewed and getattr(login, "forget", bool)():
                    renewed = True
                    continue
                if not is_passing(response.status_code, response.headers):
                    return response
                wait = patience.wait(tries, retry_after(response.headers, datetime.now(UTC)))
                if wait is None:
                    return response
                if wait >= _WORTH_A_LINE:
                    logger.info("The source answered %s and asks to wait %s.", response.status_code, in_words(wait))
            time.sleep(wait)
        raise AssertionError

    def refusal(self, response: Response, *, later: bool = False, known: Iterable[str] = ()) -> RunError:
        """What an answer with the status of an error means. `later`: pages before it were read."""
        asked_for = retry_after(response.headers, datetime.now(UTC))
        where, status = self.shown(str(response.url)), response.status_code
        if status == 410 and later:
            return ExpiredError(f"The source answered 410 at {where}: what was asked for has expired meanwhile.")
        if status == 404 and later:
            return ExpiredError(
                f"The source answered 404 at {where}, to which it had sent us itself for the next page."
            )
        said = safe_words(complaint(response.content, response.headers.get("Content-Type", "")), known)
        again = "" if asked_for is None else in_words(asked_for)
        if is_passing(status, response.headers):
            status = status if status != 403 else 429
        elif status in {400, 403} and _TOO_MANY.search(said):
            status = 429
        return refused(status, where, Side.SOURCE, self.fields, said=said, again_in=again)

    def _once(self, request: Request, stream: bool) -> Response:
        prepared = self._session.prepare_request(request)
        settings = self._session.merge_environment_settings(str(prepared.url), {}, stream, None, None)
        check_proxied(str(prepared.url), settings["proxies"], self._denied)
        response: Response = self._session.send(prepared, **settings)  # type: ignore[no-untyped-call]
        return response

    def _redirected(self, request: PreparedRequest, response: Response) -> None:
        # For each redirect, before it is followed. requests itself takes away no more than the Authorization header.
        request.url = followed(self.home, str(request.url), self.fields, "", self._also)
        proxies = self._session.merge_environment_settings(request.url, {}, None, None, None)["proxies"]
        check_proxied(request.url, proxies, self._denied)
        asked: Any = response.request
        if asked.method == "POST" and request.method == "GET" and response.status_code in {301, 302}:
            raise PostRedirectedError(
                f"The source redirects {bare(str(response.url))} to {bare(request.url)}, and what was posted would be "
                f"lost on the way: set {self.fields.url} to that address.",
                request.url,
            )
        if (cookie := asked.headers.get("Cookie")) and "Cookie" not in request.headers:
            request.headers["Cookie"] = cookie


def _never_left(error: RequestException) -> bool:
    """Whether a request has failed before a connection was there to send it by."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(error, ConnectTimeout) or isinstance(reason, NewConnectionError | ConnectTimeoutError)


def _as_sent(url: str) -> str:
    """An address in the way that requests writes it, without its query."""
    prepared = PreparedRequest()
    try:
        prepared.prepare_url(url, None)
    except RequestException:
        return bare(url)
    return bare(str(prepared.url))
