"""Checks as they are saved: what is wrong with them is refused in a sentence."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from connectors.refusals import from_pydantic
from connectors.sources import Source
from connectors.sources.checks import checks_of

SOURCES: TypeAdapter[Source] = TypeAdapter(Source)


def source(checks: Any, **more: Any) -> dict[str, Any]:
    """A source of one table with these checks."""
    table = {"name": "Visit List", "primary_key": "id", "checks": checks}
    return {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": [table], **more}


@pytest.mark.parametrize(
    ("checks", "more", "sentence"),
    [
        ({}, {}, "source.tables.0.checks name no check"),
        ({"on_failure": "hold"}, {}, "source.tables.0.checks name no check"),
        ({"min_rows": 0}, {}, "source.tables.0.checks.min_rows must be at least 1."),
        ({"max_drop_percent": 100}, {}, "source.tables.0.checks.max_drop_percent must be less than 100."),
        ({"unique": [[]]}, {}, "source.tables.0.checks.unique must not hold an empty list of columns."),
        ({"unique": 3}, {}, "source.tables.0.checks.unique must be a JSON list."),
        ({"accepted": {"sex": []}}, {}, "source.tables.0.checks.accepted.sex must not be empty."),
        ({"accepted": {"sex": [None]}}, {}, "accepted.sex.0 must be text, a number, true or false."),
        ({"freshness": {"column": "at"}}, {}, "source.tables.0.checks.freshness.max_age is required."),
        ({"min_row": 3}, {}, "source.tables.0.checks.min_row is not a known setting"),
        ({"min_rows": 3, "on_failure": "stop"}, {}, "on_failure must be 'fail', 'hold' or 'warn'."),
        ({"accepted": {"Sex": ["f"]}}, {"mask": ["SEX"]}, "source.mask must not hold a column whose values a check"),
    ],
)
def test_what_is_wrong_is_refused_in_a_sentence(checks: Any, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as raised:
        SOURCES.validate_python(source(checks, **more))
    (refusal,) = from_pydantic(raised.value, "source")
    assert sentence in refusal.message


def test_checks_are_found_by_the_tables_name_as_it_lands() -> None:
    found = checks_of(SOURCES.validate_python(source({"unique": ["mrn", ["site", "no"]], "not_null": "mrn"})))
    assert found["visit_list"].unique == (("mrn",), ("site", "no"))
    assert found["visit_list"].columns == ("mrn", "mrn", "site", "no")


def test_a_source_whose_tables_have_no_settings_has_its_checks_by_table() -> None:
    redcap = {"type": "redcap", "api_url": "https://redcap.example.org/api/", "token": {"env": "CAI_SECRET_REDCAP"}}
    assert checks_of(SOURCES.validate_python({**redcap, "checks": {"record": {"min_rows": 1}}}))["record"].min_rows == 1
    with pytest.raises(ValidationError) as raised:
        SOURCES.validate_python({**redcap, "checks": {"records": {"min_rows": 1}}})
    (refusal,) = from_pydantic(raised.value, "source")
    assert refusal.message == "source.checks.records is none of the tables, which are record, metadata."
