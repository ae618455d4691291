"""The data dictionary under protection: nothing in it quotes a value of a field that is hidden."""

from pipelines.sources.redcap.described import without_values

FIELDS = [
    {"field_name": "name", "field_type": "text", "field_annotation": "@DEFAULT='canary'", "field_label": "Name"},
    {"field_name": "born", "field_type": "text", "text_validation_min": "canary", "text_validation_max": "canary"},
    {"field_name": "race", "field_type": "checkbox", "select_choices_or_calculations": "1, canary | 2, Other"},
    {"field_name": "a", "field_type": "text", "branching_logic": "[name] = 'canary' or [sex] = '1'"},
    {"field_name": "b", "field_type": "calc", "select_choices_or_calculations": 'if(contains([name], "canary"), 1, 0)'},
    {"field_name": "c", "field_type": "text", "field_annotation": "@CALCTEXT(if([week_1][race(1)] = 1, 'x', 'y'))"},
    {"field_name": "d", "field_type": "calc", "select_choices_or_calculations": "datediff([born], 'today', 'y')"},
    {"field_name": "sex", "field_type": "radio", "select_choices_or_calculations": "1, f | 2, m"},
    {"field_name": "e", "field_type": "text", "branching_logic": "[sex] = '1'"},
    {"element": "without a name"},
]


def test_choices_bounds_defaults_and_comparisons_of_a_hidden_field_are_left_out() -> None:
    found = without_values(FIELDS, lambda field: field.name not in {"name", "born", "race"})
    assert [list(row) for row in found] == [list(row) for row in FIELDS], "the columns stay"
    assert "canary" not in str(found)
    changed = [row.get("field_name") for row, before in zip(found, FIELDS, strict=True) if row != before]
    assert changed == ["name", "born", "race", "a", "b", "c"], "what quotes nothing stays"
    assert without_values(FIELDS, lambda _: True) == FIELDS
