"""Bench of a measurement of loads: throwaway databases, a directory, and the environment of the processes between them.

All of it goes with the block that it was made for; what is killed leaves a directory in the system's temp.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from local.embedded_postgres import EmbeddedPostgres
from rigs.migrated import migrate
from settings import ROOT

QUIET = {"autovacuum": "off"}
"""For a server whose processor is counted: what it does for itself would fall to whoever is measured just then."""

SERVER = "BENCH_SERVER"
"""The variable with the process id of the bench's database server."""


class Bench:
    """One bench. Made by `bench`."""

    def __init__(self, directory: Path, postgres: EmbeddedPostgres, stack: ExitStack) -> None:
        self.directory = directory
        self._postgres = postgres
        self._stack = stack
        self.own = postgres.create_database("platform")
        """The platform's database, migrated."""
        migrate(self.own)

    def database(self, name: str) -> str:
        """The address of a new, empty database of this name."""
        return self._postgres.create_database(name)

    @property
    def data(self) -> Path:
        """CAI_DATA_DIR of the bench's processes."""
        return self.directory / "data"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a process of the bench, with these variables besides."""
        return {
            **os.environ,
            "CAI_DATABASE_URL": self.own,
            "CAI_CREDENTIALS": "open",
            "CAI_DATA_DIR": str(self.data),
            SERVER: (self._postgres.cluster / "postmaster.pid").read_text().split()[0],
            **more,
        }

    def served(self, module: str, *arguments: str) -> str:
        """Start a module that serves HTTP until the bench ends, and prints its port; its address."""
        server = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, stdout=subprocess.PIPE)
        self._stack.callback(server.terminate)
        assert server.stdout is not None
        return f"http://127.0.0.1:{int(server.stdout.readline())}"


@contextmanager
def bench(settings: Mapping[str, str] | None = None) -> Iterator[Bench]:
    """A bench whose database server has these settings beside its own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = EmbeddedPostgres(directory / "postgres", throwaway=True, settings=settings)
        yield Bench(directory, stack.enter_context(postgres), stack)
