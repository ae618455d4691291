"""Acts of other people on our database and our Prefect, as public reports have it: rough, and within their rights."""

import contextlib
import random
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import psycopg2  # type: ignore[import-untyped]
import psycopg2.errors  # type: ignore[import-untyped]

from prefect_api.names import FLOW_NAME

CONSTRAINT = "back_end_has_its_own_ideas"


class BackEnd:
    """A back end on the connectors' table. It gives up where it locked or constrained a row itself."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._holder: Any = None
        self.locked: set[int] = set()

    def lock(self, connector_id: int) -> None:
        """Keep a row locked in a transaction that stays open."""
        if self._holder is None:
            self._holder = psycopg2.connect(self._url)
        with self._holder.cursor() as cursor:
            cursor.execute("SELECT 1 FROM cai_connectors WHERE id = %s FOR UPDATE", (connector_id,))
        self.locked.add(connector_id)

    def let_go(self) -> None:
        """End that transaction."""
        if self._holder is not None:
            self._holder.close()
            self._holder = None
        self.locked.clear()

    def _execute(self, statement: str, *values: Any) -> None:
        connection = psycopg2.connect(self._url)
        try:
            refused = contextlib.suppress(psycopg2.errors.LockNotAvailable, psycopg2.errors.CheckViolation)
            with connection, connection.cursor() as cursor, refused:
                cursor.execute("SET LOCAL lock_timeout = '200ms'")
                cursor.execute(statement, values or None)
        finally:
            connection.close()

    def write_without_triggers(self, connector_id: int, schedule: str | None) -> None:
        """Change a schedule as a replica or a restore does: no trigger counts or tells it."""
        self._execute(
            "SET LOCAL session_replication_role = replica; UPDATE cai_connectors SET schedule = %s WHERE id = %s",
            schedule,
            connector_id,
        )

    def write_generation(self, connector_id: int, generation: int) -> None:
        """Write the counter that is ours."""
        self._execute("UPDATE cai_connectors SET generation = %s WHERE id = %s", generation, connector_id)

    def constrain(self) -> None:
        """Forbid the one column that the controller writes."""
        self.release_constraint()
        self._execute(
            f"ALTER TABLE cai_connectors ADD CONSTRAINT {CONSTRAINT} CHECK (prefect_deployment_id IS NULL) NOT VALID"
        )

    def release_constraint(self) -> None:
        """Allow it again."""
        self._execute(f"ALTER TABLE cai_connectors DROP CONSTRAINT IF EXISTS {CONSTRAINT}")

    def truncate(self) -> None:
        """Empty the table, which fires no trigger of a row."""
        self._execute("TRUNCATE cai_connectors")

    def close(self) -> None:
        """Give back all that it holds."""
        self.let_go()
        self.release_constraint()


class Operator:
    """Whoever runs the Prefect server: backups of its SQLite database, pools, workers that die."""

    TABLES = ("concurrency_limit_v2", "deployment", "deployment_schedule")

    def __init__(self, api: httpx.Client, database: Path) -> None:
        self._api = api
        self._database = database
        self._backup: dict[str, list[tuple[Any, ...]]] | None = None

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._database, timeout=30)
        database.execute("PRAGMA foreign_keys = OFF")
        return database

    def back_up(self) -> None:
        """Remember the deployments as they are."""
        with contextlib.closing(self._connect()) as database:
            self._backup = {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in self.TABLES}

    def restore(self) -> None:
        """Put back the deployments of the last backup, under the ids of then; without a backup nothing happens."""
        if self._backup is None:
            return
        with contextlib.closing(self._connect()) as database, database:
            for name in self.TABLES:
                database.execute(f"DELETE FROM {name}")
                for row in self._backup[name]:
                    database.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)

    def foreign_names(self, tag: str) -> list[str]:
        """The names of our flow's deployments that carry a tag."""
        body = {"flows": {"name": {"any_": [FLOW_NAME]}}, "deployments": {"tags": {"all_": [tag]}}, "limit": 200}
        return [row["name"] for row in self._api.post("/deployments/filter", json=body).json()]

    def pool(self, name: str, *, there: bool) -> None:
        """Make a work pool, or delete it."""
        if there:
            self._api.post("/work_pools/", json={"name": name, "type": "process"})
        else:
            self._api.delete(f"/work_pools/{name}")

    def claim_and_die(self, pick: random.Random, tag: str) -> None:
        """A worker claims a run of one of our deployments, which takes its slot, and is never heard of again."""
        body = {"flows": {"name": {"any_": [FLOW_NAME]}}, "deployments": {"tags": {"all_": [tag]}}, "limit": 200}
        if held := self._api.post("/deployments/filter", json=body).json():
            path = f"/deployments/{pick.choice(held)['id']}/create_flow_run"
            made = self._api.post(path, json={"parameters": {"connector_id": 1}})
            if made.is_success:
                self._api.post(f"/flow_runs/{made.json()['id']}/set_state", json={"state": {"type": "PENDING"}})
