"""Reaching a source for the REST API, in a process of its own.

What reads sources costs seconds to import, hundreds of megabytes, and a thread that no timeout can end. A process ends
when it is told to, and the API stays small. What is asked and answered is JSON, and no secret is in it: the process
resolves references itself, and its answer is redacted there.
"""

import asyncio
import json
import multiprocessing
from dataclasses import asdict
from enum import StrEnum
from multiprocessing.connection import Connection
from typing import Any

from connectors.connector import ConnectorRow
from settings import Settings

SECONDS = 60.0
AT_ONCE = 2

_slots = asyncio.Semaphore(AT_ONCE)


class Question(StrEnum):
    """What can be asked of a source."""

    TEST = "test"
    DISCOVER = "discover"


class Unanswered(Exception):  # noqa: N818  # an answer that is none
    """The process gave no answer. The message is a sentence for the one who asked."""


async def ask(question: Question, row: ConnectorRow, cursor: str | None = None) -> dict[str, Any]:
    """What the source of a row, saved or not, answers, as JSON: `{"message": ...}` alone where it can't be asked.

    Raises:
        Unanswered: it took too long, or the process died.
    """
    async with _slots:
        return await asyncio.to_thread(_in_a_process, question, row, cursor)


def _in_a_process(question: Question, row: ConnectorRow, cursor: str | None) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(question, row, cursor, theirs), daemon=True)
    process.start()
    theirs.close()  # else a process that dies would leave us waiting: the pipe would still have a writer
    try:
        if not ours.poll(SECONDS):
            raise Unanswered(f"The source did not answer within {SECONDS:.0f} seconds.")
        said = ours.recv()
    except EOFError:
        raise Unanswered("The source was asked, and no answer came back: operations must look.") from None
    finally:
        process.kill()
        process.join()
    found: dict[str, Any] = json.loads(said)
    return found


def _answer(question: Question, row: ConnectorRow, cursor: str | None, answer: Connection) -> None:
    """The process: ask the source, and send the answer as JSON."""
    # See the module's docstring.
    from pipelines.discovery import discover_for  # noqa: PLC0415
    from pipelines.errors import RunError  # noqa: PLC0415
    from pipelines.source_test import probe_connector  # noqa: PLC0415

    if question is Question.TEST:
        found = probe_connector(row, Settings())
        tables = [{"name": sample.table, "rows": sample.rows} for sample in found.samples]
        answer.send(json.dumps({"ok": found.ok, "message": found.message, "tables": tables}, default=_shown))
        return
    try:
        page = discover_for(row, Settings(), cursor)
    except RunError as error:
        answer.send(json.dumps({"message": str(error)}))
        return
    answer.send(json.dumps(asdict(page)))


def _shown(value: Any) -> str:
    """A value that JSON has no form for."""
    return f"({len(value)} bytes)" if isinstance(value, bytes) else str(value)
