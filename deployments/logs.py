"""The controller's log: one line an action, each with its connector's id, as text or as JSON.

The lines go to the console and, through Prefect's own handler, to the page of the run in which they are written; a
quiet cycle writes none.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Literal

LOGGERS = ("connectors", "deployments", "flows")
"""Our packages; `PREFECT_LOGGING_EXTRA_LOGGERS` names them too, which is what sends their lines to a run's page."""


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the connector where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (connector_id := getattr(record, "connector_id", None)) is not None:
            line["connector_id"] = connector_id
        if record.exc_info is not None:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def show_logs(form: Literal["text", "json"]) -> None:
    """Write our packages' lines from INFO on to the console, once however often this is called."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    handler.set_name("cai-console")
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        for old in [found for found in logger.handlers if found.get_name() == handler.get_name()]:
            logger.removeHandler(old)
        logger.addHandler(handler)
