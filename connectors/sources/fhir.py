"""The source `fhir`: resource types of a FHIR server, a table each. Pure."""

import re
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from connectors.limits.closed_sets import ClosedSet
from connectors.sources.checks import SourceWithChecks
from connectors.sources.deletes import Deletes
from connectors.sources.http import BaseUrl, FhirLogin, MoreHeaders
from connectors.sources.secret_references import Name, Strict, refused
from connectors.sources.views.definitions import View, view_of
from connectors.sources.views.rules import refuse_views
from connectors.sources.views.shipped import shipped
from connectors.sources.write_rules import ColumnTypes, Landing, Some, distinct


class Mode(ClosedSet):
    """How a server is asked for its resources."""

    SEARCH = "search"
    BULK = "bulk"
    AUTO = "auto"


class ExportLevel(ClosedSet):
    """What an export without a group is of."""

    SYSTEM = "system"
    PATIENT = "patient"


class ViewKind(ClosedSet):
    """What views of resources are written in."""

    SQL_ON_FHIR = "sql-on-fhir"


def _view_definition(value: dict[str, Any]) -> dict[str, Any]:
    view_of(value)
    return value


def _fhir_type(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Za-z]+", value):
        raise refused("{field} must be a FHIR resource type, such as 'Patient' or 'MedicationRequest'.")
    return value


def _instant(value: str) -> str:
    if not re.fullmatch(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?", value):
        raise refused("{field} must be a date, such as '2024-01-01' or '2024-01-01T00:00:00Z'.")
    return value


def _id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", value):
        raise refused("{field} must be the id of a FHIR resource: up to 64 letters, digits, '-' and '.'.")
    return value


def _type_filter(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Za-z]+\?[^\s?#]+=[^\s#]*", value):
        raise refused("{field} must be a search of one type, such as 'MedicationRequest?status=active'.")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.\-]*[A-Za-z0-9])?(:\d{1,5})?", value):
        raise refused("{field} must be the name of a host, such as 'files.example.org' or 'files.example.org:8443'.")
    return value.lower()


class Patients(Strict):
    """The patients whose resources are searched, one by one."""

    group: Annotated[
        Annotated[Name, AfterValidator(_id)] | None, Field(description="The members of a Group, by its id.")
    ] = None
    list: Annotated[
        tuple[Annotated[Name, AfterValidator(_id)], ...], Field(description="The ids of the patients themselves.")
    ] = ()
    search: Annotated[
        dict[Name, Name], Field(description="Those that a search of Patient finds, by its parameters.")
    ] = Field(default_factory=dict)
    at_once: Annotated[int, Field(ge=1, le=16, description="Patients whose resources are asked for at once.")] = 4

    @model_validator(mode="after")
    def _is_one_of_three(self) -> Self:
        if sum(map(bool, (self.group, self.list, self.search))) != 1:
            raise refused("{field} must have one of group, list and search.")
        return self


class FhirSource(SourceWithChecks):
    """A FHIR R4 or R5 server: the search of each resource type, or a Bulk Data export of all of them."""

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
    mode: Annotated[
        Mode,
        Field(
            description="`search` asks for each type page by page, `bulk` has the server export all of them (HL7's "
            "Bulk Data Access), `auto` does that where the server's CapabilityStatement offers it."
        ),
    ] = Mode.SEARCH
    group: Annotated[
        Annotated[Name, AfterValidator(_id)] | None,
        Field(description="Of an export: the id of the Group whose patients are wanted. null: all that the login may."),
    ] = None
    export_level: Annotated[
        ExportLevel | None,
        Field(
            description="Of an export without a group: the whole `system`, or all that belongs to a `patient`. null: "
            "the former where the server offers it."
        ),
    ] = None
    type_filters: Annotated[
        tuple[Annotated[Name, AfterValidator(_type_filter)], ...],
        Field(description="Of an export: searches that narrow types down, such as `MedicationRequest?status=active`."),
    ] = ()
    deletes: Annotated[
        Deletes,
        Field(
            description="What happens to resources that an export, or the history of a type (`_history`) where it is "
            "searched, says were deleted: `remove` deletes their rows, `mark` puts the moment into their column "
            "`_deleted_at`, `ignore` leaves them."
        ),
    ] = Deletes.IGNORE
    check_complete: Annotated[
        bool,
        Field(description="Whether numbers that the server states (`total`, `count`) are compared with what came."),
    ] = True
    patients: Annotated[
        Patients | None,
        Field(
            description="Whose resources are searched, patient by patient, for servers that take no other search. "
            "null: each type is searched as a whole."
        ),
    ] = None
    overlap: Annotated[
        Annotated[float, Field(ge=0, allow_inf_nan=False)] | None,
        Field(
            description="Of a search by patient, where the server can't tell what was updated: the days before the "
            "last load of which everything is read again, by its date. null: all is read each time."
        ),
    ] = None
    next_hosts: Annotated[
        tuple[Annotated[Name, AfterValidator(_host)], ...],
        Field(
            description="Other hosts of the same server, to which its links may lead and the login goes too, such as "
            "`files.example.org`."
        ),
    ] = ()
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
    views: Annotated[
        ViewKind | None,
        Field(
            description="`sql-on-fhir` lands flat tables beside those of the resources, with codes, references and "
            "values of any type in columns of their own: `observation_flat`, `observation_codings` and the like. null: "
            "none but those of view_definitions."
        ),
    ] = None
    view_definitions: Annotated[
        tuple[Annotated[dict[str, Any], AfterValidator(_view_definition)], ...],
        Field(description="Views of your own, a table each: ViewDefinitions of HL7's SQL on FHIR 2, as JSON."),
    ] = ()
    types: ColumnTypes

    @model_validator(mode="after")
    def _views_are_of_its_types(self) -> Self:
        refuse_views(self.own_views, self.resource_types, self.mask)
        if self.views is not None and not shipped(self.resource_types):
            raise refused(
                "{field} has no view of any of resource_types: leave it out, or write view_definitions.", "views"
            )
        return self

    @cached_property
    def own_views(self) -> tuple[View, ...]:
        """The views of the connector's own."""
        return tuple(map(view_of, self.view_definitions))

    @property
    def all_views(self) -> tuple[View, ...]:
        """The views that land, each as a table of its name. One of the connector's own goes before a shipped one."""
        own = {view.name: view for view in self.own_views}
        ready = shipped(self.resource_types) if self.views is not None else ()
        return (*(view for view in ready if view.name not in own), *own.values())

    @model_validator(mode="after")
    def _types_are_distinct(self) -> Self:
        distinct(self.resource_types, "resource_types", "")
        return self

    @model_validator(mode="after")
    def _exports_alone_take(self) -> Self:
        given = {
            "group": self.group,
            "export_level": self.export_level,
            "type_filters": self.type_filters,
        }
        for name in (name for name, value in given.items() if value):
            if self.mode is Mode.SEARCH:
                raise refused("{field} is of an export: set mode to bulk or auto, or leave it out.", name)
        if self.patients is not None and self.deletes is not Deletes.IGNORE:
            raise refused("{field} can't be used with patients: what is gone of a patient nobody says.", "deletes")
        if self.patients is not None and self.mode is not Mode.SEARCH:
            raise refused("{field} are of a search: set mode to search, or use group.", "patients")
        if self.overlap is not None and self.patients is None:
            raise refused("{field} needs patients, whose resources are searched one by one.", "overlap")
        if self.group and self.export_level:
            raise refused(
                "{field} can't be used with group, which is a level of its own: leave one out.", "export_level"
            )
        for index, each in enumerate(self.type_filters):
            if each.partition("?")[0] not in self.resource_types:
                raise refused("{field} is of a type that resource_types has not: add it there.", "type_filters", index)
        return self

    @property
    def exports(self) -> bool:
        """Whether the server may be asked for an export."""
        return self.mode is not Mode.SEARCH

    def landings(self) -> dict[str, Landing | None]:
        return dict.fromkeys((*self.resource_types, *(view.name for view in self.all_views)))

    def histories(self) -> tuple[str, ...]:
        return self.resource_types if self.history else ()
