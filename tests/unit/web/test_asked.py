"""A load that is asked for a part: the form's texts as a run's options, each refusal at its field."""

from datetime import UTC, datetime

import pytest

from connectors.connector import InvalidConnectorError
from connectors.runs import Options
from web.asked import Typed, names_of


def test_an_empty_form_asks_for_everything() -> None:
    sent = {"row_limit": " ", "backfill_from": "", "backfill_to": ""}
    assert Typed.of(sent).options("UTC") == Options()


def test_moments_are_on_the_connectors_own_clock() -> None:
    sent = {"table.1": "visit", "row_limit": "10", "backfill_from": "2026-01-31T06:00", "full_refresh": "on"}
    begin = datetime(2026, 1, 31, 5, tzinfo=UTC)
    assert Typed.of(sent).options("Europe/Berlin") == Options(True, ("visit",), 10, begin, None)


def test_what_cannot_be_read_is_refused_at_its_field() -> None:
    typed = Typed.of({"row_limit": "ten", "backfill_from": "yesterday", "backfill_to": "2026-13-01"})
    with pytest.raises(InvalidConnectorError) as refused:
        typed.options("UTC")
    assert [each.pointer for each in refused.value.refusals] == ["/row_limit", "/backfill_from", "/backfill_to"]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ({"type": "sql_database", "tables": [{"name": "visit"}, {"name": "lab"}]}, ["visit", "lab"]),
        ({"type": "rest_api", "resources": [{"name": "visits"}]}, ["visits"]),
        ({"type": "fhir", "resource_types": ["Patient"]}, ["Patient"]),
        ({"type": "files", "url": "/data"}, []),
        ([1], []),
    ],
)
def test_names_that_can_be_ticked(source: object, names: list[str]) -> None:
    assert names_of(source) == names
