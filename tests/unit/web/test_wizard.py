"""Steps of the wizard: nothing said in one is lost when another is filled in again."""

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
    assert _taken(Step.TABLES, ticked, {"offered": "1", "item.0": "visit"}).source.get("schema_contract") is None
    assert written.source["schema_contract"] == ticked.source["schema_contract"] == "freeze"


def test_a_profile_is_chosen_with_the_tables_and_rules_of_its_own_stay() -> None:
    rules = {"rules": [{"names": ["note"], "method": "drop"}]}
    draft = Draft({"type": "sql_database", "tables": [{"name": "visit"}], "protect": rules})
    sent = {"offered": "1", "item.0": "visit", "source.protect.profile": "safe_harbor"}
    chosen = _taken(Step.TABLES, draft, sent)
    assert chosen.source["protect"] == {**rules, "profile": "safe_harbor"}
    assert chosen.profile == "safe_harbor"
    assert _taken(Step.LOGIN, chosen, {}).source["protect"] == chosen.source["protect"], "an address says nothing of it"
    assert _taken(Step.TABLES, chosen, {**sent, "source.protect.profile": ""}).source["protect"] == rules
    plain = _taken(Step.TABLES, Draft({"type": "files"}), {"source.table": "labs", "source.protect.profile": ""})
    assert "protect" not in plain.source
