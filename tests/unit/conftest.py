"""The rule of this rung: no process is started, and nobody is connected to."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

REFUSED = frozenset({"subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "socket.connect", "socket.bind"})
"""Python's own audit events, which C code raises too."""

_watching = False


def _audit(event: str, _arguments: tuple[Any, ...]) -> None:
    if _watching and event in REFUSED:
        raise AssertionError(f"{event}: a test that needs it stands in tests/integration")


sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def _pure() -> Iterator[None]:
    """Refuse processes and connections while a test runs."""
    global _watching  # noqa: PLW0603  # a hook of Python's can be switched off, not removed
    _watching = True
    yield
    _watching = False
