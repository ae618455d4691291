"""Answers of a server that are used again for a while."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

MOST = 1000


class Remembered:
    """A call of one argument whose answers are kept. Errors are not: they are asked for again."""

    def __init__(self, call: Callable[[Any], Awaitable[Any]], seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._answers: dict[Any, tuple[float, Any]] = {}

    async def __call__(self, asked: Any) -> Any:
        """The answer, at most so many seconds old."""
        now = time.monotonic()
        held = self._answers.get(asked)
        if held is not None and now - held[0] < self._seconds:
            return held[1]
        answer = await self._call(asked)
        self._answers.pop(asked, None)
        self._answers[asked] = (now, answer)
        if len(self._answers) > MOST:
            del self._answers[next(iter(self._answers))]
        return answer
