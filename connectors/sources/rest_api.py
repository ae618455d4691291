"""The source `rest_api`: paths of any REST API that answers with JSON, a table each. Pure."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from connectors.limits.closed_sets import ClosedSet
from connectors.sources.deletes import LandingWithDeletes
from connectors.sources.http import BaseUrl, Login, MoreHeaders, Paginator
from connectors.sources.secret_references import Name, refuse_plain_secrets, refuse_secret_in_url, refused
from connectors.sources.write_rules import (
    AnySource,
    CursorType,
    InitialValue,
    Lag,
    Landing,
    Some,
    TableName,
    distinct,
    refuse_beginning_without_order,
)


class Method(ClosedSet):
    """How a path is asked."""

    GET = "GET"
    POST = "POST"


class RestResource(LandingWithDeletes):
    """One path of a REST API and the table that it fills."""

    name: Annotated[TableName, Field(description="The table that it fills.")]
    path: Annotated[Name, Field(description="Below the source's base_url, such as `visits`.")]
    method: Annotated[Method, Field(description="How it is asked.")] = Method.GET
    params: Annotated[dict[Name, Any], Field(description="Parameters of the query.")] = Field(default_factory=dict)
    body: Annotated[dict[str, Any] | None, Field(description="JSON that is sent with POST.")] = None
    data_selector: Annotated[
        Name | None, Field(description="Where in an answer the rows stand, such as `$.items`. null: it is found out.")
    ] = None
    paginator: Annotated[Paginator | None, Field(description="How the next page is found. null: the source's way.")] = (
        None
    )
    check_complete: Annotated[
        bool,
        Field(
            description="Whether a run fails when the source says that there are more rows or pages than came. false: "
            "what it says counts something else."
        ),
    ] = True
    cursor_path: Annotated[
        Name | None,
        Field(description="Where in a row a value stands that grows with each change: a run goes on from its newest."),
    ] = None
    cursor_param: Annotated[
        Name | None, Field(description="The query's parameter that takes the cursor's newest value, such as `since`.")
    ] = None
    initial_value: InitialValue = None
    lag: Lag = None
    cursor_type: CursorType = None

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        return refuse_secret_in_url(value)

    @field_validator("params", "body")
    @classmethod
    def _no_plain_secrets(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        refuse_plain_secrets(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cursor_path is None:
            for name in ("cursor_param", "initial_value", "lag", "cursor_type"):
                if getattr(self, name) is not None:
                    raise refused(
                        "{field} needs a cursor_path, which says where the newest value stands in a row.", name
                    )
        refuse_beginning_without_order(self.initial_value, self.cursor_type)
        if self.body is not None and self.method is not Method.POST:
            raise refused('{field} is sent by POST only: set "method": "POST".', "body")
        return self


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

    def landings(self) -> dict[str, Landing | None]:
        return {resource.name: resource for resource in self.resources}

    def cursors(self) -> tuple[str, ...]:
        return tuple(resource.cursor_path for resource in self.resources if resource.cursor_path)
