"""Elements of FHIR resources that are about one person, with their types, and those that may tell who it is. Pure.

Source: the R4 and R5 definitions of Patient, Person, Practitioner and RelatedPerson. Of other types a
CapabilityStatement says no elements, and most of theirs are codes, numbers and references.
"""

from collections.abc import Mapping

from connectors.discovery import Column

_IDENTIFYING = frozenset({"Identifier", "HumanName", "ContactPoint", "Address", "Attachment", "Narrative"})
"""Types whose values tell who somebody is, or may."""

_IN_PERSON = frozenset({"birthDate", "deceasedDateTime", "contact"})
"""Elements of other types that do."""

_ALIKE = {
    "id": "id",
    "meta": "Meta",
    "text": "Narrative",
    "identifier": "Identifier",
    "active": "boolean",
    "name": "HumanName",
    "telecom": "ContactPoint",
    "gender": "code",
    "birthDate": "date",
    "address": "Address",
    "photo": "Attachment",
}

_ELEMENTS: Mapping[str, Mapping[str, str]] = {
    "Patient": {
        **_ALIKE,
        "deceasedBoolean": "boolean",
        "deceasedDateTime": "dateTime",
        "maritalStatus": "CodeableConcept",
        "multipleBirthBoolean": "boolean",
        "multipleBirthInteger": "integer",
        "contact": "BackboneElement",
        "communication": "BackboneElement",
        "generalPractitioner": "Reference",
        "managingOrganization": "Reference",
        "link": "BackboneElement",
    },
    "Person": {**_ALIKE, "managingOrganization": "Reference", "link": "BackboneElement"},
    "Practitioner": {**_ALIKE, "qualification": "BackboneElement", "communication": "CodeableConcept"},
    "RelatedPerson": {
        **_ALIKE,
        "patient": "Reference",
        "relationship": "CodeableConcept",
        "period": "Period",
        "communication": "BackboneElement",
    },
}


def columns_of(resource_type: str) -> tuple[Column, ...]:
    """The elements of a resource type that is about a person; none of others."""
    return tuple(
        Column(name, kind, name != "id", kind in _IDENTIFYING or name in _IN_PERSON)
        for name, kind in _ELEMENTS.get(resource_type, {}).items()
    )
