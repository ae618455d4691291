"""Runs that die: a process that has everything imported and forks a child for each run, which kills itself on the way.

Started as `python -m tests.support.data_plane.killing`; it reads one JSON line a run from stdin (`connector`, `point`,
`kill_after`, `streams`) and answers with the child's exit: 0, or -9 for one that was killed where it should be.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import dlt.load.load
import dlt.normalize.normalize
import duckdb
import psycopg2  # type: ignore[import-untyped]

from connectors.runs import Options
from database.control import load_parts
from pipelines import helping, load_history
from pipelines.connector_lock import Locks
from pipelines.loading import pipeline as engine
from pipelines.loading import unfinished_loads as exactness
from pipelines.loading.comparing import histories
from pipelines.loading.replacing import lakes, refresh
from pipelines.loading.streaming import pump, splitting, streams
from pipelines.run import run_connector
from pipelines.sources import exports, fhir, files, rest_api
from pipelines.sources.fhir.bulk import export
from pipelines.sources.fhir.bulk import files as bulk_files
from pipelines.sources.http import tokens
from pipelines.sources.sql import postgres_reader
from pipelines.sources.sql.streams import fitness, snapshot
from settings import ROOT, Settings

POINTS = ("extract-mid", "extract-end", "normalize-mid", "normalize-end", "load-mid", "load-end", "confirm")
"""Where a run can be killed: within and at the end of each step, and between dlt's completion and ours."""

SWAP_POINTS = ("swap-begin", "swap-mid", "swap-end")
"""Where a full refresh can be killed as well: before, between and after the tables whose rows it exchanges."""

STREAM_POINTS = ("stream-begin", "stream-mid", "stream-end")
"""Where a run can be killed whose rows stream: before and among the rows of a COPY, and before it is committed."""

SPLIT_POINTS = ("split-begin", "stream-mid", "split-end", "split-seen")
"""Where a run can be killed that copies a table in parts: before the first and within one, when all are in, and before
they are to be seen."""

PART_POINTS = ("part-mid", "part-in")
"""Where a run can be killed that helps it: within a part, and when nobody has heard yet that it is in."""

EXPORT_POINTS = ("token", "kick-off", "wait", "download", "load", "cleanup")
"""Where a run with an export of a FHIR server can be killed."""

LONGEST_SECONDS = 900
"""A run that takes longer than this is ended: its exit is -14. Far more than any needs on a machine that is busy with
other things, so that it ends what hangs and nothing else; a test that waits for it has a limit of its own."""

PRELOADED = (adbc_driver_postgresql.dbapi, duckdb, psycopg2, files, fhir, rest_api)


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_after(count: int, original: Any) -> Any:
    calls = 0

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > count:
            _die()
        return original(*arguments, **keywords)

    return wrapped


def _die_behind(original: Any) -> Any:
    def wrapped(*arguments: Any, **keywords: Any) -> None:
        original(*arguments, **keywords)
        _die()

    return wrapped


def _die_within(count: int, original: Any) -> Any:
    """Let a call die as it comes to so many calls of functions, Python's and C's, their beginnings and ends counted;
    at its end, whatever becomes of it, when it has fewer."""

    def wrapped(*arguments: Any, **keywords: Any) -> None:
        seen = 0

        def note(*_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen >= count:
                _die()

        sys.setprofile(note)
        try:
            original(*arguments, **keywords)
        finally:
            _die()

    return wrapped


def arm(point: str) -> None:
    """Make this process die at the point."""
    match point:
        case "extract-mid":
            landed = postgres_reader.PostgresLoader._landed
            postgres_reader.PostgresLoader._landed = _die_after(1, landed)  # type: ignore[method-assign]
        case "extract-end":
            engine.LoadPipeline.normalize = _die  # type: ignore[method-assign]
        case "normalize-mid":
            dlt.normalize.normalize.Normalize.spool_files = _die  # type: ignore[method-assign]
        case "normalize-end":
            engine.LoadPipeline.load = _die  # type: ignore[method-assign]
        case "load-mid":
            load = dlt.load.load.Load
            # Some jobs of the package are done and committed, others are not.
            original = load.complete_jobs

            def complete_jobs(self: Any, load_id: str, jobs: Any, schema: Any) -> Any:
                result = original(self, load_id, jobs, schema)
                if any(job.state() == "completed" and "visit" in job.job_id() for job in jobs):
                    _die()
                return result

            load.complete_jobs = complete_jobs  # type: ignore[method-assign]
        case "load-end":
            dlt.load.load.Load.complete_package = _die  # type: ignore[method-assign]
        case "swap-begin":
            refresh.SwappingClient._take_place = _die  # type: ignore[method-assign]
            lakes.SwappingLake._take_place = _die  # type: ignore[method-assign]
        case "swap-mid":
            take_place = refresh.SwappingClient._take_place
            refresh.SwappingClient._take_place = _die_after(1, take_place)  # type: ignore[method-assign]
            of_lake = lakes.SwappingLake._take_place
            lakes.SwappingLake._take_place = _die_after(1, of_lake)  # type: ignore[method-assign]
        case "swap-end":
            refresh.SqlJobClientBase.complete_load = _die  # type: ignore[attr-defined,method-assign]
            lakes.FilesystemClient.complete_load = _die  # type: ignore[attr-defined,method-assign]
        case "history":
            histories.Histories.follow = _die  # type: ignore[assignment,method-assign]
        case "history-end":
            engine.LoadPipeline.sweep = _die  # type: ignore[method-assign]
        case "confirm":
            exactness.confirm = _die


def arm_stream(point: str) -> None:
    """Make this process die at a point of a stream."""
    match point:
        case "stream-begin":
            snapshot.Snapshot.rows = _die  # type: ignore[assignment,method-assign]
        case "stream-mid":
            pump.__dict__["BLOCK_BYTES"] = 1_000
            pump._Counted.read = _die_after(3, pump._Counted.read)  # type: ignore[method-assign]
        case "stream-end":
            streams._check = _die


def arm_split(point: str) -> None:
    """Make this process die at a point of a table that is copied in parts."""
    match point:
        case "split-begin":
            splitting.Splitting._copy_all = _die  # type: ignore[method-assign]
        case "split-end":
            splitting.Splitting.finish = _die  # type: ignore[method-assign]
        case "split-seen":
            splitting.Splitting.finish = _die_behind(splitting.Splitting.finish)  # type: ignore[method-assign]
        case "part-mid":
            arm_stream("stream-mid")
        case "part-in":
            load_parts.is_in = _die


def start_helper(connector: int, point: str, database_url: str) -> None:
    """Fork a process that helps this one's load and dies at a point, if it names one. This one copies no part before
    that one has begun to, or is gone."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        signal.alarm(LONGEST_SECONDS)
        arm_split(point)
        copied = helping._copied

        def begin(*arguments: Any) -> Any:
            os.write(writing, b".")
            return copied(*arguments)

        helping.__dict__["_copied"] = begin
        with Locks.open(database_url) as locks:
            while (load := locks.query(OPEN, {"connector": connector})) is None:
                time.sleep(0.02)
        helping.help_load(load["load_id"], Settings())
        os._exit(0)
    os.close(writing)
    copy_all = splitting.Splitting._copy_all

    def wait(*arguments: Any) -> None:
        os.read(reading, 1)
        copy_all(*arguments)

    splitting.Splitting._copy_all = wait  # type: ignore[assignment,method-assign]


OPEN = """
    SELECT load_id FROM cai_load_parts JOIN cai_loads ON id = load_id
    WHERE connector_id = %(connector)s AND outcome = 'running' LIMIT 1
"""


def arm_checks(point: str) -> None:
    """Make this process die within the checks (`check:` and a number of calls), or as a load is held."""
    place, _, number = point.partition(":")
    match place:
        case "check":
            engine.LoadPipeline.check = _die_within(int(number), engine.LoadPipeline.check)  # type: ignore[method-assign]
        case "hold":  # a person is to decide, and nobody knows of it
            load_history.LoadRecord._hold = _die  # type: ignore[method-assign]
        case "hold-end":  # it is noted, and the run has not ended
            load_history.LoadRecord._hold = _die_behind(load_history.LoadRecord._hold)  # type: ignore[method-assign]


def arm_export(point: str) -> None:
    """Make this process die at a point of an export."""
    match point:
        case "token":
            tokens.TokenAuth._ask = _die  # type: ignore[method-assign]
        case "kick-off":  # all is noted and nothing has left
            exports.Exports.begin = _die_behind(exports.Exports.begin)  # type: ignore[method-assign]
        case "answer":  # the server has begun it and nobody has noted where
            exports.Exports.located = _die  # type: ignore[method-assign]
        case "wait":
            export.__dict__["look"] = _die_after(1, export.__dict__["look"])
        case "download":
            bulk_files.__dict__["values_of"] = _die_after(1, bulk_files.__dict__["values_of"])
        case "load":  # some tables are written, others are not
            load = dlt.load.load.Load
            load.complete_jobs = _die_behind(load.complete_jobs)  # type: ignore[method-assign]
        case "cleanup":
            export.Exporting.end = _die  # type: ignore[assignment,method-assign]


def serve() -> None:
    """Fork a child for each line of stdin, until there is no more."""
    postgres_reader.BATCH_BYTES = 2_000  # several batches and files even for a small table
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.alarm(LONGEST_SECONDS)
            if order["streams"]:
                fitness.LEAST_BYTES = fitness.LEAST_ROWS = 0
            arm(order["point"])
            arm_stream(order["point"])
            if order["helper"] is not None:
                start_helper(order["connector"], order["helper"], Settings().resolved_database_url())
            arm_split(order["point"])
            arm_checks(order["point"])
            arm_export(order["point"])
            run_connector(order["connector"], Options(**order.get("options", {})), Settings())
            os._exit(0)
        if (seconds := order["kill_after"]) is not None:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class Forge:
    """A process that forks runs, from the tests' side."""

    def __init__(self, log: Path) -> None:
        environment = {**os.environ, "DATA_WRITER__FILE_MAX_ITEMS": "50", "DATA_WRITER__BUFFER_MAX_ITEMS": "50"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.data_plane.killing"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
        )

    def run(
        self,
        connector: int,
        point: str = "",
        *,
        kill_after: float | None = None,
        streams: bool = False,
        helper: str | None = None,
        **options: Any,
    ) -> int:
        """The exit of a run that dies at `point` or after so many seconds, if it is not done by then, or of one that
        does not. `streams`: small tables stream too, where they can. `helper`: another process helps to copy tables in
        parts, and dies at this point; "": at none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "connector": connector,
            "point": point,
            "kill_after": kill_after,
            "streams": streams,
            "helper": helper,
            "options": options,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it: it goes when nobody asks any more."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


if __name__ == "__main__":
    serve()
