"""The parts of a warm worker by themselves: what is judged, what is told, and what of Prefect they stand on."""

import inspect
import os
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow_engine, results
from prefect.engine import handle_engine_signals
from prefect.events import related
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.runner._process_manager import ProcessManager
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessJobConfiguration

from deployments.planning.spec import ENGINE
from prefect_api.names import ENTRYPOINT
from settings import ROOT
from workers import fork_server, remembered
from workers.code_version import code_version
from workers.fork_server import NotForkableError, require_nothing_shared
from workers.keeper import Wear
from workers.messages import Event, Order, Said, hear, read, say, written
from workers.preload import FLOWS, flow_of
from workers.server_process import environment_without_secrets
from workers.warm import warm_entrypoint


@pytest.mark.parametrize(
    ("age", "size", "why"),
    [(10, 50, None), (101, 50, "is 101 s old"), (10, 300 * 2**20, "holds 300 MiB"), (100, 200 * 2**20, None)],
)
def test_a_worn_fork_server_is_replaced(age: float, size: int, why: str | None) -> None:
    assert Wear(100, 200 * 2**20).why_replaced(age, size) == why


def test_a_fork_server_is_told_no_secret() -> None:
    told = environment_without_secrets(
        {
            "PATH": "/bin",
            "LC_ALL": "C",
            "CAI_LOCAL_STACK": "mark",
            "PREFECT_LOGGING_LEVEL": "DEBUG",
            "PREFECT_API_KEY": "x",
            "PREFECT_API_AUTH_STRING": "x",
            "PREFECT_API_URL": "http://user:x@prefect/api",
            "CAI_DATABASE_URL": "postgresql://user:x@host/db",
            "CAI_SECRET_EMR": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "HTTPS_PROXY": "http://user:x@proxy",
        },
        ROOT,
    )
    assert set(told) == {
        "PATH", "LC_ALL", "CAI_LOCAL_STACK", "PREFECT_LOGGING_LEVEL",
        "PYTHONPATH", "PREFECT_PROFILES_PATH", "JE_ARROW_MALLOC_CONF",
    }  # fmt: skip
    assert "x" not in told.values()


def test_an_order_is_read_as_it_was_written() -> None:
    order = Order({"id": "1"}, ENTRYPOINT, {"NAME": "wörd\n=1"}, "/app", 2**30, {"deployment": {"name": "x"}})
    assert read(written(order)) == order


def test_an_order_leaves_no_descriptor_behind() -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    read(written(Order({}, ENTRYPOINT, {}, "/")))
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_what_a_fork_server_says_arrives_with_its_descriptor_and_then_its_silence() -> None:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    said = Said(Event.FORKED, number=3, pid=7)
    end = os.pidfd_open(os.getpid())
    say(its, said, (end,))
    os.close(end)
    heard = hear(ours)
    assert heard is not None
    assert heard[0] == said
    assert len(heard[1]) == 1
    os.close(heard[1][0])
    its.close()
    assert hear(ours) is None
    ours.close()


def test_a_process_of_several_threads_is_not_forked() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with pytest.raises(NotForkableError, match="more threads than one"):
            require_nothing_shared()
    finally:
        stop.set()
        thread.join()


def test_a_process_with_a_connection_is_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "open_sockets", lambda: ["socket:[1]", "socket:[2]"])
    monkeypatch.setattr(fork_server, "tasks", lambda: ["python"])
    with pytest.raises(NotForkableError, match="1 open connection"):
        require_nothing_shared()


def test_the_version_of_the_code_follows_its_files(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "settings.py").write_text("A = 1\n")
    first = code_version(tmp_path)
    assert code_version(tmp_path) == first
    (tmp_path / "settings.py").write_text("A = 10\n")
    second = code_version(tmp_path)
    (tmp_path / "flows" / "new.py").write_text("")
    third = code_version(tmp_path)
    assert len({first, second, third}) == 3
    own = code_version(tmp_path, ("workers",))
    (tmp_path / "README.md").write_text("words")
    assert code_version(tmp_path, ("workers",)) == own
    assert code_version(tmp_path) == third


def configuration(entrypoint: str | None, command: str, directory: str | None) -> ProcessJobConfiguration:
    made = ProcessJobConfiguration(command=command, working_dir=directory)
    made._related_objects = {"deployment": SimpleNamespace(entrypoint=entrypoint)}
    return made


@pytest.mark.parametrize(
    ("entrypoint", "command", "directory", "warm"),
    [
        (ENTRYPOINT, ENGINE, str(ROOT), True),
        ("flows/controller.py:connector_controller", ENGINE, str(ROOT), False),
        ("flows/theirs.py:theirs", ENGINE, str(ROOT), False),
        (ENTRYPOINT, "python -m prefect.engine", str(ROOT), False),
        (ENTRYPOINT, ENGINE, "/", False),
        (ENTRYPOINT, ENGINE, None, False),
        (None, ENGINE, str(ROOT), False),
    ],
)
def test_only_our_flows_by_our_command_from_our_code_are_forked(
    entrypoint: str | None, command: str, directory: str | None, warm: bool
) -> None:
    assert warm_entrypoint(configuration(entrypoint, command, directory)) == (entrypoint if warm else None)


@pytest.mark.parametrize("entrypoint", FLOWS)
def test_every_warm_flow_is_there(entrypoint: str) -> None:
    path, _, name = entrypoint.partition(":")
    flow = flow_of(entrypoint)
    assert flow.fn.__name__ == name
    assert Path(inspect.getfile(flow.fn)) == ROOT / path


def test_prefect_still_has_what_is_stood_on() -> None:
    """Private names of Prefect: another version that has them no more must fail here and not at a run."""
    parameters = inspect.signature(FlowRunExecutorContext.create_executor).parameters
    assert {"flow_run", "starter", "propose_submitting", "hook_runner"} <= set(parameters)
    assert {"get", "flow_run_ids"} <= set(dir(ProcessManager))
    assert callable(handle_engine_signals)
    replaced: dict[Any, tuple[str, ...]] = {
        flow_engine: ("_send_heartbeats", "observe_flow_run_suspension"),
        results: ("_read_server_default_result_storage_block_id", "_aread_server_default_result_storage_block_id"),
        related: ("RESOURCE_CACHE", "_get_and_cache_related_object"),
        BaseWorker: ("_give_worker_labels_to_flow_run", "_propose_submitting_state"),
    }
    for module, names in replaced.items():
        source = inspect.getsource(module)
        for name in names:
            assert hasattr(module, name)
            assert source.count(name) > 1 or module is BaseWorker, f"{name} is not used where it is replaced"
    configured: Any = ProcessJobConfiguration.__private_attributes__
    assert "_related_objects" in configured


async def test_an_answer_is_used_again_and_an_error_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("workers.remembered.time.monotonic", lambda: now)
    asked: list[int] = []

    async def call(number: int) -> int:
        asked.append(number)
        if number == 13:
            raise LookupError
        return len(asked)

    read = remembered.Remembered(call, 10)
    assert [await read(1), await read(1), await read(2)] == [1, 1, 2]
    now = 10.0
    assert await read(1) == 3
    for _ in range(2):
        with pytest.raises(LookupError):
            await read(13)
    assert asked == [1, 2, 1, 13, 13]


async def test_what_is_remembered_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST", 2)

    async def call(number: int) -> int:
        return number

    read = remembered.Remembered(call, 10)
    for number in range(5):
        await read(number)
    assert len(read._answers) == 2
