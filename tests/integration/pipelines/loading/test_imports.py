"""Imports of a run: each that it does not need costs it seconds and memory."""

import subprocess
import sys

from settings import ROOT

OF_OTHERS = ("sqlalchemy", "lxml", "joserfc", "cryptography", "pyarrow.dataset", "pipelines.sources.files")
"""What other kinds of sources need: together some 45 MB."""


def test_a_load_imports_nothing_that_only_other_kinds_need() -> None:
    look = "import sys, pipelines.loading.pipeline, pipelines.sources.redcap; print(sorted(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [name for name in OF_OTHERS if f"'{name}'" in answer.stdout] == []
