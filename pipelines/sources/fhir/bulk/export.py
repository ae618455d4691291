"""One export of a connector, from the question for it to its manifest: begun once, looked at by run after run.

What is known of it stands in the platform's database before anything more is done with it. If the process dies before
the server is asked, no export was begun; once the address is noted, every later run goes on with it. In between, while
the server's answer is on its way, an export may have been begun that nobody knows: that costs the server work, and no
row.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urljoin

from requests import Response

from database.runs import Export
from pipelines.errors import ConfigurationError, RunError, TransientError
from pipelines.sources.exports import Exports, NotReadyError
from pipelines.sources.fhir.bulk.asking import Wanted, covers
from pipelines.sources.fhir.bulk.manifest import Manifest
from pipelines.sources.fhir.bulk.status import BUSY, Failed, Found, Gone, Later, look
from pipelines.sources.http.client import Client
from pipelines.sources.http.sending import UnreachedError
from pipelines.sources.http.waiting import ONCE, retry_after

SECONDS_IN_A_RUN = 30.0
"""Seconds that a run waits for an export itself: small ones are made by then."""

GIVEN_UP_AFTER = timedelta(days=30)
"""Servers were seen that take weeks."""

_LOST = (
    "The server was asked for an export and its answer was lost, so another one was begun: the first, if there is one, "
    "ends by itself."
)


@dataclass
class Exporting:
    """The export of one run. `posts`: the server takes no GET."""

    client: Client
    exports: Exports
    posts: Callable[[], bool]

    def manifest(self, wanted: Wanted) -> Manifest:
        """The manifest of an export with what is wanted: of the one under way, or of one that is begun.

        Raises:
            NotReadyError: it is not complete.
            RunError: the server refuses, or has given it up.
        """
        export = self.exports.current()
        if export is not None and not covers(export.asked, wanted):
            if export.address is not None:
                self.client.remark(
                    "Something else is wanted than of the export under way: it ends, and another begins."
                )
                self.end(export)
            self.exports.forget(export.id)
            export = None
        if export is not None:
            if (found := self.looked(export)) is not None:
                return found
            if export.sent_at is not None:
                gone = "The export had expired at the server before its rows were read: another one was begun."
                self.client.remark(gone if export.address else _LOST)
        return self._waited_for(self._begun(wanted))

    def looked(self, export: Export) -> Manifest | None:
        """The manifest of the export under way; None: there is nothing to go on with, and another is to begin.

        Raises: what `manifest` does.
        """
        if export.address is None:
            if export.look_at is not None and datetime.now(UTC) < export.look_at:
                raise self._not_ready(export, export.look_at, "the server begins no other now")
            return None
        found = self.exports.found
        if not isinstance(found, Manifest | Gone):
            found = self._until_ready(export)
        self.exports.found = found
        return None if isinstance(found, Gone) else found

    def renewed(self, export: Export) -> Manifest | None:
        """The manifest with the addresses that its files have now; None: the server does not give it any more."""
        found = look(self.client, export.address or "", export.started_at)
        return found if isinstance(found, Manifest) else None

    def end(self, export: Export) -> bool:
        """Have the server delete an export; whether it has. What it does not expires by itself, which is remarked."""
        try:
            response = self.client.send(self.client.elsewhere(export.address or "", {}, "DELETE"), patience=ONCE)
        except RunError:
            response = None
        is_over = response is not None and (response.ok or response.status_code in {404, 410})
        if not is_over:
            self.client.remark("The server did not delete its export, which goes when it expires.")
        return is_over

    # --- begun ----------------------------------------------------------------------------------------------------

    def _begun(self, wanted: Wanted) -> Export:
        response = self._kicked_off(wanted, "POST" if self.posts() else "GET")
        if response.status_code == 405 and response.request.method == "GET":
            response = self._kicked_off(wanted, "POST")
        export = self._noted()
        address = response.headers.get("Content-Location", "").strip()
        if response.status_code == 202 and address:
            self.exports.located(export.id, urljoin(str(response.url), address))
            return self._noted()
        if response.status_code == 429:
            seconds = retry_after(response.headers, datetime.now(UTC))
            at = datetime.now(UTC) + (BUSY if seconds is None else min(timedelta(seconds=seconds), timedelta(days=1)))
            self.exports.refused(export.id, at)
            raise self._not_ready(export, at, "the server begins no other now")
        if response.status_code in {502, 504}:
            raise self.client.refusal(response)  # of a gateway, behind which the server may have begun it
        self.exports.forget(export.id)
        if not response.ok:
            raise self.client.refusal(response, wanted.types)
        raise ConfigurationError(
            "The server begins no export: it names no address at which to ask how far it is. Set mode to search, or "
            "another source.group or source.export_level."
        )

    def _kicked_off(self, wanted: Wanted, method: str) -> Response:
        headers = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
        if method == "POST":
            headers["Content-Type"] = "application/fhir+json"
            request = self.client.request(wanted.path, "POST", json=wanted.parameters(), headers=headers)
        else:
            request = self.client.request(wanted.path, params=wanted.query(), headers=headers)

        def leaving() -> None:
            self.exports.begin(wanted.as_json())

        try:
            return self.client.send(request, patience=ONCE, leaving=leaving)
        except UnreachedError:
            if (export := self.exports.current()) is not None:
                self.exports.forget(export.id)
            raise

    def _noted(self) -> Export:
        export = self.exports.current()
        if export is None:
            raise TransientError("The export that the server was asked for was forgotten meanwhile by another run.")
        return export

    # --- looked at ------------------------------------------------------------------------------------------------

    def _waited_for(self, export: Export) -> Manifest:
        found = self._until_ready(export)
        if isinstance(found, Gone):
            self.exports.forget(export.id)
            raise TransientError("The server knows nothing of the export that it has just begun.")
        return found

    def _until_ready(self, export: Export) -> Manifest | Gone:
        """What is found by looking until it is complete or gone, for as long as a run itself waits."""
        until = time.monotonic() + SECONDS_IN_A_RUN
        while True:
            now = datetime.now(UTC)
            at, words = export.look_at, ""
            if at is None or at <= now:
                found: Found = look(self.client, export.address or "", export.started_at)
                if isinstance(found, Manifest | Gone):
                    return found
                if isinstance(found, Failed):
                    self.exports.forget(export.id)
                    raise found.error
                at, words = self._next_look(export, found), found.progress
                self.exports.look_again(export.id, at)
                export = self._noted()
            seconds = (at - datetime.now(UTC)).total_seconds()
            if time.monotonic() + seconds > until:
                raise self._not_ready(export, at, words)
            time.sleep(max(0.0, seconds))

    def _next_look(self, export: Export, found: Later) -> datetime:
        now = datetime.now(UTC)
        if now - export.started_at > GIVEN_UP_AFTER:
            self.end(export)
            self.exports.forget(export.id)
            raise ConfigurationError(
                f"The server has not made its export within {GIVEN_UP_AFTER.days} days, so it was given up: ask for "
                "less by source.resource_types, source.group or source.since, or set mode to search."
            )
        return now + found.after

    @staticmethod
    def _not_ready(export: Export, at: datetime, words: str) -> NotReadyError:
        said = f" ({words})" if words else ""
        return NotReadyError(
            f"Waiting for the server's export, asked for at {export.started_at.astimezone(UTC):%Y-%m-%d %H:%M} "
            f"UTC{said}: the next look is at {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC.",
            at,
            f"{export.id} {at.isoformat()}",
        )
