"""The command that starts a run, in a shell."""

import shlex
import subprocess
import sys

import pytest

from deployments.planning.spec import (
    ENGINE,
)


@pytest.mark.parametrize("environment", [{"PATH": "/usr/bin:/bin"}, {}])
def test_a_run_is_started_by_the_workers_own_interpreter_whatever_is_on_its_path(environment: dict[str, str]) -> None:
    which = shlex.split(ENGINE.replace("-m prefect.engine", '-c "import sys; print(sys.prefix)"'))
    started = subprocess.run(which, env=environment, check=True, capture_output=True, text=True, timeout=60)
    assert started.stdout.strip() == sys.prefix
    assert not started.stderr
