"""Rows of views: selections joined, unnested, repeated and united as SQL on FHIR has it."""

from typing import Any

import pytest

from connectors.sources.views.definitions import view_of
from pipelines.errors import ConfigurationError
from pipelines.rows.json_values import dump, parse
from pipelines.sources.fhir.views.evaluating import Runner

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "active": True,
    "birthDate": "1970-06",
    "name": [{"family": "A", "given": ["x", "y"]}, {"family": "B"}],
    "contact": [{"telecom": [{"system": "phone"}, {"system": "email"}]}, {"gender": "other"}],
    "managingOrganization": {"reference": "https://x.org/r4/Organization/o1/_history/2"},
}


def run(resource: dict[str, Any], *select: dict[str, Any], **keys: Any) -> list[dict[str, Any]]:
    given = {"name": "v", "resource": resource["resourceType"], "select": list(select), **keys}
    return Runner(view_of(given)).rows(resource)


def column(name: str, path: str, **keys: Any) -> dict[str, Any]:
    return {"column": [{"name": name, "path": path, **keys}]}


def test_siblings_are_crossed_and_parents_repeated() -> None:
    rows = run(
        PATIENT,
        column("id", "id"),
        {"forEach": "name", **column("family", "family"), "select": [{"forEach": "given", **column("given", "$this")}]},
        {"forEachOrNull": "contact.telecom", **column("system", "system")},
    )
    assert rows == [
        {"id": "p1", "family": "A", "given": given, "system": system}
        for given in ("x", "y")
        for system in ("phone", "email")
    ]


def test_nothing_to_unnest_is_no_row_or_a_row_of_nothing() -> None:
    assert run(PATIENT, column("id", "id"), {"forEach": "address", **column("city", "city")}) == []
    rows = run(PATIENT, column("id", "id"), {"forEachOrNull": "address", **column("city", "city")})
    assert rows == [{"id": "p1", "city": None}]


def test_a_union_puts_rows_below_each_other_and_rows_are_numbered() -> None:
    named = {"column": [{"name": "of", "path": "family | gender"}, {"name": "n", "path": "%rowIndex"}]}
    rows = run(PATIENT, {"unionAll": [{"forEach": "name", **named}, {"forEach": "contact", **named}]})
    assert rows == [{"of": "A", "n": 0}, {"of": "B", "n": 1}, {"of": None, "n": 0}, {"of": "other", "n": 1}]


def test_items_within_items_are_repeated() -> None:
    answers = {
        "resourceType": "QuestionnaireResponse",
        "id": "q",
        "item": [{"linkId": "1", "item": [{"linkId": "1.1", "answer": [{"item": [{"linkId": "1.1.1"}]}]}]}],
    }
    rows = run(answers, {"repeat": ["item", "answer.item"], **column("link", "linkId")})
    assert [row["link"] for row in rows] == ["1", "1.1", "1.1.1"]


def test_keys_of_resources_and_references_are_ids() -> None:
    rows = run(
        PATIENT,
        column("key", "getResourceKey()"),
        column("organization", "managingOrganization.getReferenceKey(Organization)"),
        column("practitioner", "managingOrganization.getReferenceKey(Practitioner)"),
    )
    assert rows == [{"key": "p1", "organization": "o1", "practitioner": None}]


@pytest.mark.parametrize(
    ("path", "holds"), [("active", True), ("active.not()", False), ("gender = 'male'", False), ("id = %me", True)]
)
def test_conditions_leave_resources_out(path: str, holds: bool) -> None:
    constant = [{"name": "me", "valueString": "p1"}]
    assert bool(run(PATIENT, column("id", "id"), where=[{"path": path}], constant=constant)) is holds


def test_dates_are_compared_as_dates() -> None:
    constant = [{"name": "border", "valueDate": "1970-07-01"}]
    assert run(PATIENT, column("old", "birthDate < %border"), constant=constant) == [{"old": True}]


def test_numbers_are_those_that_the_server_wrote() -> None:
    observation = parse(
        b'{"resourceType":"Observation","id":"o","valueQuantity":{"value":1.50},"component":[{"valueInteger":3}]}',
        lambda _: None,
    )
    rows = run(
        observation,
        column("value", "value.ofType(Quantity).value"),
        column("third", "component.value.ofType(integer) / 2"),
        column("all", "value", collection=True),
    )
    assert dump(rows[0]) == b'{"value":1.50,"third":1.5,"all":[{"value":1.50}]}'


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"select": [column("a", "name.family")]}, "finds several values for its column a in one row"),
        ({"select": [column("a", "id")], "where": [{"path": "id"}]}, "neither true nor false"),
        ({"select": [column("a", "name.family.substring(0, 1)")]}, "can't be evaluated for a resource"),
    ],
)
def test_what_a_view_does_not_allow_for_is_said_without_a_value(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as refused:
        Runner(view_of({"name": "v", "resource": "Patient", **keys})).rows(PATIENT)
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None
