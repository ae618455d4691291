"""Platform of the data plane's tests: connectors as rows, a clinic's database, and a run without Prefect."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg2  # type: ignore[import-untyped]
import pytest

from connectors.runs import Options
from local.clinic import fill
from local.embedded_postgres import EmbeddedPostgres
from pipelines.host import Listeners, PlainHost
from pipelines.load_history import nobody
from pipelines.loading.summary import Summary
from pipelines.run import Skipped, run_connector
from settings import Settings

Sql = Callable[[str], list[tuple[Any, ...]]]


@dataclass
class Platform:
    """The connectors' table and a data directory, as a worker sees them."""

    settings: Settings
    connection: Any

    def add(self, source: dict[str, Any], **columns: Any) -> int:
        """Insert a connector as a back end does, and return its id."""
        values = {"name": f"c{source['type']}", "source": source, **columns}
        names = ", ".join(values)
        marks = ", ".join(["%s"] * len(values))
        packed = [json.dumps(value) if isinstance(value, dict) else value for value in values.values()]
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM cai_connectors")
            packed[0] = f"{packed[0]}-{cursor.fetchone()[0]}"
            cursor.execute(f"INSERT INTO cai_connectors ({names}) VALUES ({marks}) RETURNING id", packed)
            return int(cursor.fetchone()[0])

    def run(self, connector_id: int, **options: Any) -> Summary:
        """Run a connector, which must load; beside its options what its host knows (`due`, ...), and `tell`."""
        host = PlainHost(**{name: options.pop(name) for name in ("due", "run_id", "actor") if name in options})
        listeners = Listeners(options.pop("tell", nobody))
        outcome = run_connector(connector_id, Options(**options), self.settings, host, listeners)
        assert isinstance(outcome, Summary), outcome
        return outcome

    def skip(self, connector_id: int) -> str:
        """Run a connector, which must have nothing to do, and return why."""
        outcome = run_connector(connector_id, Options(), self.settings)
        assert isinstance(outcome, Skipped), outcome
        return outcome.message

    def duck(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the default warehouse."""
        with duckdb.connect(str(self.settings.data_dir / "warehouse.duckdb"), read_only=True) as warehouse:
            return warehouse.execute(query).fetchall()


@pytest.fixture
def platform(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """A platform of this test's own."""
    monkeypatch.delenv("CAI_DEFAULT_DESTINATION", raising=False)
    monkeypatch.setenv("CAI_DATABASE_URL", database_url)
    monkeypatch.setenv("CAI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CAI_LOCAL_DESTINATION_ROOTS", str(tmp_path))
    monkeypatch.setenv("CAI_LOCAL_FILE_ROOTS", str(tmp_path))
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    yield Platform(Settings(), connection)
    connection.close()


@pytest.fixture
def inbox(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that connectors may read."""
    directory = tmp_path / "inbox"
    directory.mkdir()
    monkeypatch.setenv("CAI_LOCAL_FILE_ROOTS", str(directory))
    platform.settings = Settings()
    # Each file of a test has just been written, and each load would wait for the second look at it.
    monkeypatch.setattr("pipelines.sources.files.reading.LOOK_SECONDS", 0.05)
    return directory


@pytest.fixture(scope="session")
def clinic_url(postgres: EmbeddedPostgres) -> str:
    """A clinic's database with the OMOP sample in it: read it, don't write it."""
    url = postgres.create_database("clinic")
    fill(url)
    return url


@pytest.fixture
def clinic(clinic_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The reference to the clinic's address."""
    monkeypatch.setenv("CAI_SECRET_CLINIC", clinic_url)
    return {"env": "CAI_SECRET_CLINIC"}


@pytest.fixture
def emr(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sql]:
    """A source database that tests write, behind `{"env": "CAI_SECRET_EMR"}`: call it with SQL."""
    yield from _database(postgres, monkeypatch, "CAI_SECRET_EMR")


@pytest.fixture
def warehouse(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sql]:
    """A PostgreSQL destination behind `{"env": "CAI_SECRET_WAREHOUSE"}`: call it with SQL."""
    yield from _database(postgres, monkeypatch, "CAI_SECRET_WAREHOUSE")


def _database(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, variable: str) -> Iterator[Sql]:
    url = postgres.create_database(f"{variable.lower()}_{next(_NUMBERS)}")
    monkeypatch.setenv(variable, url)
    connection = psycopg2.connect(url)
    connection.autocommit = True

    def execute(statement: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    yield execute
    connection.close()


_NUMBERS = iter(range(1, 10_000))
