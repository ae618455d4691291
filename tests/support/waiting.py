"""Waiting for what becomes true."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest


async def until(what: str, condition: Callable[[], Awaitable[Any]], seconds: float) -> Any:
    """Wait until `condition` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := await condition():
            return found
        await asyncio.sleep(0.05)
    pytest.fail(f"Not within {seconds:.0f} s: {what}")
