"""A forked run, from the fork to its end: it becomes the process that `python -m prefect.engine` would have been."""

import atexit
import contextlib
import logging
import os
import resource
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn
from uuid import UUID

from workers.messages import Order, read
from workers.preload import flow_of

OUT_OF_MEMORY_SCORE = 500
"""Where the machine itself has no memory left, the kernel takes a run before it takes the worker."""

_LOGGING = "PREFECT_LOGGING_"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def live(order: int) -> NoReturn:
    """Run what the order says, and end this process.

    Args:
        order: descriptor of the memory file with the `Order`.
    """
    code = 1
    try:
        code = _exit_code(order)
    except BaseException:  # the last frame of this process: nothing may return into the fork server
        traceback.print_exc()
    finally:
        _leave(code)


def _exit_code(descriptor: int) -> int:
    try:
        _close_all_but(descriptor)
        order = read(descriptor)
        become(order)
        run(order)
    except SystemExit as left:
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


def _close_all_but(kept: int) -> None:
    """The fork server's socket, and what tells it of the ends of other runs."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        if (number := int(entry.name)) > 2 and number != kept:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(number)


def become(order: Order) -> None:
    """Turn this copy of the fork server into a process of the run's own."""
    before = {name: value for name, value in os.environ.items() if name.startswith(_LOGGING)}
    for name in _SIGNALS:
        signal.signal(name, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order.environment)
    os.chdir(order.directory)
    sys.argv = ["prefect.engine"]
    time.tzset()
    Path("/proc/self/oom_score_adj").write_text(str(OUT_OF_MEMORY_SCORE))
    if order.memory_bytes is not None:
        limit_memory(order.memory_bytes)
    _take_prefect_settings(before)


def limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has now; beyond that its allocations fail.

    What it has now is the fork server's, most of it shared, or only reserved.
    """
    status = Path("/proc/self/status").read_text()
    held = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (held + more, held + more))


def _take_prefect_settings(logging_before: dict[str, str]) -> None:
    from prefect.context import refresh_global_settings_context  # noqa: PLC0415  # imported long ago: see preload
    from prefect.logging.configuration import setup_logging  # noqa: PLC0415

    refresh_global_settings_context()
    # It costs more than the fork, and the fork server has done it.
    if logging_before != {name: value for name, value in os.environ.items() if name.startswith(_LOGGING)}:
        setup_logging(incremental=False)


def run(order: Order) -> None:
    """Run the flow as `prefect.engine` does when it is the main module, which cannot be imported.

    Raises:
        SystemExit: with the exit code of the process.
    """
    from prefect._internal.control_listener import configure_from_env  # noqa: PLC0415
    from prefect._internal.metrics import RunMetrics  # noqa: PLC0415
    from prefect.client.schemas.objects import FlowRun  # noqa: PLC0415
    from prefect.engine import handle_engine_signals  # noqa: PLC0415
    from prefect.flow_engine import run_flow  # noqa: PLC0415
    from prefect.logging.loggers import flow_run_logger  # noqa: PLC0415

    from workers.shortcuts import take_shortcuts  # noqa: PLC0415

    configure_from_env()
    flow_run = FlowRun.model_validate(order.flow_run)
    with handle_engine_signals(UUID(str(flow_run.id))):
        take_shortcuts(order)
        flow = flow_of(order.entrypoint)
        logger = flow_run_logger(flow_run=flow_run)
        with RunMetrics(flow_run, flow):
            run_flow(flow, flow_run=flow_run, error_logger=logger)  # type: ignore[arg-type]  # as Prefect does


def _leave(code: int) -> NoReturn:
    """End as an interpreter does, threads and exit functions first: they still send logs and events."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
