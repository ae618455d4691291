"""One load by a connector, in a process of its own: seconds, memory, and where the time went.

`benchmarks.data` starts it as a script, on the program that `PYTHONPATH` names: this build, or an earlier one, whose
modules had other names. Prints a line of JSON. Imports are not counted: a worker's process pays them before the work
begins.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg2  # type: ignore[import-untyped]

SOURCE, WAREHOUSE = "CAI_SECRET_BENCH_SOURCE", "CAI_SECRET_BENCH_WAREHOUSE"
TABLE = os.environ.get("BENCH_TABLE", "measurement")
"""The table that is loaded; there is one a size."""

STEPS: dict[str, float] = {}
"""Seconds of each step of the run that was measured, where there was one."""

_BEGUN: list[os.times_result] = []
"""What the process had used of the processor by the time a side began its work; the last counts."""

_PRELOADED = (
    *("pipelines.loading.pipeline", "pipelines.sources.files", "pipelines.sources.rest_api", "pipelines.engine"),
    *("pipelines.sources.sql_database", "sqlalchemy.dialects.postgresql.psycopg2"),
    *("pipelines.sources.files.statistics.xpt", "pyarrow.acero", "pytz"),
)
"""What a run imports on its way, by its names in either build: here before the clock starts."""


def scratch(name: str) -> Path:
    """A path below the data directory at which nothing stands."""
    path = Path(os.environ["CAI_DATA_DIR"]) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def begin() -> float:
    """Begin to count the time of the processor, which a side does when its imports are done; the clock's time."""
    _BEGUN.append(os.times())
    return time.perf_counter()


def measured(side: Callable[[], float]) -> str:
    """Run a side, which gives its seconds; what it took, as JSON."""
    taken = side()
    before, after = _BEGUN[-1], os.times()
    answer = {
        "seconds": taken,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "cpu": after.user - before.user + after.system - before.system,
        "steps": STEPS,
    }
    return json.dumps(answer)


def _first(*names: str) -> ModuleType:
    """The first of these modules that this build has."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(names[0])


def _connector(
    source: Mapping[str, Any],
    destination: Mapping[str, Any] | None,
    preloaded: Sequence[str] = _PRELOADED,
    change: Callable[[], None] | None = None,
) -> Callable[[], float]:
    """A load, of which the imports come before. `change`: it is the one after the first, and after this."""

    def run() -> float:
        load = _first("pipelines.run", "pipelines.load")
        options = load.Options()
        settings = importlib.import_module("settings").Settings()
        for name in preloaded:
            _first(name, "pipelines.sources")
        scratch("warehouse.duckdb")
        connection = psycopg2.connect(os.environ["CAI_DATABASE_URL"])
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO cai_connectors (name, source, destination) VALUES (gen_random_uuid(), %s, %s) "
                "RETURNING id",
                (json.dumps(source), None if destination is None else json.dumps(destination)),
            )
            connector_id = cursor.fetchone()[0]
        if change is not None:
            load.run_connector(connector_id, options, settings)
            change()
        started = begin()
        summary = load.run_connector(connector_id, options, settings)
        seconds = time.perf_counter() - started
        STEPS.update(summary.seconds)
        return seconds

    return run


def change_a_tenth() -> None:
    """Change every tenth row of the source's table, and their cursor with them."""
    connection = psycopg2.connect(os.environ[SOURCE])
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {TABLE} SET value = value + 1, updated_at = (SELECT max(updated_at) FROM {TABLE}) "
            "+ interval '1 second' WHERE id % 10 = 0"
        )
    connection.close()


SQL = {"type": "sql_database", "credentials": {"env": SOURCE}, "tables": [{"name": TABLE}]}
_KEYED = {**SQL, "tables": [{"name": TABLE, "primary_key": ["id"], "cursor_column": "updated_at"}]}
_PROTECT = {
    "rules": [
        {"path": "id", "method": "hash"},
        {"path": "person_id", "method": "hash"},
        {"path": "on_day", "method": "year"},
        {"path": "at", "method": "shift_dates"},
        {"path": "cost", "method": "round", "to": 5},
        {"path": "note", "method": "drop"},
    ],
    "patient": "person_id",
}
_PROTECT_REST = {
    "rules": [
        {"path": "person", "method": "hash"},
        {"path": "seen", "method": "shift_dates"},
        {"path": "who.b", "method": "hash"},
        {"path": "note", "method": "drop"},
    ],
    "patient": "person",
}
_REST = {
    "type": "rest_api",
    "base_url": os.environ.get("BENCH_API", ""),
    "paginator": {"type": "page_number"},
    "resources": [{"name": "visits", "path": "visits"}],
}


def _files(directory: str, form: str) -> Mapping[str, Any]:
    """Files of a format in a directory of `benchmarks.data`'s making."""
    return {"type": "files", "url": f"{os.environ.get('BENCH_FILES', '')}/{directory}", "format": form, "table": TABLE}


_REDCAP = {
    "type": "redcap",
    "api_url": os.environ.get("BENCH_REDCAP", ""),
    "token": {"env": "CAI_SECRET_BENCH_REDCAP"},
    "content": ["record"],
    "batch_size": 2_000,
}
_FHIR = {
    "type": "fhir",
    "base_url": os.environ.get("BENCH_FHIR", ""),
    "resource_types": ["Observation"],
    "mode": "bulk",
}
_PRELOADED_FHIR = ("pipelines.loading.pipeline", "pipelines.sources.fhir")
_POSTGRES = {"type": "postgres", "credentials": {"env": WAREHOUSE}}

LOADS: dict[str, Callable[[], float]] = {
    "to-duckdb": _connector(SQL, None),
    "to-postgres": _connector(SQL, _POSTGRES),
    "rest-to-duckdb": _connector(_REST, None),
    "protected-to-duckdb": _connector({**SQL, "protect": _PROTECT}, None),
    "safe-harbor-to-duckdb": _connector({**SQL, "protect": {"profile": "safe_harbor"}}, None),
    "protected-rest": _connector({**_REST, "protect": _PROTECT_REST}, None),
    "files-to-duckdb": _connector(_files("wide", "csv"), None),
    "quoted-files-to-duckdb": _connector(_files("quoted", "csv"), None),
    "narrow-files-to-duckdb": _connector(_files("narrow", "csv"), None),
    "jsonl-to-duckdb": _connector(_files("lines", "jsonl"), None),
    "xpt-to-duckdb": _connector(_files("xpt", "xpt"), None),
    "xlsx-to-duckdb": _connector(_files("xlsx", "xlsx"), None),
    "redcap-wide": _connector(_REDCAP, None, ("pipelines.loading.pipeline",)),
    "redcap-by_instrument": _connector({**_REDCAP, "layout": "by_instrument"}, None, ("pipelines.loading.pipeline",)),
    "fhir-export": _connector(_FHIR, None, _PRELOADED_FHIR),
    "fhir-views": _connector({**_FHIR, "views": "sql-on-fhir", "history": True}, None, _PRELOADED_FHIR),
    "merge-to-duckdb": _connector(_KEYED, None),
    "merge-to-postgres": _connector(_KEYED, _POSTGRES),
    "merge-tenth-to-postgres": _connector(_KEYED, _POSTGRES, change=change_a_tenth),
}

if __name__ == "__main__":
    print(measured(LOADS[sys.argv[1]]))
