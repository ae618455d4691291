"""Helpers of a load: other runs that copy parts of it, as threads of a test."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipelines.helping import help_load
from pipelines.host import PlainHost
from settings import Settings


@dataclass
class Helpers(PlainHost):
    """A host whose runs are helped by threads, each of which is through before it is looked at what they did."""

    settings: Settings
    said: list[str] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    first: bool = True
    """They have all parts that they want before the run itself takes one."""

    def __post_init__(self) -> None:
        super().__init__()

    @contextlib.contextmanager
    def helped(self, load_id: int, runs: int) -> Iterator[None]:
        self.asked.append(runs)
        threads = [threading.Thread(target=self._help, args=(load_id,)) for _ in range(runs)]
        for thread in threads:
            thread.start()
        if self.first:
            for thread in threads:
                thread.join()
        yield
        for thread in threads:
            thread.join()

    def _help(self, load_id: int) -> None:
        self.said.append(help_load(load_id, self.settings))
