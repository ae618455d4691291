"""FHIR resources in the shipped profiles: of each type what lands, and in which form. Pure.

What is not written here does not land: no narrative, note, extension, contained resource, attachment, identifier, name,
telecom, free text or display of a reference.
"""

from collections.abc import Mapping

from connectors.sources.protection.methods import Method
from connectors.sources.protection.rules import Rule, Treatment

_CODE = ("{0}.coding.system", "{0}.coding.version", "{0}.coding.code", "{0}.coding.display")
_QUANTITY = ("{0}.value", "{0}.comparator", "{0}.unit", "{0}.system", "{0}.code")
_VALUE = (
    "code:valueCodeableConcept", "quantity:valueQuantity", "quantity:valueRange.low", "quantity:valueRange.high",
    "quantity:valueRatio.numerator", "quantity:valueRatio.denominator", "valueBoolean", "valueInteger",
    "date:valueDateTime", "period:valuePeriod",
)  # fmt: skip
_DOSE = (
    "dosage.sequence", "dosage.asNeededBoolean", "code:dosage.route", "code:dosage.site", "code:dosage.method",
    "dosage.timing.repeat.frequency", "dosage.timing.repeat.period", "dosage.timing.repeat.periodUnit",
    "code:dosage.timing.code", "quantity:dosage.doseAndRate.doseQuantity", "quantity:dosage.doseAndRate.rateQuantity",
)  # fmt: skip
_EVERY = ("id:id", "resourceType", "date:meta.lastUpdated", "meta.profile", "implicitRules", "language")
_ORDER = tuple(path.replace("dosage", "dosageInstruction") for path in _DOSE)

RESOURCES: Mapping[str, tuple[str, ...]] = {
    "Patient": (
        "gender", "active", "deceasedBoolean", "date:deceasedDateTime", "born:birthDate", "code:maritalStatus",
        "multipleBirthBoolean", "address.country", "address.state", "place:address.city", "place:address.district",
        "zip:address.postalCode", "ref:managingOrganization", "ref:generalPractitioner", "ref:link.other",
    ),
    "Encounter": (
        "status", "code:class", "class.system", "class.code", "class.display", "code:type", "code:serviceType",
        "code:priority", "ref:subject", "period:period", "period:actualPeriod", "quantity:length", "code:reasonCode",
        "ref:diagnosis.condition", "code:diagnosis.use", "diagnosis.rank", "code:hospitalization.admitSource",
        "code:hospitalization.dischargeDisposition", "ref:serviceProvider", "ref:partOf", "ref:participant.individual",
        "code:participant.type", "period:participant.period", "ref:location.location", "period:location.period",
        "ref:appointment", "statusHistory.status", "period:statusHistory.period",
    ),
    "Condition": (
        "code:clinicalStatus", "code:verificationStatus", "code:category", "code:severity", "code:code",
        "code:bodySite", "ref:subject", "ref:encounter", "date:onsetDateTime", "period:onsetPeriod", "age:onsetAge",
        "date:abatementDateTime", "period:abatementPeriod", "age:abatementAge", "date:recordedDate", "ref:recorder",
        "ref:asserter", "code:stage.summary",
    ),
    "Observation": (
        "status", "code:category", "code:code", "ref:subject", "ref:encounter", "date:effectiveDateTime",
        "date:effectiveInstant", "period:effectivePeriod", "date:issued", "ref:performer", *_VALUE,
        "code:dataAbsentReason", "code:interpretation", "code:bodySite", "code:method", "ref:specimen", "ref:device",
        "quantity:referenceRange.low", "quantity:referenceRange.high", "code:referenceRange.type",
        "code:component.code", *(f"in component:{each}" for each in _VALUE), "code:component.dataAbsentReason",
        "code:component.interpretation", "ref:hasMember", "ref:derivedFrom", "ref:basedOn",
    ),
    "Procedure": (
        "status", "code:statusReason", "code:category", "code:code", "ref:subject", "ref:encounter",
        "date:performedDateTime", "period:performedPeriod", "date:occurrenceDateTime", "period:occurrencePeriod",
        "age:performedAge", "date:recorded", "ref:performer.actor", "code:performer.function", "ref:location",
        "code:reasonCode", "ref:reasonReference", "code:bodySite", "code:outcome", "code:complication", "ref:basedOn",
    ),
    "MedicationRequest": (
        "status", "code:statusReason", "intent", "code:category", "priority", "doNotPerform",
        "code:medicationCodeableConcept", "ref:medicationReference", "code:medication.concept",
        "ref:medication.reference", "ref:subject", "ref:encounter", "date:authoredOn", "ref:requester",
        "code:reasonCode", "ref:reasonReference", *_ORDER, "dispenseRequest.numberOfRepeatsAllowed",
        "quantity:dispenseRequest.quantity", "quantity:dispenseRequest.expectedSupplyDuration",
        "period:dispenseRequest.validityPeriod",
    ),
    "MedicationStatement": (
        "status", "code:category", "code:medicationCodeableConcept", "ref:medicationReference",
        "code:medication.concept", "ref:medication.reference", "ref:subject", "ref:context", "ref:encounter",
        "date:effectiveDateTime", "period:effectivePeriod", "date:dateAsserted", "code:reasonCode", *_DOSE,
    ),
    "MedicationAdministration": (
        "status", "code:category", "code:medicationCodeableConcept", "ref:medicationReference", "ref:subject",
        "ref:context", "ref:encounter", "date:effectiveDateTime", "period:effectivePeriod", "date:occurenceDateTime",
        "period:occurencePeriod", "ref:performer.actor", "code:reasonCode", "ref:request", "code:dosage.route",
        "code:dosage.site", "code:dosage.method", "quantity:dosage.dose", "quantity:dosage.rateQuantity",
    ),
    "MedicationDispense": (
        "status", "code:category", "code:medicationCodeableConcept", "ref:medicationReference", "ref:subject",
        "ref:context", "ref:encounter", "code:type", "quantity:quantity", "quantity:daysSupply", "date:whenPrepared",
        "date:whenHandedOver", "ref:authorizingPrescription", *_ORDER,
    ),
    "Medication": (
        "code:code", "status", "code:form", "code:doseForm", "code:ingredient.itemCodeableConcept",
        "quantity:ingredient.strength.numerator", "quantity:ingredient.strength.denominator",
    ),
    "Immunization": (
        "status", "code:statusReason", "code:vaccineCode", "ref:patient", "ref:encounter", "date:occurrenceDateTime",
        "date:recorded", "primarySource", "code:site", "code:route", "quantity:doseQuantity", "ref:performer.actor",
        "code:reasonCode", "protocolApplied.doseNumberPositiveInt", "code:protocolApplied.targetDisease",
    ),
    "AllergyIntolerance": (
        "code:clinicalStatus", "code:verificationStatus", "type", "category", "criticality", "code:code", "code:type",
        "ref:patient", "ref:encounter", "date:onsetDateTime", "age:onsetAge", "date:recordedDate",
        "date:lastOccurrence", "code:reaction.substance", "code:reaction.manifestation", "reaction.severity",
        "date:reaction.onset", "code:reaction.exposureRoute",
    ),
    "DiagnosticReport": (
        "status", "code:category", "code:code", "ref:subject", "ref:encounter", "date:effectiveDateTime",
        "period:effectivePeriod", "date:issued", "ref:performer", "ref:resultsInterpreter", "ref:specimen",
        "ref:result", "code:conclusionCode", "ref:basedOn",
    ),
    "ServiceRequest": (
        "status", "intent", "code:category", "priority", "doNotPerform", "code:code", "ref:subject", "ref:encounter",
        "date:occurrenceDateTime", "period:occurrencePeriod", "date:authoredOn", "ref:requester", "code:performerType",
        "code:reasonCode", "ref:reasonReference", "code:bodySite",
    ),
    "Specimen": (
        "status", "code:type", "ref:subject", "date:receivedTime", "date:collection.collectedDateTime",
        "period:collection.collectedPeriod", "code:collection.method", "code:collection.bodySite",
        "quantity:collection.quantity",
    ),
    "CarePlan": (
        "status", "intent", "code:category", "ref:subject", "ref:encounter", "period:period", "date:created",
        "ref:addresses", "ref:goal", "code:activity.detail.code", "activity.detail.status",
    ),
    "CareTeam": ("status", "code:category", "ref:subject", "ref:encounter", "period:period", "code:participant.role"),
    "Goal": (
        "lifecycleStatus", "code:achievementStatus", "code:category", "code:priority", "ref:subject",
        "date:startDate", "date:statusDate", "code:target.measure", "quantity:target.detailQuantity",
        "date:target.dueDate", "ref:addresses",
    ),
    "Coverage": ("status", "code:type", "code:relationship", "ref:beneficiary", "period:period", "order"),
    "Claim": (
        "status", "code:type", "code:subType", "use", "ref:patient", "period:billablePeriod", "date:created",
        "code:priority", "diagnosis.sequence", "code:diagnosis.diagnosisCodeableConcept", "procedure.sequence",
        "code:procedure.procedureCodeableConcept", "date:procedure.date", "item.sequence",
        "code:item.productOrService", "date:item.servicedDate", "period:item.servicedPeriod", "item.net.value",
        "item.net.currency", "ref:item.encounter", "total.value", "total.currency",
    ),
    "ExplanationOfBenefit": (
        "status", "code:type", "code:subType", "use", "ref:patient", "period:billablePeriod", "date:created",
        "outcome", "diagnosis.sequence", "code:diagnosis.diagnosisCodeableConcept", "code:diagnosis.type",
        "procedure.sequence", "code:procedure.procedureCodeableConcept", "date:procedure.date", "item.sequence",
        "code:item.productOrService", "date:item.servicedDate", "period:item.servicedPeriod", "item.net.value",
        "item.net.currency", "code:total.category", "total.amount.value", "total.amount.currency",
    ),
    "Organization": ("active", "code:type", "address.country", "address.state"),
    "Practitioner": ("active", "gender", "code:qualification.code"),
    "PractitionerRole": ("active", "ref:practitioner", "ref:organization", "code:code", "code:specialty"),
    "Location": ("status", "mode", "code:type", "code:physicalType", "address.country", "address.state"),
}  # fmt: skip
"""Paths by resource type; before a colon what stands there, where that is no plain value."""


def treatment(
    *, dates: Method | None, born: Method | None, places: bool, postal: Method | None, ids: Method | None
) -> Treatment:
    """The rules for FHIR of a profile: what becomes of each sort of value, None for nothing, and whether towns land."""
    of_sort = {
        "date": dates, "born": born, "zip": postal, "place": None, "id": ids,
        "ref": Method.HASH_REFERENCE if ids is not None else None, "age": Method.AGE_CAP,
    }  # fmt: skip
    keep: dict[str, tuple[str, ...]] = {}
    treated: dict[tuple[Method, str], list[str]] = {}
    for resource, written in RESOURCES.items():
        kept: dict[str, None] = {}
        for each in (*_EVERY, *written):
            for sort, path in _paths(each):
                if sort == "place" and not places:
                    continue
                kept[path] = None
                method = of_sort.get(sort)
                if method is not None:
                    treated.setdefault((method, path), []).append(resource)
        keep[resource] = tuple(kept)
    rules = tuple(
        Rule(path=path, method=method, tables=tuple(resources)) for (method, path), resources in treated.items()
    )
    return Treatment(rules=rules, keep=keep)


def _paths(written: str) -> list[tuple[str, str]]:
    """The paths that an entry stands for, each with its sort."""
    within = ""
    if written.startswith("in "):
        outer, _, written = written[3:].partition(":")
        within = f"{outer}."
    sort, _, path = written.rpartition(":")
    path = f"{within}{path}"
    match sort:
        case "code":
            return [("", each.format(path)) for each in _CODE]
        case "quantity":
            return [("", each.format(path)) for each in _QUANTITY]
        case "age":
            return [("age", f"{path}.value"), *(("", each.format(path)) for each in _QUANTITY[1:])]
        case "period":
            return [("date", f"{path}.start"), ("date", f"{path}.end")]
        case "ref":
            return [("ref", f"{path}.reference"), ("", f"{path}.type")]
    return [(sort, path)]
