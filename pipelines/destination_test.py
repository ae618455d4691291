"""Testing a destination before anything is saved: can a load write there?

Nothing of a load is left behind, and no load is disturbed. PostgreSQL says what the login may do; a DuckDB file, which
only one process may have open, is judged by the rights on it; everywhere else an empty dataset of a name of its own is
made and taken away again. If the process dies in between, that one is left, empty: `cai_probe_` and twelve digits.
"""

import os
import secrets as random
import tempfile
from pathlib import Path

import psycopg2  # type: ignore[import-untyped]
from pydantic import TypeAdapter

from connectors.connector import ConnectorRow
from connectors.credentials import uses_of
from connectors.destinations import Destination
from connectors.destinations.duckdb import DuckdbDestination
from connectors.destinations.postgres import PostgresDestination
from pipelines.access import tunnels
from pipelines.access.credential_rules import rules_of_test
from pipelines.access.denied_hosts import DeniedHosts
from pipelines.access.secrets import Secrets
from pipelines.error_causes.classification import as_fault
from pipelines.errors import ConfigurationError, RunError, Step
from settings import Settings

PROBE = "cai_probe_"


def writable(row: ConnectorRow, settings: Settings) -> tuple[bool, str]:
    """Whether a load of this row, saved or not, could write where it would; and the same as a sentence.

    Never raises for what is wrong with the destination.
    """
    secrets = Secrets()
    with secrets.guard():
        try:
            with tunnels.kept(), as_fault(secrets.redact, Step.LOAD):
                secrets.permit(rules_of_test(row, settings), uses_of(None, row.destination))
                _try(row, secrets, settings)
        except psycopg2.Error:
            return False, "The platform's database does not answer, so nobody knows which credentials it may use."
        except RunError as error:
            return False, secrets.redact(str(error))
    return True, "The destination can be written."


def _try(row: ConnectorRow, secrets: Secrets, settings: Settings) -> None:
    """Return when it can be written. Raises `RunError`, or whatever a driver does."""
    # dlt costs seconds, which importing this module must not.
    from pipelines.loading.destinations import address_of, open_target  # noqa: PLC0415

    named = row.destination is not None
    said = row.destination if named else settings.destination
    destination: Destination = TypeAdapter(Destination).validate_python(said)
    dataset = row.dataset_name or (f"connector_{row.id}" if row.id else f"{PROBE}{random.token_hex(6)}")
    if isinstance(destination, DuckdbDestination):
        _hold_below(destination, settings, named=named)
        _file(settings.data_dir / destination.path)
        return
    denied = DeniedHosts.of(settings) if named else None
    target = open_target(  # of PostgreSQL it asks for the login's rights on the dataset
        destination,
        row.id,
        secrets,
        settings.data_dir,
        roots=tuple(settings.local_destination_roots) if named else None,
        dataset=dataset,
        denied=denied,
    )
    if isinstance(destination, PostgresDestination):
        _not_read_only(address_of(destination, secrets, settings.data_dir, denied or DeniedHosts()))
        return
    import dlt  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        name = f"{PROBE}{random.token_hex(6)}"
        pipeline = dlt.pipeline(name, pipelines_dir=directory, destination=target.destination, dataset_name=name)
        with pipeline.destination_client() as client:
            client.initialize_storage()
            client.drop_storage()


def _hold_below(destination: Destination, settings: Settings, *, named: bool) -> None:
    from pipelines.loading.destinations import hold_below  # noqa: PLC0415

    if named:
        hold_below(destination, (settings.data_dir, *settings.local_destination_roots))


def _file(path: Path) -> None:
    """Return when a file can be made or written there. Raises `ConfigurationError`."""
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    if place == path and path.is_dir():
        raise ConfigurationError("destination.path is a directory: name a file in it, such as warehouse.duckdb.")
    if not os.access(place, os.W_OK) or (place != path and not place.is_dir()):
        raise ConfigurationError(
            "destination.path can't be written by the user that loads run as: name another place, or have operations "
            "give that user the right to write there."
        )


def _not_read_only(url: str) -> None:
    """Return when the server takes writes: a standby has all rights and takes none. Raises `ConfigurationError`."""
    connection = psycopg2.connect(url, connect_timeout=10)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean")
            (only,) = cursor.fetchone()
    finally:
        connection.close()
    if only:
        raise ConfigurationError(
            "The destination takes no writes: its address leads to a standby, or to a database that is read-only. "
            "Name the address of the primary."
        )
