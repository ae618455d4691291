"""Unions of models that are chosen by their `type`: made of what the models themselves say that they are. Pure.

A model stands in its union once, and nowhere else: its `type` is a Literal, from which come the choice, the sentence
that names the kinds there are, and the schema.
"""

import functools
import operator
from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import Discriminator, GetCoreSchemaHandler, Tag
from pydantic_core import CoreSchema

from connectors.sources.secret_references import Strict


class OfAKind(Strict):
    """Base of the members of a union: each has a field `type`."""

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """The values of `type` that choose this model."""
        return get_args(cls.model_fields["type"].annotation)


class ByType:
    """Metadata of a union, as in `Annotated[Bearer | Basic, ByType()]`: `type` chooses the member."""

    def __get_pydantic_core_schema__(self, union: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the union, in which a location names the chosen member as `<its kind>`: no key of the JSON."""
        models: tuple[type[OfAKind], ...] = get_args(union)
        tags = {kind: f"<{model.kinds()[0]}>" for model in models for kind in model.kinds()}

        def choose(value: object) -> str | None:
            kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
            return tags.get(kind) if isinstance(kind, str) else None

        tagged = functools.reduce(operator.or_, (Annotated[model, Tag(tags[model.kinds()[0]])] for model in models))
        sentence = f"{{field}} must say which kind it is, one of: {', '.join(tags)}."
        return handler.generate_schema(
            Annotated[tagged, Discriminator(choose, custom_error_type="kind", custom_error_message=sentence)]
        )


def models_of(union: Any) -> tuple[type[OfAKind], ...]:
    """The members of such a union, `Annotated[Bearer | Basic, ByType()]`, in their order."""
    return get_args(get_args(union)[0])
