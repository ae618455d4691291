"""Exports that deleted connectors have left at their servers: ended by whichever run comes next.

Only a worker has the secrets that a server wants to see, and a deleted connector has no runs any more. So each run, at
its end, takes one of these if there is one: the same login as before, by the rules that hold for it now. It is tried
again by later runs, for some days; then the export is the server's to forget, as it does by itself. If the process dies
here, another run takes it.
"""

import logging
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.connector import ConnectorRow, InvalidConnectorError, validate_for_load
from connectors.credentials import uses_of
from connectors.sources.fhir import FhirSource
from database import runs
from database.runs import Export, Query
from pipelines.access.credential_rules import rules_of
from pipelines.access.secrets import Secrets
from pipelines.errors import RunError
from settings import Settings

AGAIN_AFTER = 15.0
"""Minutes between two tries."""

GIVEN_UP_AFTER = timedelta(days=7)
"""From the end of the connector."""

logger = logging.getLogger("prefect.pipelines")


def end_left_export(query: Query, settings: Settings) -> None:
    """End one export that a deleted connector has left, if there is one. Never fails the run that does it."""
    try:
        found = runs.left_export(query, AGAIN_AFTER)
        if found is None:
            return
        export, row, left_at = found
        over = _is_ended(query, export, row, settings)
        if over or datetime.now(UTC) - left_at > GIVEN_UP_AFTER:
            runs.forget_export(query, export.id)
            how = "was ended at its server" if over else "could not be ended at its server, which will forget it"
            logger.info("The export that deleted connector %s had left %s.", row.get("id"), how)
    except Exception as error:  # whatever it is, the run's own load stands
        logger.warning("An export of a deleted connector could not be looked at: %s.", type(error).__name__)


def _is_ended(query: Query, export: Export, row: Mapping[str, Any], settings: Settings) -> bool:
    from pipelines.sources import Context  # noqa: PLC0415  # dlt costs seconds: by a run that has one to end
    from pipelines.sources.exports import Exports  # noqa: PLC0415
    from pipelines.sources.fhir import client_of  # noqa: PLC0415
    from pipelines.sources.fhir.bulk.export import Exporting  # noqa: PLC0415

    secrets = Secrets()
    with secrets.guard():
        try:
            columns: dict[str, Any] = {each.name: row.get(each.name) for each in fields(ConnectorRow)}
            connector = validate_for_load(ConnectorRow(**columns))
            if not isinstance(connector.source, FhirSource):
                return True
            secrets.permit(rules_of(query, connector.team, settings), uses_of(row["source"], None))
            client = client_of(connector.source, Context.of(settings, secrets))
            return Exporting(client, Exports(query, connector.id), bool).end(export)
        except (RunError, InvalidConnectorError):
            return False
