"""Settings that every kind of destination takes. Pure."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from connectors.sources.asking.ssh import refuse_ssh
from connectors.sources.unions import OfAKind
from connectors.sources.write_rules import Contract


class AnyDestination(OfAKind):
    """Base of every kind of destination."""

    schema_contract: Contract = None
    shared_tables: Annotated[
        bool,
        Field(
            description="Whether other connectors may write the same tables of this dataset. Each of them must say so; "
            "false: two that would are refused."
        ),
    ] = False

    @model_validator(mode="before")
    @classmethod
    def _is_reached_as_it_can_be(cls, value: Any) -> Any:
        return refuse_ssh(value, cls.model_fields, "a PostgreSQL destination")
