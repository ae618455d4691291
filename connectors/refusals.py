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


def _refusal(root: str, kind: str, loc: tuple[int | str, ...], message: str, context: Mapping[str, Any]) -> Refusal:
    # pydantic puts the chosen member of a union into the location; it is no key of the user's JSON, and the models mark
    # it by wrapping it in angle brackets. `[key]` is what it writes after a dictionary's key that is itself at fault.
    parts = [str(part) for part in loc if not (isinstance(part, str) and part.startswith("<")) and part != "[key]"]
    parts += [str(part) for part in context.get("below", ()) if part != ""]
    if kind == "kind":
        parts.append("type")
    path = [root, *parts] if root else parts
    if not path:
        said = message.replace("{field}", "The body") if kind == "refused" else "The body must be a JSON object."
        return Refusal("", said)
    field = ".".join(path)
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    return Refusal(pointer, _sentence(kind, field, message, context))


_SENTENCES = {
    "missing": "{field} is required.",
    "extra_forbidden": "{field} is not a known setting: check its spelling, or remove it.",
    **dict.fromkeys(("literal_error", "enum"), "{field} must be {expected}."),
    **dict.fromkeys(("model_attributes_type", "model_type", "dict_type"), "{field} must be a JSON object."),
    **dict.fromkeys(("tuple_type", "list_type"), "{field} must be a JSON list."),
    **dict.fromkeys(("too_short", "string_too_short"), "{field} must not be empty."),
    "string_too_long": "{field} is too long: at most {max_length} characters.",
    "string_type": "{field} must be text.",
    **dict.fromkeys(("bool_type", "bool_parsing"), "{field} must be true or false."),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "{field} must be a whole number."
    ),
    **dict.fromkeys(("float_type", "float_parsing"), "{field} must be a number."),
    "greater_than": "{field} must be more than {gt}.",
    "greater_than_equal": "{field} must be at least {ge}.",
    "less_than": "{field} must be less than {lt}.",
    "less_than_equal": "{field} must be at most {le}.",
}
"""What is said of each of pydantic's types of error, with what its context holds."""


def _sentence(kind: str, field: str, message: str, context: Mapping[str, Any]) -> str:
    if kind in {"refused", "kind"}:
        return message.replace("{field}", field)
    if kind == "value_error":
        return str(context["error"])
    if kind in _SENTENCES:
        return _SENTENCES[kind].format(field=field, **{name: plain(value) for name, value in context.items()})
    return f"{field}: {message[0].lower()}{message[1:]}."


def plain(value: Any) -> Any:
    """A number as people write it: 100 and not 100.0; any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
