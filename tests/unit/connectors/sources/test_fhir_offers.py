"""Requests of a connector beside the offers of a FHIR server's CapabilityStatement."""

from typing import Any

import pytest

from connectors.sources.fhir import FhirSource
from connectors.sources.fhir_offers import Capability, Level, unoffered

SEARCHES = {"Patient": frozenset({"name"}), "Observation": frozenset({"code", "patient"}), "Location": frozenset({"x"})}
OFFERED = Capability({**SEARCHES, "Basic": frozenset()})


def source(*types: str, **keys: Any) -> FhirSource:
    return FhirSource.model_validate(
        {"type": "fhir", "base_url": "https://x.org/r4", "resource_types": types or ("Patient",), **keys}
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (source("Patient", "Observation", "Basic"), ""),
        (source("Patient", "Coverage", "Goal"), "does not offer the search of Coverage and Goal"),
        (source("Coverage", mode="bulk"), ""),
        (source("Observation", mode="bulk", type_filters=["Observation?code:in=x&_lastUpdated=1"]), ""),
        (source("Observation", mode="bulk", type_filters=["Observation?status=x"]), "Observation by status, which"),
        (source("Basic", mode="bulk", type_filters=["Basic?status=x"]), ""),
        (source(patients={"search": {"organization.name": "1"}}), "asks for Patient by organization, which"),
        (source(patients={"search": {"name:exact": "1", "_id": "2"}}), ""),
        (source("Location", patients={"list": ["1"]}), "offers no search of Location by patient"),
    ],
)
def test_what_is_not_offered_is_said(asked: FhirSource, words: str) -> None:
    said = " ".join(refusal.message for refusal in unoffered(asked, OFFERED))
    assert words in said
    assert bool(said) is bool(words)


def test_a_server_that_names_no_search_or_may_export_is_asked() -> None:
    assert not list(unoffered(source("Goal"), Capability()))
    assert not list(unoffered(source("Goal", mode="auto"), Capability(SEARCHES, frozenset({Level.SYSTEM}))))
