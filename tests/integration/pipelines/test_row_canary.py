"""A canary for a patient's name, in every step and destination, failing in every way: it must turn up nowhere."""

import logging
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect.client.schemas.objects import State

from connectors.runs import Options
from flows.dlt_pipeline_flow import run_connector_pipeline
from pipelines.error_causes.classification import as_fault
from pipelines.errors import ConfigurationError, RunError, Step
from pipelines.host import Listeners
from pipelines.load_history import Told
from pipelines.run import run_connector
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR
from tests.support.servers.http_server import Answer, Asked, WebServer
from tests.support.servers.prefect_server import PrefectServer

Sql = Callable[[str], list[tuple[Any, ...]]]
PATIENT = "Quillfeather"
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
ROWS = f"id,name\n1,{PATIENT}\n2,{PATIENT}\n"
TABLE = "CREATE TABLE {}.visit (id bigint, name {}, _dlt_load_id varchar NOT NULL, _dlt_id varchar)"


@dataclass
class Watch:
    """Everything that a run says to somebody."""

    platform: Platform
    caplog: pytest.LogCaptureFixture
    capfd: pytest.CaptureFixture[str]

    def fail(self, connector: int) -> str:
        """Run a connector that must fail, look everywhere for the name, and return the sentence."""
        told: list[Told] = []
        with pytest.raises(RunError) as caught:
            run_connector(connector, Options(), self.platform.settings, listeners=Listeners(tell=told.append))
        with self.platform.connection.cursor() as cursor:
            cursor.execute("SELECT l::text FROM cai_connector_loads l WHERE connector_id = %s", [connector])
            recorded = cursor.fetchall()
        printed = self.capfd.readouterr()
        said = {
            "sentence": repr(caught.value), "event": repr(told), "record": repr(recorded),
            "log": self.caplog.text, "output": printed.out + printed.err,
        }  # fmt: skip
        assert [place for place, text in said.items() if PATIENT.lower() in text.lower()] == []
        assert "does not know why" not in str(caught.value)
        return f"{type(caught.value).__name__}: {caught.value}"


@pytest.fixture
def watch(platform: Platform, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Watch:
    caplog.set_level(logging.DEBUG)
    return Watch(platform, caplog, capfd)


def files(inbox: Path, disposition: str, rows: str = ROWS, **keys: Any) -> dict[str, Any]:
    """Two patients of one name as a connector's source."""
    (inbox / "a.csv").write_text(rows)
    return {
        "type": "files", "url": str(inbox), "glob": "*.csv", "table": "visit", "primary_key": "id",
        "write_disposition": disposition, **keys,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("disposition", "constraint", "words"),
    [
        ("append", f"CONSTRAINT whole CHECK (name <> '{PATIENT}')", "table 'visit' breaks the constraint 'whole'"),
        ("merge", "CONSTRAINT single UNIQUE (name)", "constraint 'single' wants each value once"),
        ("replace", "CONSTRAINT single UNIQUE (name)", "constraint 'single' wants each value once"),
        ("append", "FOREIGN KEY (name) REFERENCES {}.patient", "foreign key 'visit_name_fkey'"),
        ("merge", "other int NOT NULL", "no value in column 'other'"),
    ],
)
def test_a_constraint_of_postgres_tells_no_row(
    watch: Watch, warehouse: Sql, inbox: Path, disposition: str, constraint: str, words: str
) -> None:
    connector = watch.platform.add(files(inbox, disposition), destination=POSTGRES)
    dataset = f"connector_{connector}"
    warehouse(f"CREATE SCHEMA {dataset}")
    warehouse(f"CREATE TABLE {dataset}.patient (name varchar PRIMARY KEY)")
    warehouse(TABLE.format(dataset, "varchar")[:-1] + f", {constraint.format(dataset)})")
    sentence = watch.fail(connector)
    assert words in sentence
    assert sentence.startswith("ConfigurationError")


def test_a_trigger_of_postgres_that_quotes_a_row_tells_none(watch: Watch, warehouse: Sql, inbox: Path) -> None:
    connector = watch.platform.add(files(inbox, "append"), destination=POSTGRES)
    dataset = f"connector_{connector}"
    warehouse(f"CREATE SCHEMA {dataset}")
    warehouse(TABLE.format(dataset, "varchar"))
    warehouse(
        f"CREATE FUNCTION {dataset}.f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'bad %', NEW.name "
        "USING ERRCODE = '23514', CONSTRAINT = NEW.name, TABLE = NEW.name; END$$"
    )
    warehouse(f"CREATE TRIGGER t BEFORE INSERT ON {dataset}.visit FOR EACH ROW EXECUTE FUNCTION {dataset}.f()")
    assert "A row in table 'visit' breaks the constraint of the destination" in watch.fail(connector)


@pytest.mark.parametrize(
    ("disposition", "constraint", "words"),
    [
        ("append", f"CHECK (name <> '{PATIENT}')", "A row in table 'visit' breaks the constraint"),
        ("merge", "UNIQUE (name)", "Two rows in table 'visit' are equal"),
        ("replace", "other int NOT NULL", "no value in column 'other' of table 'visit'"),
    ],
)
def test_a_constraint_of_duckdb_tells_no_row(
    watch: Watch, inbox: Path, disposition: str, constraint: str, words: str
) -> None:
    connector = watch.platform.add(files(inbox, disposition))
    watch.platform.settings.data_dir.mkdir(exist_ok=True)
    with duckdb.connect(str(watch.platform.settings.data_dir / "warehouse.duckdb")) as database:
        database.execute(f"CREATE SCHEMA connector_{connector}")
        database.execute(TABLE.format(f"connector_{connector}", "varchar")[:-1] + f", {constraint})")
    sentence = watch.fail(connector)
    assert words in sentence
    assert sentence.startswith("ConfigurationError")


@pytest.mark.parametrize("disposition", ["merge", "append", "replace"])
def test_a_constraint_of_a_delta_table_tells_no_row(
    watch: Watch, inbox: Path, tmp_path: Path, disposition: str
) -> None:
    deltalake = pytest.importorskip("deltalake")
    source = files(inbox, disposition, "id,name\n3,a\n")
    connector = watch.platform.add(
        source, destination={"type": "filesystem", "url": str(tmp_path / "lake"), "format": "delta"}
    )
    watch.platform.run(connector)
    table = deltalake.DeltaTable(str(tmp_path / "lake" / f"connector_{connector}" / "visit"))
    table.alter.add_constraint({"whole": f"name <> '{PATIENT}'"})
    (inbox / "b.csv").write_text(ROWS)
    sentence = watch.fail(connector)
    assert "A row in table 'visit' breaks the constraint" in sentence
    assert sentence.startswith("ConfigurationError")


def test_a_place_that_files_can_not_be_written_to_is_named(watch: Watch, inbox: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    connector = watch.platform.add(files(inbox, "append"), destination={"type": "filesystem", "url": str(lake)})
    (lake / f"connector_{connector}").write_text("in the way")
    assert "check destination.path or destination.url" in watch.fail(connector)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("name::int", "A value can't be made into the type that is asked for in table 'visit'"),
        ("complain(name)", "words that may quote rows: they are not shown"),
    ],
)
def test_a_view_of_the_source_that_fails_on_a_row_tells_none(watch: Watch, emr: Sql, column: str, words: str) -> None:
    emr("CREATE TABLE patient (id int, name text)")
    emr(f"INSERT INTO patient SELECT i, CASE WHEN i > 5 THEN '{PATIENT}' ELSE '1' END FROM generate_series(1, 10) i")
    emr(
        "CREATE FUNCTION complain(n text) RETURNS text LANGUAGE plpgsql AS $$BEGIN IF n <> '1' THEN "
        "RAISE EXCEPTION 'bad %', n; END IF; RETURN n; END$$"
    )
    emr(f"CREATE VIEW visit AS SELECT id, {column} AS name FROM patient")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}]}
    assert words in watch.fail(watch.platform.add(source))


def test_a_contract_that_a_value_breaks_tells_no_value(watch: Watch, inbox: Path) -> None:
    (inbox / "a.jsonl").write_text('{"n": 1}\n')
    source = {"type": "files", "url": str(inbox), "format": "jsonl", "table": "visit", "schema_contract": "freeze"}
    connector = watch.platform.add(source)
    watch.platform.run(connector)
    (inbox / "b.jsonl").write_text(f'{{"n": "{PATIENT}"}}\n')
    assert "The schema contract is broken by column 'n" in watch.fail(connector)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (Answer({}, status=404), "answered 404 at http://127.0.0.1:{port}/..., to which it had sent us itself"),
        (Answer({"error": PATIENT}, status=400), "answered 400 at http://127.0.0.1:{port}/...: it did not accept"),
        (Answer(f"<html>{PATIENT}</html>".encode()), "The answer of http://127.0.0.1:{port}/... is no JSON"),
        (Answer({"items": [], "next": f"/{PATIENT}?of={PATIENT}"}), "the same next page again and again"),
        (Answer({PATIENT: [], "error": {"message": f"{PATIENT} is missing"}}), "is an error, at 'error'"),
        (Answer({"items": [{"id": PATIENT}], "next": f"http://{PATIENT}:{PATIENT}/"}), "an address that can't be read"),
    ],
)
def test_an_api_that_names_a_patient_in_its_links_and_errors_tells_none(watch: Watch, last: Answer, words: str) -> None:
    def answer(asked: Asked) -> Any:
        if asked.path == "/visits":
            return {"items": [{"id": 1, "name": PATIENT}], "next": f"/of/{PATIENT}?after={PATIENT}"}
        return last

    with WebServer(answer) as web:
        resource = {"name": "visits", "path": "visits", "paginator": {"type": "json_link", "next_url_path": "next"}}
        connector = watch.platform.add({"type": "rest_api", "base_url": web.url, "resources": [resource]})
        assert words.format(port=web.url.rpartition(":")[2]) in watch.fail(connector)


def test_a_list_that_stands_under_a_patients_name_is_not_named(watch: Watch) -> None:
    with WebServer(lambda _: {PATIENT: [{"id": 1}], "total": 1}) as web:
        resource = {"name": "visits", "path": "visits", "data_selector": "items"}
        connector = watch.platform.add({"type": "rest_api", "base_url": web.url, "resources": [resource]})
        assert "data_selector 'items' finds nothing" in watch.fail(connector)


def test_the_first_row_of_a_file_without_a_header_is_not_taken_for_names(watch: Watch, inbox: Path) -> None:
    source = files(inbox, "append", f"1,{PATIENT},1970-01-31\n2,Other,1971-01-31\n")
    sentence = watch.fail(watch.platform.add(source | {"primary_key": []}))
    assert "a.csv has numbers or dates where the names of the columns should be in line 1" in sentence


def test_a_cursor_that_may_be_a_patients_name_is_not_shown(watch: Watch, inbox: Path) -> None:
    with WebServer(lambda _: [{"id": 1, "name": PATIENT}]) as web:
        resource = {
            "name": "visits", "path": "visits", "primary_key": "id",
            "cursor_path": "name", "cursor_param": "after", "cursor_type": "text",
        }  # fmt: skip
        connector = watch.platform.add({"type": "rest_api", "base_url": web.url, "resources": [resource]})
        watch.platform.run(connector)
        again = watch.platform.run(connector)
    assert again.since == {"visits": "a value (not shown)"}
    assert PATIENT not in again.sentence + again.markdown
    assert PATIENT not in watch.caplog.text


def _careless() -> None:
    """A reader that raises its sentence where it handles a driver's error."""
    try:
        int(PATIENT)
    except ValueError:
        raise ConfigurationError("Our sentence.")  # noqa: B904


def test_the_error_behind_ours_tells_no_row() -> None:
    with pytest.raises(ConfigurationError) as caught, as_fault(str, Step.EXTRACT):
        _careless()
    assert PATIENT not in "".join(traceback.format_exception(caught.value))


def test_a_warning_of_a_library_tells_no_row() -> None:
    code = (
        "import warnings; from pipelines.access.secrets import Secrets\n"
        f"with Secrets().guard(): warnings.warn('{PATIENT} is no number')\n"
    )
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert PATIENT not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_patients_name_turns_up_nowhere_in_prefect(
    platform: Platform, prefect_server: PrefectServer, warehouse: Sql, emr: Sql, inbox: Path
) -> None:
    emr("CREATE TABLE patient (id int, name text)")
    emr(f"INSERT INTO patient VALUES (1, '{PATIENT}')")
    emr("CREATE VIEW visit AS SELECT id, name::int AS name FROM patient")
    constrained = platform.add(files(inbox, "append"), destination=POSTGRES, run_policy={"retries": 0})
    warehouse(f"CREATE SCHEMA connector_{constrained}")
    warehouse(TABLE.format(f"connector_{constrained}", "varchar")[:-1] + ", UNIQUE (name))")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}]}
    for connector in (constrained, platform.add(source, run_policy={"retries": 0})):
        state: State[Any] = run_connector_pipeline(connector, return_state=True)
        assert state.is_failed(), state
        assert PATIENT not in str(state.message)
    found = [
        path for path in prefect_server.home.rglob("*") if path.is_file() and PATIENT.encode() in path.read_bytes()
    ]
    assert found == []
