"""Logs of the controller and the REST API: one line an action, each with its connector's id, as text or as JSON.

One form for all that a process writes, Prefect's lines and the web server's too, so that whoever collects them needs
one parser. The controller's lines also go, through Prefect's own handler, to the page of the run in which they are
written. A quiet cycle writes none.
"""

import json
import logging
from datetime import UTC, datetime

LOGGERS = ("api", "connectors", "database", "deployments", "flows", "prefect_api", "use_cases")
"""Our packages; `PREFECT_LOGGING_EXTRA_LOGGERS` names them too, which is what sends their lines to a run's page."""

FIELDS = ("connector_id", "method", "route", "status", "seconds")
"""What a line may have beside its message, where it has a meaning."""

CONSOLE = "cai-console"


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
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def show_logs(*, as_json: bool, also: tuple[str, ...] = ()) -> None:
    """Write the lines of our packages and of `also` from INFO on to the console, and all others from WARNING on.

    Prefect's own console gives way to it. Once, however often this is called.
    """
    logging.captureWarnings(True)  # a library's are lines too
    named = (*LOGGERS, *also)
    for name in named:
        _show(logging.getLogger(name), _console(as_json=as_json), logging.INFO)
    others = _console(as_json=as_json)
    # What has a console of its own is passed on to the root too.
    others.addFilter(lambda record: record.name.partition(".")[0] not in named)
    _show(logging.getLogger(), others, logging.WARNING)


def _console(*, as_json: bool) -> logging.Handler:
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if as_json else text)
    handler.set_name(CONSOLE)
    return handler


def _show(logger: logging.Logger, console: logging.Handler, level: int) -> None:
    """Make `console` the only one of a logger's; handlers that write elsewhere stay."""
    for old in list(logger.handlers):
        if old.get_name() == CONSOLE or type(old).__name__ == "PrefectConsoleHandler":
            logger.removeHandler(old)
    logger.addHandler(console)
    logger.setLevel(level)
