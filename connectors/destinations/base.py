"""Settings that every kind of destination takes. Pure."""

from typing import Annotated

from pydantic import Field

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
