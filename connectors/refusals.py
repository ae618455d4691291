"""Refusals: why a field cannot be accepted, in a sentence that a business user understands.

One place turns what pydantic says into the house's sentences, so that the status row, the REST API and the forms in the
Prefect UI say the same. No refusal repeats the value it refuses: the value may be a secret put into the wrong field.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one field cannot be accepted.

    `pointer` is a JSON pointer (RFC 6901) into the connector in the table's own names (`/source/base_url`);
    `message` is a sentence that names the field and the way out.
    """

    pointer: str
    message: str


def from_pydantic(error: ValidationError, root: str = "") -> list[Refusal]:
    """The refusals of a pydantic validation, each below `root`, in the order of the fields."""
    return from_details(error.errors(include_url=False, include_input=False), root)


def from_details(details: Iterable[Mapping[str, Any]], root: str = "") -> list[Refusal]:
    """The refusals of what pydantic lists in `errors()`, wherever that comes from (FastAPI passes it on as a list)."""
    return [
        _refusal(root, detail["type"], detail["loc"], detail["msg"], detail.get("ctx", {}))
        for detail in details
        # A default that is made of other fields can't be made when those are refused: nothing new to say.
        if detail["type"] != "default_factory_not_called"
    ]


def _refusal(root: str, kind: str, loc: tuple[int | str, ...], message: str, context: dict[str, Any]) -> Refusal:
    # pydantic puts the chosen member of a union into the location; it is no key of the user's JSON, and the models mark
    # it by wrapping it in angle brackets. `[key]` is what it writes after a dictionary's key that is itself at fault.
    parts = [str(part) for part in loc if not (isinstance(part, str) and part.startswith("<")) and part != "[key]"]
    parts += [str(part) for part in context.get("below", ()) if part != ""]
    if kind == "kind":
        parts.append("type")
    path = [root, *parts] if root else parts
    field = ".".join(path) or "this"
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    return Refusal(pointer, _sentence(kind, field, message, context))


def _sentence(kind: str, field: str, message: str, context: dict[str, Any]) -> str:  # noqa: PLR0911
    match kind:
        case "refused" | "kind":
            return message.replace("{field}", field)
        case "missing":
            return f"{field} is required."
        case "extra_forbidden":
            return f"{field} is not a known setting: check its spelling, or remove it."
        case "literal_error" | "enum":
            return f"{field} must be {context['expected']}."
        case "value_error":
            return str(context["error"])
        case "model_attributes_type" | "model_type" | "dict_type":
            return f"{field} must be a JSON object."
        case "tuple_type" | "list_type":
            return f"{field} must be a JSON list."
        case "too_short" | "string_too_short":
            return f"{field} must not be empty."
        case "string_too_long":
            return f"{field} is too long: at most {context['max_length']} characters."
        case "string_type":
            return f"{field} must be text."
        case "bool_type" | "bool_parsing":
            return f"{field} must be true or false."
        case _:
            return f"{field}: {message[0].lower()}{message[1:]}."
