"""`run_connector_pipeline` under a real Prefect server: states, tasks, retries, parameters, import cost."""

import contextvars
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from flows.dlt_pipeline_flow import run_connector_pipeline
from pipelines.connector_lock import Locks, connector_key
from settings import ROOT
from tests.support.data_plane.listening import listening
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR, omop

pytestmark = pytest.mark.usefixtures("prefect_server")


def run(connector_id: int, **parameters: Any) -> State[Any]:
    """The final state of a run."""
    state: State[Any] = run_connector_pipeline(connector_id, return_state=True, **parameters)
    return state


def tasks_of(state: State[Any]) -> dict[str, tuple[str, int]]:
    """The tasks of the run that ended in this state: name to (state, count of tries)."""
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            answer = client.request(
                "POST",
                "/task_runs/filter",
                json={"flow_runs": {"id": {"any_": [str(state.state_details.flow_run_id)]}}},
            )
            found = {item["name"]: (item["state_name"], item["run_count"]) for item in answer.json()}
            if len(found) == 3 or (found and all(name in {"Completed", "Failed"} for name, _ in found.values())):
                return found
            time.sleep(0.1)  # task runs reach the server as events, a moment later
    return {}


def test_a_run_shows_its_three_steps_and_says_what_it_loaded(
    platform: Platform, clinic: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.loading.progress.EVERY_SECONDS", 0.0)  # as of one that takes a while
    connector = platform.add(omop(clinic, "person"))
    state = run(connector)
    assert (state.name, state.message) == (
        "Completed",
        f"Loaded 2,694 rows into duckdb dataset connector_{connector}: person 2,694.",
    )
    with get_client(sync_client=True) as client:
        run_id = str(state.state_details.flow_run_id)
        body = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
        made = {item["type"]: item for item in client.request("POST", "/artifacts/filter", json=body).json()}
    assert set(made) == {"progress", "markdown"}
    assert made["markdown"]["key"] == f"connector-{connector}-load"
    assert "| person | 2,694 |" in made["markdown"]["data"]
    assert tasks_of(state) == dict.fromkeys(("extract", "normalize", "load"), ("Completed", 1))


def test_a_run_without_work_is_completed_as_skipped(platform: Platform) -> None:
    state = run(4711)
    assert state.is_completed()
    assert state.name == "Skipped"
    assert state.message is not None
    assert state.message == "Connector 4711 was deleted: nothing was loaded."


def test_an_invalid_connector_fails_with_one_sentence(platform: Platform) -> None:
    connector = platform.add({"type": "rest_api", "base_url": "http://emr"})
    state = run(connector)
    assert (state.is_failed(), state.message) == (True, "source.resources is required.")


def test_a_bad_login_is_not_tried_again(platform: Platform, clinic_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user, _, host = clinic_url.partition("@")
    monkeypatch.setenv("CAI_SECRET_CLINIC", user.rpartition(":")[0] + ":canary-4711@" + host)
    connector = platform.add(omop({"env": "CAI_SECRET_CLINIC"}, "person"), run_policy={"retry_delay_seconds": 0})
    state = run(connector)
    assert state.message == (
        "The source did not accept the login: check source.credentials and the secret it refers to."
    )
    assert tasks_of(state) == {"extract": ("Failed", 1)}


def test_a_source_that_is_away_is_tried_as_often_as_the_policy_says(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAI_SECRET_CLINIC", "postgresql://u:p@127.0.0.1:1/clinic")
    policy = {"retries": 2, "retry_delay_seconds": 0}
    connector = platform.add(omop({"env": "CAI_SECRET_CLINIC"}, "person"), run_policy=policy)
    state = run(connector)
    assert state.is_failed()
    assert state.message is not None
    assert "could not be reached" in state.message
    assert tasks_of(state) == {"extract": ("Failed", 3)}


def test_a_second_run_is_skipped_or_waits_as_overlap_says(
    platform: Platform, clinic: dict[str, str], database_url: str
) -> None:
    skip = platform.add(omop(clinic, "person"), run_policy={"overlap": "skip"})
    queue = platform.add(omop(clinic, "person"))
    with Locks.open(database_url) as other:
        assert other.take(connector_key(skip))
        assert run(skip).name == "Skipped"
        ended: list[State[Any]] = []
        assert other.take(connector_key(queue))
        # The server's address is a setting of the context, which a thread does not inherit.
        context = contextvars.copy_context()
        waiting = threading.Thread(target=lambda: ended.append(context.run(run, queue)))
        with listening() as lines:
            waiting.start()
            lines.wait_for("Waiting for the run before")
        assert not ended
    waiting.join(60)
    assert [state.name for state in ended] == ["Completed"]


def test_a_duckdb_file_that_another_program_has_open_is_waited_for(platform: Platform, clinic: dict[str, str]) -> None:
    path = platform.settings.data_dir / "warehouse.duckdb"
    path.parent.mkdir(parents=True)
    code = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    connector = platform.add(omop(clinic, "person"), run_policy={"retries": 5, "retry_delay_seconds": 1})
    release = threading.Timer(3, holder.communicate)
    release.start()
    state = run(connector)
    release.join()
    assert state.is_completed(), state.message
    assert tasks_of(state)["extract"][1] > 1


def test_a_run_that_takes_too_long_is_ended(platform: Platform, emr: Callable[[str], list[tuple[Any, ...]]]) -> None:
    emr("CREATE VIEW slow AS SELECT i, pg_sleep(0.2)::text FROM generate_series(1, 1000000) i")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "slow"}]}
    state = run(platform.add(source, run_policy={"timeout_seconds": 3}))
    assert (state.name, state.type.value) == ("TimedOut", "FAILED")


def test_the_parameters_make_a_form_with_help() -> None:
    properties = run_connector_pipeline.parameters.properties
    assert list(properties) == [
        "connector_id", "full_refresh", "tables", "row_limit", "backfill_from", "backfill_to",
        "allow_mass_delete", "reconcile", "ignore_quiet_hours",
    ]  # fmt: skip
    assert run_connector_pipeline.parameters.required == ["connector_id"]
    assert all(properties[name].get("description") for name in properties)


def test_importing_the_flow_brings_nothing_heavy_along() -> None:
    code = "import json, sys; import flows.dlt_pipeline_flow; print(json.dumps([*sys.modules]))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"dlt", "pyarrow", "duckdb"}.isdisjoint(json.loads(answer.stdout))


def test_a_run_that_loads_nothing_imports_neither_dlt_nor_the_controllers_drivers() -> None:
    code = "import json, sys; import pipelines.run; print(json.dumps([*sys.modules]))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"dlt", "pyarrow", "duckdb", "prefect", "sqlalchemy", "asyncpg"}.isdisjoint(json.loads(answer.stdout))
