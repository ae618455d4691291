"""Looks at a source beside the REST API (CAI_PROBE=api), each in a process of its own.

What reads sources costs seconds to import, hundreds of megabytes, and a thread that no timeout can end. A process ends
when it is told to, and the API stays small. What is asked and answered is JSON, and no secret is in it: the process
resolves references itself, and its answer is redacted there.
"""

import asyncio
import json
import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

from connectors.connector import ConnectorRow
from connectors.discovery import Question
from connectors.errors import Unanswered
from settings import Settings

AT_ONCE = 2

_slots = asyncio.Semaphore(AT_ONCE)


async def ask(question: Question, row: ConnectorRow, cursor: str | None, seconds: float) -> dict[str, Any]:
    """What the source of a row, saved or not, answers, as JSON: `pipelines.answering`.

    Raises:
        Unanswered: it took too long, or the process died.
    """
    async with _slots:
        return await asyncio.to_thread(_in_a_process, question, row, cursor, seconds)


def _in_a_process(question: Question, row: ConnectorRow, cursor: str | None, seconds: float) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(question, row, cursor, theirs), daemon=True)
    process.start()
    theirs.close()  # else a process that dies would leave us waiting: the pipe would still have a writer
    try:
        if not ours.poll(seconds):
            raise Unanswered(f"The source did not answer within {seconds:.0f} seconds.")
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
    from pipelines.answering import answer as answered  # noqa: PLC0415  # see the module's docstring

    answer.send(answered(question, row, cursor, Settings()))
