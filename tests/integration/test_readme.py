"""The README's calls, on a real Prefect server."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from settings import ROOT
from tests.support.servers.prefect_server import PrefectServer

CURL = re.compile(r"^    ((?:curl|FLOW_ID=|ID=).*PREFECT_API_URL.*)$", re.MULTILINE)


def test_the_calls_that_the_readme_shows_work(prefect_server: PrefectServer, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    calls = CURL.findall((ROOT / "README.md").read_text())
    assert len(calls) >= 8
    script = tmp_path / "readme.sh"
    script.write_text("set -euo pipefail\n" + "\n".join(call.replace("curl -s", "curl -sf") for call in calls))
    environment = {**os.environ, "PREFECT_API_URL": prefect_server.url}
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
