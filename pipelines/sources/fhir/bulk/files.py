"""Files of an export as lines of JSON, read as they stream.

A download that is cut off goes on where it stopped: the file is asked for again, what was read of it is passed over,
and compared by its digest, so that no line comes twice and none is left out. Nothing is written here.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from requests import RequestException, Response

from pipelines.errors import ConfigurationError, TransientError
from pipelines.rows.ndjson import NoJsonError, values_of
from pipelines.sources.fhir.bulk.manifest import File
from pipelines.sources.http.answers import LAST_LANDS
from pipelines.sources.http.client import Client
from pipelines.sources.http.waiting import Patience

BLOCK_BYTES = 1 << 18
_EXPIRED = frozenset({401, 403, 404, 410})
"""Statuses of an address that was good for a while."""

_HEADERS = {"Accept": "application/fhir+ndjson", "Accept-Encoding": "gzip"}


@dataclass
class Files:
    """The way to the files of one export.

    `renewed` gives a file's address anew, where the one of the manifest is good no more; None: there is no other.
    """

    client: Client
    needs_token: bool
    renewed: Callable[[File], File | None]
    check: bool = True
    """Compare the numbers that the server states."""

    def values(self, file: File) -> Iterator[list[Any]]:
        """The resources of a file, some thousands at a time.

        Raises:
            RunError: it can't be read to its end, or has another number of resources than the server says.
        """
        number, rows = 1, 0
        for lines, are_whole in _lines(self._blocks(file)):
            try:
                found = values_of(
                    lines, number, lambda line: self._repeated(file, line), lambda line: self._half(file, line)
                )
            except NoJsonError as error:
                if not are_whole:
                    raise TransientError(_BROKE_OFF.format(kind=file.kind)) from None
                raise ConfigurationError(
                    f"Line {error.line} of a file with {file.kind} of the server's export is no JSON: have its "
                    "administrator look, or set mode to search."
                ) from None
            number += len(lines)
            rows += len(found)
            yield found
        if self.check and file.count is not None and rows != file.count:
            raise ConfigurationError(
                f"A file of the server's export has {rows:,} resources of {file.kind}, and by its manifest "
                f"{file.count:,}: run a full refresh, which has another one made; where the server counts something "
                "else, set check_complete to false."
            )

    def _repeated(self, file: File, line: int) -> None:
        self.client.remark(
            f"Line {line} of a file with {file.kind} has an object that gives one name several values: {LAST_LANDS}"
        )

    def _half(self, file: File, line: int) -> None:
        self.client.remark(
            f"Line {line} of a file with {file.kind} has half of a character, as where a text was cut: it landed as "
            "the character U+FFFD."
        )

    def _blocks(self, file: File) -> Iterator[bytes]:
        """The bytes of a file, each once."""
        passed, mark = 0, hashlib.blake2b()
        patience = Patience()
        for tries in count(1):
            again, skipped = hashlib.blake2b(), 0
            try:
                for block in self._opened(file).iter_content(BLOCK_BYTES):
                    new = block
                    if skipped < passed:
                        old, new = block[: passed - skipped], block[passed - skipped :]
                        again.update(old)
                        skipped += len(old)
                        if skipped == passed and again.digest() != mark.digest():
                            raise ConfigurationError(_CHANGED)
                    if new:
                        mark.update(new)
                        passed += len(new)
                        skipped = passed
                        yield new
                if skipped < passed:
                    raise ConfigurationError(_CHANGED)
            except (RequestException, OSError):
                if (wait := patience.wait(tries, None)) is None:
                    raise TransientError(_BROKE_OFF.format(kind=file.kind)) from None
                time.sleep(wait)
            else:
                return

    def _opened(self, file: File) -> Response:
        response = self._asked(file)
        if response.status_code in _EXPIRED and (other := self.renewed(file)) is not None:
            response = self._asked(other)
        if response.ok:
            return response
        error = self.client.refusal(response)
        if response.status_code in {404, 410}:
            raise TransientError(f"A file with {file.kind} of the server's export is not there any more.")
        raise error

    def _asked(self, file: File) -> Response:
        if not self.needs_token:
            return self.client.send_openly(file.url, _HEADERS)
        return self.client.send(self.client.elsewhere(file.url, _HEADERS), stream=True)


_BROKE_OFF = "A file with {kind} of the server's export broke off before its end."
_CHANGED = (
    "A file of the server's export was another one when it was asked for again: run a full refresh, which has a new "
    "export made."
)


def _lines(blocks: Iterator[bytes]) -> Iterator[tuple[list[bytes], bool]]:
    """The lines of blocks of bytes, those of a block together, and whether each has its end."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        if lines:
            yield lines, True
    if rest:
        yield [rest], False


def resources_of(values: list[Any], kind: str) -> list[dict[str, Any]]:
    """The resources of one type.

    Raises:
        RunError: among them are others, or what is none.
    """
    if any(not isinstance(each, dict) or each.get("resourceType") != kind for each in values):
        raise ConfigurationError(
            f"A file that should hold {kind} alone, by the manifest of the server's export, holds something else: have "
            "its administrator look, or set mode to search."
        )
    return values
