"""Requests of a REDCap project: forms posted with its token, answered as JSON lists.

The token is part of every request's body and of no message: errors name the status, and of what the server says only
harmless words. An address that loses what is posted, because the server redirects it, is told with the one to set;
where that is the same place by https, or with a slash behind, the request is sent there at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from requests import Response

from pipelines.errors import ConfigurationError, Fields, TransientError
from pipelines.sources.cursors.asked import place_of
from pipelines.sources.http.answers import complaint, complaint_in
from pipelines.sources.http.client import Client
from pipelines.sources.http.error_words import safe_words
from pipelines.sources.http.sending import PostRedirectedError
from pipelines.sources.paging.said_errors import failure_in, is_passing_error

FIELDS = Fields(
    url="source.api_url",
    place="source.api_url",
    login="source.token",
    request="source.content, source.forms and source.batch_size",
)

_SHOWN = ("forms", "fields", "events", "report_id")
"""Parameters whose values are names of the connector's own, which may stand in what the server says."""


class RequestRefusedError(ConfigurationError):
    """REDCap did not accept what was asked for (400): of a list of records a part of it may be."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The rows of one answer, and how many bytes it had."""

    rows: list[dict[str, Any]]
    size: int


class Project:
    """One project, as its API answers."""

    def __init__(self, client: Client, token: str) -> None:
        self._client = client
        self._token = token
        self._path = ""

    @property
    def address(self) -> str:
        """The address of the API, as the connector has it."""
        return self._client.base_url

    def ask(self, content: str, **form: str) -> list[dict[str, Any]]:
        """The rows of one answer.

        Raises:
            RunError: when REDCap answers with an error.
        """
        return self.answer(content, form).rows

    def answer(self, content: str, form: Mapping[str, str], *, hurried: bool = False) -> Answered:
        """What REDCap answers to one request. `hurried`: an error that may pass is met by asking for less.

        Raises:
            RequestRefusedError: when it does not accept what is asked for.
            RunError: when it answers with another error.
        """
        body = {"token": self._token, "content": content, "format": "json", "returnFormat": "json", **form}
        if content == "record":
            body["type"] = "flat"
        known = (content, *body, *(value for key, value in form.items() if key.startswith(_SHOWN)))
        response = self._posted(body, known, hurried=hurried)
        if response.status_code in {400, 403, 413}:
            raise _refused(response, content, known)
        return Answered(_rows(response.json(), content, known), len(response.content))

    def _posted(self, body: Mapping[str, str], known: Iterable[str], *, hurried: bool) -> Response:
        def post() -> Response:
            request = self._client.request(self._path, "POST", data=body)
            return self._client.answer(request, ends=(400, 403, 413), known=known, hurried=hurried)

        try:
            return post()
        except PostRedirectedError as redirected:
            if self._path or place_of(redirected.url) != place_of(self.address):
                raise
            self._path = redirected.url
            self._client.remark(
                f"{FIELDS.url} is not where the API is: the server sends each request on to "
                f"{redirected.url.partition('?')[0]}, where it was sent once more. Set {FIELDS.url} to that address."
            )
            return post()


def _rows(answer: Any, content: str, known: Iterable[str]) -> list[dict[str, Any]]:
    if isinstance(answer, list) and all(isinstance(row, dict) for row in answer):
        return answer
    if error := failure_in(answer, has_rows=False, is_row=False):
        words = safe_words(complaint_in(error.about), known)
        told = f" It says: {words}." if words else ""
        if is_passing_error(complaint_in(error.about)):
            raise TransientError(f"REDCap can't answer {content} now, and says so at '{error.at}'.{told}")
        raise ConfigurationError(
            f"REDCap answered {content} with an error, at '{error.at}': check source.content and source.forms.{told}"
        )
    if content == "project" and isinstance(answer, dict):
        return [answer]
    raise ConfigurationError(f"REDCap did not answer {content} with a list of rows: check source.api_url.")


def _refused(response: Response, content: str, known: Iterable[str]) -> ConfigurationError:
    reason = {403: "did not accept the token", 413: "takes no request of this size"}
    words = safe_words(complaint(response.content, response.headers.get("Content-Type", "")), known)
    sentence = (
        f"REDCap {reason.get(response.status_code, 'refused the request')} ({content}): check source.token and its "
        "rights to export, source.content and source.forms." + (f" It says: {words}." if words else "")
    )
    return ConfigurationError(sentence) if response.status_code == 403 else RequestRefusedError(sentence)
