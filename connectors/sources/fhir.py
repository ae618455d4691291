"""The source `fhir`: resource types of a FHIR server, a table each. Pure."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from connectors.sources.checks import SourceWithChecks
from connectors.sources.http import BaseUrl, FhirLogin, MoreHeaders
from connectors.sources.secret_references import Name, refused
from connectors.sources.write_rules import ColumnTypes, Landing, Some, distinct


def _fhir_type(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Za-z]+", value):
        raise refused("{field} must be a FHIR resource type, such as 'Patient' or 'MedicationRequest'.")
    return value


def _instant(value: str) -> str:
    if not re.fullmatch(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?", value):
        raise refused("{field} must be a date, such as '2024-01-01' or '2024-01-01T00:00:00Z'.")
    return value


class FhirSource(SourceWithChecks):
    """A FHIR R4 or R5 server: search pages of each resource type, newest changes by `_lastUpdated`."""

    type: Literal["fhir"]
    base_url: BaseUrl
    resource_types: Annotated[
        Some[Annotated[Name, AfterValidator(_fhir_type)]], Field(description="What is searched for, a table each.")
    ] = (
        "Patient",
        "Encounter",
        "Condition",
        "Observation",
        "Procedure",
        "MedicationRequest",
    )
    auth: FhirLogin = None
    headers: MoreHeaders = Field(default_factory=dict)
    page_size: Annotated[int, Field(ge=1, le=10_000, description="Resources that are asked for at once.")] = 200
    since: Annotated[
        Annotated[Name, AfterValidator(_instant)] | None,
        Field(description="Only what has changed since, such as `2024-01-01`. null: everything."),
    ] = None
    lag: Annotated[
        Annotated[float, Field(ge=0, allow_inf_nan=False)] | None,
        Field(
            description="Seconds before the newest `lastUpdated` from which a run reads again, for what the server "
            "commits late. null: 300."
        ),
    ] = None
    history: Annotated[
        bool,
        Field(
            description="Whether each version of a resource is kept, in the table `{table}__history` beside the table: "
            "with `valid_from` and `valid_to`, the moments at which it came and went."
        ),
    ] = False
    types: ColumnTypes

    @model_validator(mode="after")
    def _types_are_distinct(self) -> Self:
        distinct(self.resource_types, "resource_types", "")
        return self

    def landings(self) -> dict[str, Landing | None]:
        return dict.fromkeys(self.resource_types)

    def histories(self) -> tuple[str, ...]:
        return self.resource_types if self.history else ()
