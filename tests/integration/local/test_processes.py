"""Child processes: started, ended with all that they started, and started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from local.processes import MARK, MOST_DEATHS, Child, marked, open_log
from settings import ROOT

_FORKS = "import subprocess, time; subprocess.Popen(['sleep', '600']); print('up', flush=True); time.sleep(600)"
_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def _child(directory: Path, code: str, *, mark: str = "") -> Child:
    environment = {**os.environ, MARK: mark}
    return Child("child", [sys.executable, "-c", code], environment, directory, directory / "logs" / "child.log", True)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _wait_until_up(child: Child) -> None:
    assert child.log is not None
    log = child.log
    _wait(lambda: "up" in log.read_text())


def test_ending_a_child_ends_what_it_started(tmp_path: Path) -> None:
    child = _child(tmp_path, _FORKS, mark=f"{tmp_path}:1")
    child.start()
    _wait_until_up(child)
    assert len(marked(f"{tmp_path}:")) == 2
    child.end(5)
    assert marked(f"{tmp_path}:") == []


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    child = _child(tmp_path, _STUBBORN)
    child.start()
    _wait_until_up(child)
    child.end(0.2)
    assert child.process is not None
    assert not psutil.pid_exists(child.process.pid)


def test_a_child_that_dies_young_again_and_again_waits_longer_each_time(tmp_path: Path) -> None:
    child = _child(tmp_path, "raise SystemExit(3)")
    waits = []
    for _ in range(3):
        child.start()
        _wait(lambda: child.ended() is not None)
        now = time.monotonic()
        sentence = child.restart_when_due(now)
        assert sentence is not None
        assert "exit code 3" in sentence
        waits.append(next(wait for wait in (1, 2, 5, 10) if f"in {wait} s" in sentence))
        assert child.restart_when_due(now + waits[-1] - 0.1) is None
    assert waits == [1, 2, 5]
    assert child.restart_when_due(now + 6) == "child was started again."
    child.end(5)


def test_a_child_that_never_lives_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    child = _child(tmp_path, "print('no room on the disk', flush=True); raise SystemExit(1)")
    for _ in range(MOST_DEATHS):
        assert not child.hopeless
        child.start()
        _wait(lambda: child.ended() is not None)
        sentence = child.restart_when_due(time.monotonic())
        assert sentence is not None
        assert sentence.endswith("Its last words: no room on the disk")
    assert child.hopeless
    child.end(5)


def test_a_log_holds_what_was_said_before_and_is_the_users_alone(tmp_path: Path) -> None:
    for line in (b"first\n", b"second\n"):
        log = open_log(tmp_path / "logs" / "x.log")
        os.write(log, line)
        os.close(log)
    assert (tmp_path / "logs" / "x.log").read_text() == "first\nsecond\n"
    assert (tmp_path / "logs" / "x.log").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_watchdog_ends_what_a_killed_supervisor_left(tmp_path: Path, how: signal.Signals) -> None:
    mark = f"{tmp_path}:2"
    supervisor = (
        "import subprocess, sys, os, time\n"
        f"subprocess.Popen([sys.executable, '-m', 'local.watchdog', {mark!r}], stdin=subprocess.PIPE)\n"
        f"subprocess.Popen(['sleep', '600'], env={{**os.environ, {MARK!r}: {mark!r}}})\n"
        "print('up', flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", supervisor], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        left = marked(mark)
        assert len(left) == 1
        process.send_signal(how)
    psutil.wait_procs(left, timeout=20)
    assert marked(mark) == []
