"""The probes of processes that have no port, run as the kubelet runs them: a command and its exit code."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments import alive
from deployments.monitoring import heartbeat
from helm.values import CHART
from prefect_api.event_feed import Events
from settings import ROOT
from tests.support.helm.chart import named, render


def _probe(data: Path) -> subprocess.CompletedProcess[str]:
    command = named(render(), "Deployment", "controller")["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    arguments = command["exec"]["command"]
    assert arguments[0] == "python"
    return subprocess.run(
        [sys.executable, *arguments[1:]],
        env={**os.environ, "CAI_DATA_DIR": str(data)},
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_controllers_probe_looks_at_the_file_that_the_controller_touches(tmp_path: Path) -> None:
    heartbeat.Heartbeat(Events("test"), tmp_path / alive.ALIVE_FILE, 60)(leading=False)
    assert _probe(tmp_path).returncode == 0


def test_a_controller_that_has_not_turned_yet_is_not_ready(tmp_path: Path) -> None:
    probe = _probe(tmp_path)
    assert probe.returncode == 1
    assert "has not turned yet" in probe.stderr


def test_a_controller_whose_loop_hangs_is_not_alive(tmp_path: Path) -> None:
    file = tmp_path / alive.ALIVE_FILE
    file.touch()
    long_ago = time.time() - alive.OLDEST_SECONDS - 60
    os.utime(file, (long_ago, long_ago))
    probe = _probe(tmp_path)
    assert probe.returncode == 1
    assert "last turned 36" in probe.stderr


def test_the_probe_is_cheap(tmp_path: Path) -> None:
    """It runs in a pod's small share of a CPU: nothing but the standard library is imported."""
    code = "import sys, deployments.alive; print(sorted(set(sys.modules) & {'prefect', 'pydantic', 'sqlalchemy'}))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["services_alive.py", "server_ready.py"])
def test_probes_of_the_chart_are_shipped_as_they_stand(name: str) -> None:
    assert named(render(), "ConfigMap", "probes")["data"][name] == (CHART / "files" / "probes" / name).read_text()
