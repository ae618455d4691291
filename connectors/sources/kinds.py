"""The kinds of sources and destinations a connector may name: the shapes of its JSON, typed.

One union for each side, chosen by `type`. Models are frozen and refuse unknown keys, so a typing error in the table is
a sentence in the status and not a setting that silently does nothing. This module is pure: whether a host answers or a
local path may be read is the run's business. A new kind is a model here, a line in its union, and a module of its name
in `pipelines.sources`.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, Tag, model_validator

from connectors.destinations.shapes import (
    Destination,
    DuckdbDestination,
    FilesystemDestination,
    OtherDestination,
    PostgresDestination,
)
from connectors.sources.files import FilesSource
from connectors.sources.http import Auth, Headers, Paginator, RestResource, by_type, chooser
from connectors.sources.secret_references import BlockRef, Credential, EnvRef, HttpUrl, Name, SecretRef, refused
from connectors.sources.write_rules import (
    AnySource,
    Columns,
    ColumnTypes,
    CursorType,
    InitialValue,
    Lag,
    Landing,
    SchemaContract,
    Some,
    TableName,
    distinct,
    normalised,
    refuse_beginning_without_order,
)

__all__ = [
    "AnySource",
    "BlockRef",
    "Credential",
    "Destination",
    "DuckdbDestination",
    "EnvRef",
    "FhirSource",
    "FilesSource",
    "FilesystemDestination",
    "OtherDestination",
    "PostgresDestination",
    "RedcapSource",
    "RestApiSource",
    "SchemaContract",
    "SecretRef",
    "Source",
    "SqlDatabaseSource",
    "SqlTable",
    "normalised",
]


BaseUrl = Annotated[HttpUrl, Field(description="Its address, http or https, without a password in it.")]
Login = Annotated[Auth | None, Field(description="How to log in. null: not at all.")]
MoreHeaders = Annotated[Headers, Field(description="Headers that are sent with each request.")]


class RestApiSource(AnySource):
    """Any REST API that answers with JSON."""

    type: Literal["rest_api"]
    base_url: BaseUrl
    resources: Annotated[Some[RestResource], Field(description="What is asked for, a table each.")]
    auth: Login = None
    headers: MoreHeaders = Field(default_factory=dict)
    paginator: Annotated[
        Paginator | None, Field(description="How the next page is found. null: from the first answer.")
    ] = None

    @model_validator(mode="after")
    def _resources_are_distinct(self) -> Self:
        distinct((resource.name for resource in self.resources), "resources", "name")
        return self

    def cursors(self) -> tuple[str, ...]:
        return tuple(resource.cursor_path for resource in self.resources if resource.cursor_path)


def _fhir_type(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Za-z]+", value):
        raise refused("{field} must be a FHIR resource type, such as 'Patient' or 'MedicationRequest'.")
    return value


def _instant(value: str) -> str:
    if not re.fullmatch(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?", value):
        raise refused("{field} must be a date, such as '2024-01-01' or '2024-01-01T00:00:00Z'.")
    return value


class FhirSource(AnySource):
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
    auth: Login = None
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

    @model_validator(mode="after")
    def _types_are_distinct(self) -> Self:
        distinct(self.resource_types, "resource_types", "")
        return self


class RedcapSource(AnySource):
    """A REDCap project by its API."""

    type: Literal["redcap"]
    api_url: Annotated[HttpUrl, Field(description="The address of its API, such as `https://redcap.example.org/api/`.")]
    token: Annotated[Credential, Field(description="The project's API token.")]
    content: Annotated[
        Some[Literal["record", "metadata", "event", "arm", "instrument", "formEventMapping"]],
        Field(description="What is exported, a table each."),
    ] = (
        "record",
        "metadata",
    )
    forms: Annotated[tuple[Name, ...], Field(description="Only records of these forms. Empty: of all.")] = ()
    date_range: Annotated[bool, Field(description="Only records that changed since the last load.")] = True
    types: ColumnTypes

    @model_validator(mode="after")
    def _contents_are_distinct(self) -> Self:
        distinct(self.content, "content", "")
        return self


class SqlTable(Landing):
    """One table or view of a database."""

    name: Annotated[TableName, Field(description="Its name in the database, and where the rows land.")]
    cursor_column: Annotated[
        Name | None,
        Field(
            description="A column that grows with each change, such as `updated_at`: a run reads the rows at or above "
            "its last value. null: all of them."
        ),
    ] = None
    initial_value: InitialValue = None
    lag: Lag = None
    cursor_type: CursorType = None
    columns: Annotated[Columns, Field(description="Only these, and the key and the cursor. Empty: all columns.")] = ()

    @model_validator(mode="after")
    def _goes_on_from_a_cursor(self) -> Self:
        for name in ("initial_value", "lag", "cursor_type") if self.cursor_column is None else ():
            if getattr(self, name) is not None:
                raise refused("{field} needs a cursor_column, whose newest value a run goes on from.", name)
        refuse_beginning_without_order(self.initial_value, self.cursor_type)
        return self


class SqlDatabaseSource(AnySource):
    """Tables of a relational database that SQLAlchemy reaches."""

    type: Literal["sql_database"]
    credentials: Annotated[
        Credential, Field(description="An address as SQLAlchemy takes it, or a SqlAlchemyConnector block.")
    ]
    tables: Annotated[Some[SqlTable], Field(description="What is read.")]
    # `schema` is a method of pydantic's BaseModel, so the attribute has another name than the key.
    schema_name: Annotated[
        Name | None, Field(alias="schema", description="Where the tables are. null: the database's default schema.")
    ] = None

    @model_validator(mode="after")
    def _tables_are_distinct(self) -> Self:
        distinct((table.name for table in self.tables), "tables", "name")
        return self

    def cursors(self) -> tuple[str, ...]:
        return tuple(table.cursor_column for table in self.tables if table.cursor_column)


Source = Annotated[
    Annotated[RestApiSource, Tag("<rest_api>")]
    | Annotated[FhirSource, Tag("<fhir>")]
    | Annotated[RedcapSource, Tag("<redcap>")]
    | Annotated[SqlDatabaseSource, Tag("<sql_database>")]
    | Annotated[FilesSource, Tag("<files>")],
    by_type(
        chooser(
            rest_api="<rest_api>", fhir="<fhir>", redcap="<redcap>", sql_database="<sql_database>", files="<files>"
        ),
        "rest_api, fhir, redcap, sql_database, files",
    ),
]
"""Where a connector's rows come from."""


def landings(source: Source) -> dict[str, Landing | None]:
    """How each table of a source lands, by its name; None where the kind of source decides."""
    match source:
        case RestApiSource(resources=resources):
            return {resource.name: resource for resource in resources}
        case SqlDatabaseSource(tables=tables):
            return {table.name: table for table in tables}
        case FilesSource(table=table):
            return {table: source}
        case FhirSource(resource_types=names):
            return dict.fromkeys(names)
        case RedcapSource(content=contents):
            return dict.fromkeys(contents)
    return {}  # a kind of an installation's own
