"""ViewDefinitions that come with the platform: of the common types a flat row a resource, and a row a coding. Pure.

Written as any other is, so that one can be copied and changed; a connector's own of the same name takes its place.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from connectors.sources.views.definitions import View, view_of
from connectors.sources.write_rules import snake_case

_CODE = (("code", "code"), ("system", "system"), ("display", "display"))
"""Of a coding: the ends of columns, and its elements."""


def _column(name: str, path: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "path": path, "type": kind}


def _coded(name: str, path: str) -> list[dict[str, Any]]:
    """The first coding of a CodeableConcept, and its text."""
    first = f"{path}.coding.first()"
    named = [_column(name if end == "code" else f"{name}_{end}", f"{first}.{element}") for end, element in _CODE]
    return [*named, _column(f"{name}_text", f"{path}.text.first()")]


def _refers(name: str, path: str, kind: str) -> dict[str, Any]:
    return _column(f"{name}_id", f"{path}.getReferenceKey({kind}).first()", "id")


def _when(name: str, element: str) -> list[dict[str, Any]]:
    """A moment or a period of an element that may be either."""
    return [
        _column(f"{name}_date_time", f"{element}.ofType(dateTime)", "dateTime"),
        _column(f"{name}_start", f"{element}.ofType(Period).start", "dateTime"),
        _column(f"{name}_end", f"{element}.ofType(Period).end", "dateTime"),
    ]


def _quantity(name: str, path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "path": f"{path}.value"},
        _column(f"{name}_comparator", f"{path}.comparator"),
        _column(f"{name}_unit", f"{path}.unit"),
        _column(f"{name}_code", f"{path}.code"),
    ]


_SUBJECT = [_refers("patient", "subject", "Patient"), _refers("encounter", "encounter", "Encounter")]

_FLAT: Mapping[str, Sequence[dict[str, Any]]] = {
    "Patient": [
        _column("gender", "gender"),
        _column("birth_date", "birthDate", "date"),
        _column("active", "active", "boolean"),
        _column("deceased", "deceased.ofType(boolean)", "boolean"),
        _column("deceased_date_time", "deceased.ofType(dateTime)", "dateTime"),
        _column("family", "name.where(use = 'official' or use.empty()).first().family"),
        _column("given", "name.where(use = 'official' or use.empty()).first().given.join(' ')"),
        _column("country", "address.first().country"),
        _column("state", "address.first().state"),
        _column("city", "address.first().city"),
        _column("postal_code", "address.first().postalCode"),
        *_coded("marital_status", "maritalStatus"),
        _refers("organization", "managingOrganization", "Organization"),
    ],
    "Encounter": [
        _column("status", "status"),
        _column("class_code", "class.code.first()"),
        *_coded("type", "type.first()"),
        _refers("patient", "subject", "Patient"),
        _column("period_start", "period.start", "dateTime"),
        _column("period_end", "period.end", "dateTime"),
        *_coded("reason", "reasonCode.first()"),
        _refers("organization", "serviceProvider", "Organization"),
        _refers("part_of", "partOf", "Encounter"),
    ],
    "Condition": [
        *_coded("code", "code"),
        _column("clinical_status", "clinicalStatus.coding.first().code"),
        _column("verification_status", "verificationStatus.coding.first().code"),
        _column("category", "category.first().coding.first().code"),
        *_coded("severity", "severity"),
        *_SUBJECT,
        *_when("onset", "onset"),
        *_when("abatement", "abatement"),
        _column("recorded_date", "recordedDate", "dateTime"),
    ],
    "Observation": [
        _column("status", "status"),
        _column("category", "category.first().coding.first().code"),
        *_coded("code", "code"),
        *_SUBJECT,
        *_when("effective", "effective"),
        _column("issued", "issued", "instant"),
        *_quantity("value_quantity", "value.ofType(Quantity)"),
        *_coded("value_code", "value.ofType(CodeableConcept)"),
        _column("value_string", "value.ofType(string)"),
        _column("value_boolean", "value.ofType(boolean)", "boolean"),
        _column("value_integer", "value.ofType(integer)", "integer"),
        _column("value_date_time", "value.ofType(dateTime)", "dateTime"),
        *_coded("absent_reason", "dataAbsentReason"),
        *_coded("interpretation", "interpretation.first()"),
        _refers("specimen", "specimen", "Specimen"),
    ],
    "Procedure": [
        _column("status", "status"),
        *_coded("code", "code"),
        *_SUBJECT,
        *_when("performed", "performed"),
        *_coded("reason", "reasonCode.first()"),
        *_coded("outcome", "outcome"),
    ],
    "MedicationRequest": [
        _column("status", "status"),
        _column("intent", "intent"),
        *_coded("medication", "medication.ofType(CodeableConcept)"),
        _refers("medication", "medication.ofType(Reference)", "Medication"),
        *_SUBJECT,
        _column("authored_on", "authoredOn", "dateTime"),
        _refers("requester", "requester", "Practitioner"),
        *_coded("reason", "reasonCode.first()"),
    ],
    "Immunization": [
        _column("status", "status"),
        *_coded("vaccine", "vaccineCode"),
        _refers("patient", "patient", "Patient"),
        _refers("encounter", "encounter", "Encounter"),
        _column("occurrence_date_time", "occurrence.ofType(dateTime)", "dateTime"),
        *_quantity("dose", "doseQuantity"),
    ],
    "AllergyIntolerance": [
        *_coded("code", "code"),
        _column("clinical_status", "clinicalStatus.coding.first().code"),
        _column("verification_status", "verificationStatus.coding.first().code"),
        _column("criticality", "criticality"),
        _refers("patient", "patient", "Patient"),
        *_when("onset", "onset"),
        _column("recorded_date", "recordedDate", "dateTime"),
    ],
    "DiagnosticReport": [
        _column("status", "status"),
        *_coded("code", "code"),
        *_SUBJECT,
        *_when("effective", "effective"),
        _column("issued", "issued", "instant"),
    ],
}
"""Columns of a row a resource, by type."""

_CODINGS: Mapping[str, str] = {
    "Encounter": "type.coding",
    "Condition": "code.coding",
    "Observation": "code.coding",
    "Procedure": "code.coding",
    "MedicationRequest": "medication.ofType(CodeableConcept).coding",
    "Immunization": "vaccineCode.coding",
    "AllergyIntolerance": "code.coding",
    "DiagnosticReport": "code.coding",
}
"""The codings of what a resource is about, by type."""


def definitions(kind: str) -> list[dict[str, Any]]:
    """The ViewDefinitions of a type; none for one that is not common."""
    of_id = {"column": [_column("id", "getResourceKey()", "id")]}
    common = {"resourceType": "ViewDefinition", "status": "active", "resource": kind}
    name, found = snake_case(kind), list[dict[str, Any]]()
    if kind in _FLAT:
        found.append({**common, "name": f"{name}_flat", "select": [of_id, {"column": [*_FLAT[kind]]}]})
    if kind in _CODINGS:
        columns = [_column(each, each) for each in ("system", "version", "code", "display")]
        select = [of_id, {"forEach": _CODINGS[kind], "column": columns}]
        found.append({**common, "name": f"{name}_codings", "select": select})
    return found


@cache
def _of(kind: str) -> tuple[View, ...]:
    return tuple(map(view_of, definitions(kind)))


def shipped(kinds: Sequence[str]) -> tuple[View, ...]:
    """The views that come with the platform, of these types."""
    return tuple(view for kind in kinds for view in _of(kind))
