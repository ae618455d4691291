"""Looks at an export: whether the server is still at it, is done, has failed, or knows nothing of it any more.

One request a look, and no wait: who looks too often is refused by servers. A look writes nothing: if the process dies
here, the next run looks again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from requests import Response

from pipelines.errors import PASSING, ConfigurationError, RunError, TransientError
from pipelines.sources.fhir.bulk.manifest import Manifest, manifest_of
from pipelines.sources.fhir.outcomes import PASSING as PASSING_CODES
from pipelines.sources.fhir.outcomes import code_of, is_bad, is_outcome, issues_of, told
from pipelines.sources.http.answers import value_of
from pipelines.sources.http.client import Client
from pipelines.sources.http.error_words import safe_words
from pipelines.sources.http.waiting import ONCE, retry_after

SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(days=1)
"""Between two looks at least and at most, whatever the server says."""

LONGEST_UNASKED = timedelta(minutes=10)
"""Between two looks where the server says nothing: half of the time that it has taken so far, and no longer."""

BUSY = timedelta(minutes=5)
"""Where the server can't be reached, or refuses to be asked so often, and does not say for how long."""


@dataclass(frozen=True, slots=True)
class Later:
    """It is still at it; `progress` is what it says of that, without a word that may be a patient's."""

    after: timedelta
    progress: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """The server does not know it any more."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The server has given it up."""

    error: RunError


Found = Manifest | Later | Gone | Failed


def look(client: Client, address: str, begun: datetime) -> Found:
    """Ask a server once how far an export is that it has begun at a moment.

    Raises:
        RunError: the server does not let us ask.
    """
    found = _asked(client, address, begun)
    while isinstance(found, Manifest) and found.next is not None:
        more = _asked(client, found.next, begun)
        if not isinstance(more, Manifest):
            return more
        if more.next in {found.next, address}:
            raise ConfigurationError("The pages of the manifest of the server's export go in a circle.")
        found = found.joined(more)
    return found


def _asked(client: Client, address: str, begun: datetime) -> Found:
    now = datetime.now(UTC)
    try:
        response = client.send(client.elsewhere(address, {"Accept": "application/json"}), patience=ONCE)
    except TransientError:
        return Later(BUSY, "it could not be reached")
    body = _body(client, response) if response.status_code not in {202, 204} else None
    if response.status_code in {401, 403}:
        raise client.refusal(response)
    if response.ok and response.status_code != 202 and not is_outcome(body):
        return manifest_of(body, str(response.url))
    return judged(response.status_code, response.headers, body, now, begun)


def _body(client: Client, response: Response) -> Any:
    kind = response.headers.get("Content-Type", "")
    try:
        return value_of(response.content, kind, "the export", client.fields, client.remark)
    except RunError:
        if response.ok:
            raise
        return None


def judged(status: int, headers: Mapping[str, str], body: Any, now: datetime, begun: datetime) -> Found:
    """What an answer means that has no manifest. Pure."""
    asked_for = retry_after(headers, now)
    if status == 202:
        words = safe_words(headers.get("X-Progress", ""))
        return Later(_within(asked_for, min((now - begun) / 2, LONGEST_UNASKED)), words)
    if status in {404, 410}:
        return Gone()
    issues = issues_of(body) if is_outcome(body) else []
    issue = next((each for each in issues if is_bad(each, "error")), None)
    code = "unknown" if issue is None else code_of(issue)
    if status == 429 or (issue is None and status in PASSING - {500}) or (code in PASSING_CODES and status >= 400):
        return Later(_within(asked_for, BUSY), f"it answered {status}")
    words = "" if issue is None else told(issue, ())
    return Failed(
        ConfigurationError(
            f"The server has given up its export (status {status}, {code}): check source.resource_types, source.group "
            f"and source.type_filters. The next run has it begin another.{words}"
        )
    )


def _within(asked_for: float | None, unasked: timedelta) -> timedelta:
    wanted = unasked if asked_for is None else timedelta(seconds=asked_for)
    return max(SHORTEST, min(wanted, LONGEST))
