"""Environment of the processes of a local installation, and of another terminal that joins in."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from settings import Settings

ZONES = {"PYTHONTZPATH": ""}
"""Time zones come from the package tzdata alone. Prefect lists all zones for each schedule that it reads or writes, and
looks for them in every file below the system's directories: of its server's work for a listing that was four fifths."""

_QUIET = {
    "DO_NOT_TRACK": "1",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}

_RUNS_KEPT_DAYS = 30


def joining(settings: Settings, prefect_port: int, database_url: str, clinic_url: str | None) -> dict[str, str]:
    """The variables of ``{CAI_DATA_DIR}/env``: with them another terminal speaks to this installation."""
    variables = {
        "CAI_DATABASE_URL": database_url,
        "CAI_DATA_DIR": str(settings.data_dir),
        "CAI_CODE_PATH": str(settings.code_path),
        "CAI_API_URL": f"http://127.0.0.1:{settings.api_port}",
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect_port}/api",
        "PREFECT_HOME": str(settings.data_dir / "prefect"),
        **_QUIET,
    }
    if clinic_url is not None:
        variables["CAI_CLINIC_DATABASE_URL"] = clinic_url
    return variables


def prefect_server(settings: Settings, prefect_port: int) -> dict[str, str]:
    """The settings of the Prefect server: everything that it keeps is below CAI_DATA_DIR."""
    home = settings.data_dir / "prefect"
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect_port}/api",
        "PREFECT_UI_API_URL": f"http://127.0.0.1:{prefect_port}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(prefect_port),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        # SQLite takes one writer: waiting for it is better than a 503.
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        # In memory, a restart of the server would end every running load.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # Off by default: runs would stay for ever. Longer than the week that missed runs are made up for
        # (deployments.reconciling.missed_runs), or what was removed would look as if it had been missed.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(_RUNS_KEPT_DAYS * 86_400),
        **ZONES,
        **_QUIET,
    }


def write_env_file(path: Path, variables: Mapping[str, str]) -> None:
    """Writes ``KEY=value`` lines that a shell can source, readable by their owner alone, all at once."""
    fresh = path.with_name("env.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))
    fresh.rename(path)
