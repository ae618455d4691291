"""Closed sets of texts: enumerations that a connector's JSON, a form or a setting writes as their values. Pure.

A set is written once, with its public values, where it is defined. To pydantic it is what a Literal of the same values
is: its schema stands where the field does and under no name of its own, and a refusal lists the values.
"""

from enum import StrEnum
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class ClosedSet(StrEnum):
    """Base of closed sets: a member is the text that people write."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of a Literal of the values; a member comes in as itself or as its text, and is dumped as text."""
        del source, handler
        return _schema(cls)


class OneOf:
    """Metadata of a field that takes more than a set has, as `Annotated[Overlap | Literal[""], OneOf(Overlap, "")]`.

    With nothing more, the field has the schema of a Literal although its set has one under its own name elsewhere.
    """

    def __init__(self, members: type[StrEnum], *others: str) -> None:
        self._members = members
        self._others = others

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of a Literal of the others and the values, in this order."""
        del source, handler
        return _schema(self._members, *self._others)


def _schema(members: type[StrEnum], *others: str) -> CoreSchema:
    texts = core_schema.literal_schema([*others, *(member.value for member in members)])

    def member(value: str) -> StrEnum | str:
        return value if value in others else members(value)

    as_text = core_schema.plain_serializer_function_ser_schema(str, return_schema=texts)
    return core_schema.no_info_after_validator_function(member, texts, serialization=as_text)
