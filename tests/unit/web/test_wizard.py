"""What a step of the wizard says is not lost when another step is filled in again."""

from web.draft import Draft, Step
from web.pages.wizard import _taken


def test_what_is_to_be_loaded_stays_when_the_address_is_corrected() -> None:
    resources = [{"name": "visits", "path": "visits"}]
    draft = Draft({"type": "rest_api", "base_url": "https://old.example.org", "resources": resources, "mask": ["name"]})
    corrected = _taken(Step.LOGIN, draft, {"source.base_url": "https://new.example.org"})
    assert corrected.source == {
        "type": "rest_api",
        "base_url": "https://new.example.org",
        "resources": resources,
        "mask": ["name"],
    }


def test_what_is_to_be_loaded_is_filled_in_where_the_source_cannot_be_asked() -> None:
    draft = Draft({"type": "sql_database", "credentials": {"secret": "x"}})
    written = _taken(Step.TABLES, draft, {"source.tables.0.name": "visit", "source.schema_contract": "freeze"})
    assert written.source["tables"] == [{"name": "visit"}]
    ticked = _taken(Step.TABLES, draft, {"offered": "1", "item.0": "visit", "source.schema_contract": "freeze"})
    assert ticked.source["tables"] == [{"name": "visit"}]
    assert written.source["schema_contract"] == ticked.source["schema_contract"] == "freeze"
