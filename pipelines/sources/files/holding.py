"""Pages of one file, held back until the file is read to its end: it lands as a whole or not at all.

A fault in the last line of a file must not leave the lines before it in the table, where they would come twice once
the file is corrected. Small files wait in memory, the rest of large ones in the run's own directory; if the process
dies here, that directory is removed by the next run.
"""

import pickle
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

MEMORY_BYTES = 64 * 1024 * 1024
_PAGE_OF_ROWS_BYTES = 48 * 1024 * 1024
"""What a page of Python rows is taken to need."""


class Held:
    """The pages of one file."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self.close()

    def close(self) -> None:
        """Forget what is held; it can be filled again."""
        if getattr(self, "_file", None) is not None:
            self._file.close()
        self._pages: list[Any] = []
        self._bytes = 0
        self._file: Any = None
        self._writer: Any = None

    def fill(self, pages: Iterable[Any]) -> None:
        """Take all pages; whatever reading them raises is raised here."""
        for page in pages:
            self._bytes += page.nbytes if isinstance(page, pa.Table) else _PAGE_OF_ROWS_BYTES
            if self._bytes <= MEMORY_BYTES or not self._pages:
                self._pages.append(page)
            else:
                self._write(page)

    def _write(self, page: Any) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115  # closed by `close`
        if not isinstance(page, pa.Table):
            pickle.dump(page, self._file, pickle.HIGHEST_PROTOCOL)
            return
        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._file, page.schema)
        self._writer.write_table(page)

    def pages(self) -> Iterator[Any]:
        """The pages, in their order; each can be had once."""
        while self._pages:
            yield self._pages.pop(0)
        if self._file is None:
            return
        if self._writer is not None:
            self._writer.close()
            self._file.seek(0)
            for batch in pa.ipc.open_stream(self._file):
                yield pa.Table.from_batches([batch])
            return
        self._file.seek(0)
        while True:
            try:
                # Written by this very process, into a file without a name.
                page = pickle.load(self._file)  # noqa: S301
            except EOFError:
                return
            yield page
