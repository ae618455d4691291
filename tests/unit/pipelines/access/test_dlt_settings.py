"""Settings of dlt, and where a run finds them."""

from collections.abc import Iterator
from pathlib import Path

import dlt
import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from pipelines.access.dlt_settings import use_environment_alone


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Path]:
    """A working directory in which somebody has left settings of dlt."""
    settings = tmp_path / ".dlt"
    settings.mkdir()
    (settings / "config.toml").write_text('[schema]\nnaming = "direct"\n')
    (settings / "secrets.toml").write_text('[destination.duckdb]\ncredentials = "elsewhere.duckdb"\n')
    context = Container()[PluggableRunContext]
    before = context.context.run_dir
    context.reload(str(tmp_path))
    yield tmp_path
    context.reload(before)
    use_environment_alone()


@pytest.mark.usefixtures("worker")
def test_no_file_on_a_worker_changes_what_a_connector_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dlt.config.get("schema.naming") == "direct"
    use_environment_alone()
    assert dlt.config.get("schema.naming") is None
    assert dlt.secrets.get("destination.duckdb.credentials") is None
    monkeypatch.setenv("SCHEMA__NAMING", "sql_ci_v1")
    assert dlt.config.get("schema.naming") == "sql_ci_v1"
