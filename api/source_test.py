"""Reaching a connector's source for the REST API, in a process of its own.

What reads sources costs seconds to import, hundreds of megabytes, and a thread that no timeout can end. A process ends
when it is told to, and the API stays small. This is the one place where `connectors` reaches into `pipelines`.
"""

import asyncio
import json
import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

from api.answers import ProbeAnswer, ProbedTable
from connectors.connector import ConnectorRow, InvalidConnectorError, validate
from settings import Settings

SECONDS = 60.0
AT_ONCE = 2

_slots = asyncio.Semaphore(AT_ONCE)


async def reach(row: ConnectorRow) -> ProbeAnswer:
    """Reach a connector's source, and show its first rows. What is wrong with it is an answer, not an error."""
    try:
        validate(row)
    except InvalidConnectorError as error:
        return ProbeAnswer(ok=False, message=str(error), tables=[])
    async with _slots:
        return await asyncio.to_thread(_in_a_process, row)


def _in_a_process(row: ConnectorRow) -> ProbeAnswer:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_probe, args=(row, theirs), daemon=True)
    process.start()
    theirs.close()  # else a process that dies would leave us waiting: the pipe would still have a writer
    try:
        if not ours.poll(SECONDS):
            return ProbeAnswer(ok=False, message=f"The source did not answer within {SECONDS:.0f} seconds.", tables=[])
        return ProbeAnswer.model_validate_json(ours.recv())
    except EOFError:
        return ProbeAnswer(ok=False, message="The test ended without an answer: operations must look.", tables=[])
    finally:
        process.kill()
        process.join()


def _probe(row: ConnectorRow, answer: Connection) -> None:
    """The process: probe the source, and send the answer as JSON."""
    from pipelines.source_test import probe_connector  # noqa: PLC0415  # see the module's docstring

    found = probe_connector(row, Settings())
    tables = [
        ProbedTable(name=sample.table, rows=json.loads(json.dumps(sample.rows, default=_shown)))
        for sample in found.samples
    ]
    answer.send(ProbeAnswer(ok=found.ok, message=found.message, tables=tables).model_dump_json(by_alias=True))


def _shown(value: Any) -> str:
    """A value that JSON has no form for."""
    return f"({len(value)} bytes)" if isinstance(value, bytes) else str(value)
