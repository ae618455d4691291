"""The image's recipe: linted, complete, and of the version that the chart asks for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helm.values import CHART
from settings import ROOT
from tests.support.helm.chart import PRODUCTION, pods, render

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], check=False, capture_output=True, text=True)
    assert found.stdout == ""
    assert found.returncode == 0


def test_the_image_holds_every_module_that_the_chart_starts() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    for values in ({}, PRODUCTION):
        for pod in pods(render(values)):
            for container in pod.containers:
                args = container["args"]
                if args[:2] == ["python", "-m"] and args[2] != "prefect.engine":
                    assert args[2].split(".")[0] in copied


@pytest.mark.parametrize("what", ["alembic.ini", "prefect.yaml", "settings.py", "flows", "connectors", "deployments"])
def test_the_context_lets_through_what_is_copied(what: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert f"!{what}" in ignored
    assert re.search(rf"^COPY .*\b{re.escape(what)}\b", DOCKERFILE, re.MULTILINE)


def test_the_image_runs_as_the_user_that_the_chart_says() -> None:
    assert "USER 10001:10001" in DOCKERFILE
    assert DOCKERFILE.count("ENTRYPOINT") == 0


def test_make_image_makes_the_version_that_the_chart_asks_for() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f"IMAGE ?= clinical-ai-prefect:{chart['appVersion']}\n" in (ROOT / "Makefile").read_text()
    assert f"ARG VERSION={chart['appVersion']}\n" in DOCKERFILE
    assert f'version = "{chart["appVersion"]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_lock_of_the_image_has_what_the_chart_needs_of_prefect() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    for package in ("prefect-kubernetes", "prefect-redis"):
        assert re.search(rf"^{package}==", lock, re.MULTILINE), f"add {package} to the production lock"
