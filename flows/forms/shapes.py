"""The shapes of the forms in the Prefect UI, and what a filled-in form says as a connector's JSON.

The UI draws a form from the JSON schema of a flow's parameters: a plain union of models becomes tabs, a text a line, an
enumeration a select box. The models of `connectors.sources` are unions within unions, which the UI draws as raw
JSON, so forms have their own, flat ones. They check nothing: what a form says goes the same way as what the API is
sent, and is refused in the same sentences, which are put into the form's own words here. This module is pure.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from connectors.limits.closed_sets import OneOf
from connectors.refusals import Refusal
from connectors.sources.fhir import FhirSource
from connectors.sources.file_formats import FileFormat
from connectors.sources.secret_references import WAY_OUT, reference_from_text
from connectors.sources.write_rules import ColumnType

_CREDENTIALS = (
    "Where the secret is, never the secret itself: the name of a Secret block (emr-token), a block as type/name "
    "(sqlalchemy-connector/emr), or a variable of the worker (CAI_SECRET_EMR)."
)
_KEY = "Columns that identify a row: it is then updated instead of doubled. Empty: rows are appended."
_CURSOR = "a run then loads only what is newer than the last run's newest."
_FHIR_TYPES = ", ".join(FhirSource.model_fields["resource_types"].default)

Masked = Annotated[
    list[str],
    Field(
        title="Masked columns",
        description="Columns whose values are hashed before they land, such as a patient's name. No cursor column.",
    ),
]


class _Part(BaseModel):
    """What all parts of forms have in common: a field left empty is a field not given."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    def given(self, *names: str) -> dict[str, Any]:
        """Those of the fields that are filled in, under their own names."""
        return {name: value for name in names if (value := getattr(self, name)) not in ("", [])}


def _kind(name: str) -> Any:
    """What a form is of: a choice of one, since the newer UI draws a constant as a text that can be typed into."""
    return Field(name, title="Kind", json_schema_extra={"enum": [name]})


class TypeForm(_Part):
    """The type of one column."""

    model_config = ConfigDict(title="Column type")

    column: str = Field(title="Column")
    type: ColumnType = Field(title="Type")


Types = Annotated[
    list[TypeForm],
    Field(
        title="Column types",
        description="Types that columns have from the first row on, such as text for codes like 1.10. Of the others "
        "they are found out.",
    ),
]


def _typed(types: Sequence[TypeForm]) -> dict[str, Any]:
    """Column types as the connector's JSON has them; a column with two of them has one that is refused."""
    found: dict[str, str] = {}
    for given in types:
        before = found.get(given.column, given.type)
        found[given.column] = given.type if before == given.type else f"{before} and {given.type}"
    return {"types": found} if found else {}


_SSH = ("host", "port", "user", "private_key", "host_key")
_SshHost = Annotated[str, Field(title="SSH server", description="Its name, where the database is behind one.")]
_SshPort = Annotated[int | None, Field(title="SSH port", description="Empty: 22.")]
_SshUser = Annotated[str, Field(title="SSH user", description="Whom to log in there as.")]
_SshPrivateKey = Annotated[str, Field(title="SSH private key", description=_CREDENTIALS)]
_SshHostKey = Annotated[
    str,
    Field(
        title="SSH host key",
        description="The fingerprint of the SSH server's own key (SHA256:...), or first_use. Empty: a key that the "
        "worker knows.",
    ),
]


def _ssh(form: _Part) -> dict[str, Any]:
    """The SSH server that a form names, if any, as the connector's JSON has it."""
    said = {name: value for name in _SSH if (value := getattr(form, f"ssh_{name}")) not in ("", None)}
    if "private_key" in said:
        said["private_key"] = reference_from_text(said["private_key"])
    return {"ssh": said} if said else {}


class TableForm(_Part):
    """One table or view."""

    model_config = ConfigDict(title="Table")

    name: str = Field(title="Table")
    primary_key: list[str] = Field([], title="Primary key", description=_KEY)
    cursor_column: str = Field(
        "", title="Cursor column", description=f"A column that grows with each change, such as updated_at: {_CURSOR}"
    )
    types: Types = []

    def connector_json(self) -> dict[str, Any]:
        """As the connector's JSON has it (docs/sources.md)."""
        return self.given("name", "primary_key", "cursor_column") | _typed(self.types)


class SqlDatabaseForm(_Part):
    """Tables of a database."""

    model_config = ConfigDict(title="SQL database")

    kind: Literal["sql_database"] = _kind("sql_database")
    credentials: str = Field(title="Credentials", description=_CREDENTIALS)
    database_schema: str = Field("", title="Schema", description="Empty: the database's default schema.")
    tables: list[TableForm] = Field(title="Tables")
    mask: Masked = []
    ssh_host: _SshHost = ""
    ssh_port: _SshPort = None
    ssh_user: _SshUser = ""
    ssh_private_key: _SshPrivateKey = ""
    ssh_host_key: _SshHostKey = ""

    def connector_json(self) -> dict[str, Any]:
        """As the connector's JSON has it (docs/sources.md)."""
        schema = {"schema": self.database_schema} if self.database_schema else {}
        tables = [table.connector_json() for table in self.tables]
        said = {"type": self.kind, "credentials": reference_from_text(self.credentials), **schema, "tables": tables}
        return said | _ssh(self) | self.given("mask")


class ResourceForm(_Part):
    """One path of a REST API."""

    model_config = ConfigDict(title="Resource")

    name: str = Field(title="Table", description="The table that it fills.")
    path: str = Field(title="Path", description="Below the base address, such as visits.")
    data_selector: str = Field(
        "",
        title="Data selector",
        description="Where in the answer the rows stand, such as $.items. Empty: found out.",
    )
    primary_key: list[str] = Field([], title="Primary key", description=_KEY)
    cursor_path: str = Field(
        "", title="Cursor", description=f"A field that grows with each change, such as updated_at: {_CURSOR}"
    )
    cursor_param: str = Field(
        "", title="Cursor parameter", description="The query's parameter that takes the newest value, such as since."
    )
    types: Types = []

    def connector_json(self) -> dict[str, Any]:
        """As the connector's JSON has it (docs/sources.md)."""
        said = self.given("name", "path", "data_selector", "primary_key", "cursor_path", "cursor_param")
        return said | _typed(self.types)


class RestApiForm(_Part):
    """Any REST API that answers with JSON."""

    model_config = ConfigDict(title="REST API")

    kind: Literal["rest_api"] = _kind("rest_api")
    base_url: str = Field(title="Base address", description="Such as https://emr.example.org/api, without a password.")
    bearer_token: str = Field("", title="Bearer token", description=f"Empty: no login. {_CREDENTIALS}")
    resources: list[ResourceForm] = Field(title="Resources")
    mask: Masked = []

    def connector_json(self) -> dict[str, Any]:
        """As the connector's JSON has it (docs/sources.md)."""
        resources = [resource.connector_json() for resource in self.resources]
        said = {"type": self.kind, "base_url": self.base_url, **_bearer(self.bearer_token), "resources": resources}
        return said | self.given("mask")


class FhirForm(_Part):
    """A FHIR R4 or R5 server."""

    model_config = ConfigDict(title="FHIR server")

    kind: Literal["fhir"] = _kind("fhir")
    base_url: str = Field(title="Base address", description="Such as https://fhir.example.org/r4, without a password.")
    bearer_token: str = Field("", title="Bearer token", description=f"Empty: no login. {_CREDENTIALS}")
    resource_types: list[str] = Field([], title="Resource types", description=f"Empty: {_FHIR_TYPES}.")
    since: str = Field("", title="Since", description="Only what changed since, such as 2024-01-01.")
    types: Types = []
    mask: Masked = []

    def connector_json(self) -> dict[str, Any]:
        """As the connector's JSON has it (docs/sources.md)."""
        rest = self.given("resource_types", "since", "mask") | _typed(self.types)
        return {"type": self.kind, "base_url": self.base_url, **_bearer(self.bearer_token), **rest}


class RedcapForm(_Part):
    """A REDCap project."""

    model_config = ConfigDict(title="REDCap project")

    kind: Literal["redcap"] = _kind("redcap")
    api_url: str = Field(title="API address", description="Such as https://redcap.example.org/api/.")
    token: str = Field(title="Token", description=_CREDENTIALS)
    forms: list[str] = Field([], title="Forms", description="Empty: all of them.")
    types: Types = []
    mask: Masked = []

    def connector_json(self) -> dict[str, Any]:
        """As the connector's JSON has it (docs/sources.md)."""
        said = {"type": self.kind, "api_url": self.api_url, "token": reference_from_text(self.token)}
        return said | self.given("forms", "mask") | _typed(self.types)


class FilesForm(_Part):
    """Files of one format, into one table."""

    model_config = ConfigDict(title="Files")

    kind: Literal["files"] = _kind("files")
    url: str = Field(title="Directory or bucket", description="Such as s3://clinic/labs, or an absolute path.")
    glob: str = Field("", title="Pattern", description="Such as **/*.csv.")
    format: Annotated[FileFormat | Literal[""], OneOf(FileFormat, "")] = Field(
        "", title="Format", description="Empty: by the names."
    )
    table: str = Field("", title="Table", description="Empty: by the address.")
    primary_key: list[str] = Field([], title="Primary key", description=_KEY)
    credentials: str = Field("", title="Credentials", description=f"Empty: none are needed. {_CREDENTIALS}")
    delimiter: str = Field("", title="Delimiter", description="Of csv, such as ; or tab. Empty: found in each file.")
    sheet: str = Field("", title="Sheet", description="Of workbooks, such as Labs, or * for all. Empty: the first.")
    encoding: str = Field("", title="Encoding", description="Of csv and jsonl, such as cp1252. Empty: found.")
    types: Types = []
    mask: Masked = []

    def connector_json(self) -> dict[str, Any]:
        """As the connector's JSON has it (docs/sources.md)."""
        credentials = {"credentials": reference_from_text(self.credentials)} if self.credentials else {}
        return {
            "type": self.kind,
            "url": self.url,
            **self.given("glob", "format", "table", "primary_key", "delimiter", "sheet", "encoding", "mask"),
            **_typed(self.types),
            **credentials,
        }


class JsonForm(_Part):
    """The whole of what a connector may say, as JSON."""

    model_config = ConfigDict(title="Other (JSON)")

    value: dict[str, Any] = Field(
        title="JSON", description='As the documentation shows it, such as {"type": "duckdb", "path": "labs.duckdb"}.'
    )

    def connector_json(self) -> dict[str, Any]:
        """As it is."""
        return self.value


class DuckdbForm(_Part):
    """A DuckDB file."""

    model_config = ConfigDict(title="DuckDB file")

    kind: Literal["duckdb"] = _kind("duckdb")
    path: str = Field(title="Path", description="A relative one starts in the data directory.")

    def connector_json(self) -> dict[str, Any]:
        """As the connector's JSON has it (docs/sources.md)."""
        return {"type": self.kind, "path": self.path}


class PostgresForm(_Part):
    """A PostgreSQL database."""

    model_config = ConfigDict(title="PostgreSQL")

    kind: Literal["postgres"] = _kind("postgres")
    credentials: str = Field(title="Credentials", description=_CREDENTIALS)
    ssh_host: _SshHost = ""
    ssh_port: _SshPort = None
    ssh_user: _SshUser = ""
    ssh_private_key: _SshPrivateKey = ""
    ssh_host_key: _SshHostKey = ""

    def connector_json(self) -> dict[str, Any]:
        """As the connector's JSON has it (docs/sources.md)."""
        return {"type": self.kind, "credentials": reference_from_text(self.credentials)} | _ssh(self)


SourceForm = SqlDatabaseForm | RestApiForm | FhirForm | RedcapForm | FilesForm | JsonForm
"""A source, a tab for each kind."""

DestinationForm = DuckdbForm | PostgresForm | JsonForm
"""A destination, a tab for each kind."""

Form = SourceForm | DestinationForm


def _bearer(token: str) -> dict[str, Any]:
    return {"auth": {"type": "bearer", "token": reference_from_text(token)}} if token else {}


# --- refusals in the form's words ------------------------------------------------------------------------------------

BEARER = ("auth", "token")
"""The only login that has a field."""

_FIELDS: dict[tuple[str, ...], str] = {
    ("schema",): "database_schema",
    BEARER: "bearer_token",
    **{("ssh", name): f"ssh_{name}" for name in _SSH},
    ("ssh",): "ssh_host",
}
"""The fields that say something under another name than the JSON does."""

_STORED = "What you typed is now stored in Prefect: if it is a password or token, replace it where it is used."
_REFERENCE = (
    "it takes the name of a Secret block (lowercase letters, digits and dashes, such as emr-token), a block as "
    "type/name (sqlalchemy-connector/emr), or a variable of the worker that starts with CAI_SECRET_, and never the "
    f"secret itself. {_STORED}"
)


def label(form: Form, way: Sequence[str]) -> str:
    """What a form calls a place in its JSON: `("tables", "0", "name")` is `table 1, Table`."""
    return ", ".join(_labels(type(form), tuple(way)))


def _labels(form: type[_Part], way: tuple[str, ...]) -> list[str]:
    name = next((field for keys, field in _FIELDS.items() if way[: len(keys)] == keys), way[0])
    field = form.model_fields.get(name)
    if field is None:
        return [way[0]]
    if len(way) == 1 or get_origin(field.annotation) is not list:
        return [str(field.title)]
    if not way[1].isdecimal():
        return [f"{field.title}, {way[1]}"]
    number = int(way[1]) + 1
    (item,) = get_args(field.annotation)
    if item is str:
        return [f"{field.title} {number}"]
    return [f"{str(item.model_config['title']).lower()} {number}", *(_labels(item, way[2:]) if way[2:] else [])]


def sentence(refusal: Refusal, source: Form | None = None, destination: Form | None = None) -> str:
    """A refusal as the one who filled in these forms understands it; the API's own sentence where there is no field."""
    root, *way = refusal.pointer.split("/")[1:]
    form = {"source": source, "destination": destination}.get(root)
    message = refusal.message
    if root == "run_policy" and way:
        return message.removeprefix(f"{root}.")
    if form is not None and way and not isinstance(form, JsonForm):
        place = f"{root.capitalize()}, {label(form, way)}"
        if way[-1] in ("secret", "block", "env"):
            return f"{place}: {_REFERENCE}"
        message = f"{place}: {message.removeprefix('.'.join((root, *way))).lstrip(': ')}"
        message = message.replace(
            WAY_OUT, "create a Secret block in Prefect and fill in its name where there is a field"
        )
    return f"{message} {_STORED}" if WAY_OUT in refusal.message else message
