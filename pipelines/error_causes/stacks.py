"""Stacks of exceptions without what these say: messages of libraries may quote rows or hold secrets.

Kept are the files, lines and functions of each error in a chain and the names of their classes; left out are messages,
notes and local variables. Only our own errors keep their sentence, which holds neither.
"""

import traceback

from pipelines.error_causes.chain import chain
from pipelines.errors import RunError


def stack_of(error: BaseException) -> str:
    """The stack of an error and of everything that caused it, the root cause first."""
    return "\nIt led to:\n".join(_one(cause) for cause in reversed(chain(error)))


def _one(error: BaseException) -> str:
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__))
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    said = f": {error}" if isinstance(error, RunError) else ""
    return "".join(["Traceback (most recent call last):\n", *frames, kind, said])
