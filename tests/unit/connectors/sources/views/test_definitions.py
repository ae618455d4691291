"""ViewDefinitions: what is valid, and the sentences for what is not."""

from dataclasses import fields
from typing import Any

import pytest

from connectors.connector import ConnectorRow, InvalidConnectorError, validate
from connectors.sources.fhir import FhirSource
from connectors.sources.views.shipped import definitions, shipped

ID = {"name": "id", "path": "id"}


def view(**keys: Any) -> dict[str, Any]:
    return {"name": "mine", "resource": "Patient", "select": [{"column": [ID]}], **keys}


def row(*views: dict[str, Any], destination: dict[str, Any] | None = None, **keys: Any) -> ConnectorRow:
    source = {"type": "fhir", "base_url": "https://x.org/r4", "resource_types": ["Patient"], **keys}
    if views:
        source["view_definitions"] = list(views)
    columns: dict[str, Any] = dict.fromkeys(field.name for field in fields(ConnectorRow))
    given = {"id": 1, "name": "c", "timezone": "UTC", "is_active": True, "run_policy": {}, "generation": 1}
    return ConnectorRow(**{**columns, **given, "source": source, "destination": destination})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (view(name=None), "needs letters, digits and underscores as name, the first a letter"),
        (view(name="_mine"), "needs letters, digits and underscores as name"),
        (view(resource=None), "needs resource, the FHIR type that its rows are made of"),
        (view(select=[]), "needs select with at least one column"),
        (view(select=[{"forEach": "name"}]), "has no column in select[0]"),
        (view(selects=[]), "has 'selects', which no ViewDefinition has: correct the spelling"),
        (view(select=[{"column": [ID], "forEech": "name"}]), "has 'forEech' in select[0]"),
        (view(select=[{"column": [ID], "forEach": "a", "repeat": ["b"]}]), "has forEach and repeat in select[0]"),
        (view(select=[{"column": [ID], "forEach": "@@"}]), "has no FHIRPath that can be run as select[0].forEach"),
        (view(select=[{"column": [ID], "forEach": 1}]), "needs a FHIRPath expression as select[0].forEach"),
        (
            view(select=[{"column": [{"name": "a", "path": "name.where("}]}]),
            "select[0].column[0].path: at character 12",
        ),
        (view(select=[{"column": [{"name": "a", "path": "name family"}]}]), "before 'family', it can't be read"),
        (view(select=[{"column": [{"name": "a", "path": "nme.frist()"}]}]), "there is no function frist()"),
        (view(select=[{"column": [{"name": "a", "path": "name.first(1)"}]}]), "first() takes 0 and was given 1"),
        (view(select=[{"column": [ID, {"name": "Id", "path": "id"}]}]), "has column Id twice"),
        (
            view(select=[{"unionAll": [{"column": [ID]}, {"column": [{"name": "x", "path": "id"}]}]}]),
            "unites other columns than each other in select[0].unionAll",
        ),
        (view(where=[{"path": "id = %nobody"}]), "uses %nobody, and has no constant of that name"),
        (view(constant=[{"name": "c"}]), "needs one value in constant[0], such as valueString"),
        (view(constant=[{"name": "c", "valueDate": "tomorrow"}]), "constant[0].valueDate"),
        (view(resource="Observation"), "(mine) is of Observation, which resource_types has not: add it there"),
        (view(name="patient"), "(patient) would land in a table that there is already"),
    ],
)
def test_an_invalid_view_is_refused_in_a_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidConnectorError) as refused:
        validate(row(given))
    assert words in str(refused.value)
    assert "source.view_definitions" in str(refused.value)


def test_views_that_a_connector_can_have_are_tables_of_it() -> None:
    given = view(url="http://x.org/view", status="active", constant=[{"name": "from", "valueDate": "2024-01-01"}])
    source = validate(row(given, views="sql-on-fhir")).source
    assert isinstance(source, FhirSource)
    assert list(source.landings()) == ["Patient", "patient_flat", "mine"]


def test_a_view_of_the_same_name_takes_the_place_of_a_shipped_one() -> None:
    source = validate(row(view(name="patient_flat"), views="sql-on-fhir")).source
    assert isinstance(source, FhirSource)
    assert [len(each.columns()) for each in source.all_views] == [1]


def test_a_column_named_as_a_masked_element_must_be_that_element() -> None:
    plain = view(select=[{"column": [{"name": "gender", "path": "gender"}]}])
    validate(row(plain, mask=["gender"]))
    other = view(select=[{"column": [{"name": "gender", "path": "name.first().family"}]}])
    with pytest.raises(InvalidConnectorError, match="has a column gender, which mask names, made of something else"):
        validate(row(other, mask=["gender"]))


def test_views_want_a_destination_that_replaces_rows() -> None:
    with pytest.raises(InvalidConnectorError, match="views work in DuckDB and PostgreSQL only"):
        validate(row(view(), destination={"type": "filesystem", "url": "s3://a/b"}))


def test_views_of_types_that_none_is_shipped_of_are_refused() -> None:
    with pytest.raises(InvalidConnectorError, match="has no view of any of resource_types"):
        validate(row(resource_types=["Substance"], views="sql-on-fhir"))


def test_what_is_shipped_is_valid() -> None:
    kinds: tuple[str, ...] = (
        "Patient",
        "Encounter",
        "Condition",
        "Observation",
        "Procedure",
        "MedicationRequest",
        "Immunization",
    )
    kinds += ("AllergyIntolerance", "DiagnosticReport")
    assert len(shipped(kinds)) == 17
    assert definitions("Substance") == []
