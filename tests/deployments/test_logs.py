"""Log lines that people and machines read."""

import json
import logging

import pytest

from deployments.logs import LOGGERS, show_logs


@pytest.fixture(autouse=True)
def _quiet_again() -> object:
    yield
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.NOTSET)
        logger.handlers = [found for found in logger.handlers if found.get_name() != "cai-console"]


def test_a_json_line_has_the_connectors_id_beside_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    show_logs("json")
    show_logs("json")
    logging.getLogger("deployments.reconcile").info("connector 7: pause", extra={"connector_id": 7})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert (line["connector_id"], line["message"], line["level"]) == (7, "connector 7: pause", "INFO")


def test_a_text_line_says_where_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    show_logs("text")
    logging.getLogger("deployments.lease").warning("The lease could not be renewed")
    assert "WARNING deployments.lease: The lease could not be renewed" in capsys.readouterr().err
