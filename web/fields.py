"""Fields of a form, made from a model: each with its help, so that a new kind of source has a form at once.

The way in and the way back are one list: `fields_of` reads the model's JSON schema, `said` reads what a browser sends.
A field's place is that of its value in the connector's JSON (`source.tables.0.name`), so a refusal's pointer names the
field at which its sentence is shown; its name has the chosen `type` besides, for each has fields of its own
(`source.auth.bearer.token`). Nothing is checked here: the domain judges, in one sentence for all doors.
This module is pure.
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from connectors.sources.secret_references import reference_from_text, reference_in_text

Schema = Mapping[str, Any]
Sent = Mapping[str, str]
"""What a browser sends: the name of each control with its text."""


class Control(StrEnum):
    """Ways to fill in a field."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    CHOICE = "choice"
    LINES = "lines"
    """A list of texts, one a line."""
    PAIRS = "pairs"
    """A map, one `name: value` a line."""
    SECRET = "secret"  # noqa: S105  # no password
    """A reference to a stored credential, never the secret itself: chosen, or stored here (`web.typed_secrets`)."""
    ONE_OF = "one_of"
    """One of several models, chosen by their `type`, with the fields of each."""
    LIST = "list"
    """Several of one model."""
    GROUP = "group"
    """One model with a secret in it, which JSON would be no place for."""
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Field:
    """One field, with what stands in it."""

    name: str
    label: str
    help: str
    control: Control
    required: bool = False
    options: tuple[str, ...] = ()
    fields: tuple["Field", ...] = ()
    """Of GROUP: its own; of LIST: those of one item, under the name `{name}.N`."""
    variants: tuple[tuple[str, str, tuple["Field", ...]], ...] = ()
    """Of ONE_OF: each `type` with its help and its fields."""
    value: str = ""
    default: bool = False
    """Of FLAG: what it is where nothing is said."""
    items: tuple[tuple["Field", ...], ...] = ()
    """Of LIST: the fields of each item that there is."""
    place: str = ""
    """Where its value stands in the connector's JSON."""

    def fields_at(self, place: int) -> "list[Field]":
        """Of LIST: the empty fields of an item at this place, by their names there."""
        return [_placed_at(each, self, place) for each in self.fields]


def fields_of(model: type[BaseModel], name: str, value: Mapping[str, Any], *, but: Sequence[str] = ()) -> list[Field]:
    """The fields of a model with what `value` has in them.

    Args:
        model: whose fields.
        name: under which its JSON stands in the connector's, such as `source`.
        value: its JSON, as far as there is one; whatever does not fit is left out.
        but: fields that are shown elsewhere, and `type`, which chose the model.
    """
    schema = _schema_of(model)
    return _fields(schema, schema.get("$defs", {}), (name, name), value, but={"type", *but})


@functools.cache
def _schema_of(model: type[BaseModel]) -> Schema:
    """The JSON schema of a model: milliseconds to make, and the same for every page."""
    return model.model_json_schema(by_alias=True)


def _fields(schema: Schema, known: Schema, at: tuple[str, str], value: Any, but: set[str]) -> list[Field]:
    """The fields of a model that stands `at` this name and place."""
    value = value if isinstance(value, Mapping) else {}
    required = set(schema.get("required", ()))
    name, place = at
    return [
        _field(each, known, (f"{name}.{key}", f"{place}.{key}"), key, value.get(key), required=key in required)
        for key, each in schema.get("properties", {}).items()
        if key not in but
    ]


_LABELS = {"ssh": "SSH server"}
"""What keys are called that are no words."""


def _field(schema: Schema, known: Schema, at: tuple[str, str], key: str, value: Any, *, required: bool) -> Field:
    shapes = _shapes(schema, known)
    label = _LABELS.get(key) or str(key).replace("_", " ").capitalize()
    field = Field(at[0], label, _help(str(schema.get("description", ""))), Control.JSON, required, place=at[1])
    types = {each.get("type") for each in shapes}
    titles = {each.get("title") for each in shapes}
    if titles and titles <= {"SecretRef", "BlockRef", "EnvRef"}:
        return replace(field, control=Control.SECRET, value=reference_in_text(value))
    models = [each for each in shapes if "properties" in each]
    of_models = _of_models(field, models, known, at, value) if len(models) == len(shapes) else None
    if of_models is not None:
        return of_models
    listed = next((each for each in shapes if each.get("type") == "array"), None)
    if listed is not None and types <= {"array", "string"}:
        (item, *_) = _shapes(listed.get("items", {}), known)
        if "properties" in item:
            return _list(field, item, known, value)
        if item.get("type") == "string":
            return replace(field, control=Control.LINES, value="\n".join(_texts(value)))
    options = tuple(str(each) for shape in shapes for each in shape.get("enum", _const(shape)))
    if options:
        return replace(field, control=Control.CHOICE, options=options, value=_text(value))
    if types == {"boolean"}:
        default = schema.get("default") is True
        on = default if value is None else bool(value)
        return replace(field, control=Control.FLAG, value="on" if on else "", default=default)
    if types and types <= {"number", "integer"}:
        return replace(field, control=Control.NUMBER, value=_text(value))
    if types == {"string", "object"} and titles >= {"SecretRef"}:
        shown = json.dumps(value) if isinstance(value, Mapping) else _text(value)
        return replace(field, control=Control.TEXT, value=shown)
    if types and types <= {"string", "number", "integer"}:
        return replace(field, control=Control.TEXT, value=_text(value))
    if types == {"object"} and not models and _plain(shapes[0].get("additionalProperties"), known):
        return replace(field, control=Control.PAIRS, value=_pairs(value))
    return replace(field, value=json.dumps(value, ensure_ascii=False) if value not in (None, {}, []) else "")


def _of_models(field: Field, models: Sequence[Schema], known: Schema, at: tuple[str, str], value: Any) -> Field | None:
    """A field that is filled in by the fields of models; None where JSON does as well."""
    if models and all("type" in each["properties"] for each in models):
        return _one_of(field, models, known, value)
    if len(models) != 1:
        return None
    inner = _fields(models[0], known, at, value, set())
    if not any(each.control is Control.SECRET for each in inner):
        return None
    # Where all of it may be left out, nothing in it is needed.
    needed = tuple(replace(each, required=each.required and field.required) for each in inner)
    return replace(field, control=Control.GROUP, fields=needed)


def _one_of(field: Field, models: Sequence[Schema], known: Schema, value: Any) -> Field:
    chosen = str(value.get("type", "")) if isinstance(value, Mapping) else ""
    variants = []
    for model in models:
        kind = str(next(iter(model["properties"]["type"].get("enum", _const(model["properties"]["type"]))), ""))
        own = value if kind == chosen else {}
        fields = _fields(model, known, (f"{field.name}.{kind}", field.place), own, {"type"})
        variants.append((kind, _help(str(model.get("description", ""))), tuple(fields)))
    return replace(field, control=Control.ONE_OF, variants=tuple(variants), value=chosen)


def _list(field: Field, item: Schema, known: Schema, value: Any) -> Field:
    def one(number: int | str, of: Any) -> tuple[Field, ...]:
        return tuple(_fields(item, known, (f"{field.name}.{number}", f"{field.place}.{number}"), of, set()))

    items = value if isinstance(value, Sequence) and not isinstance(value, str) else []
    shown = tuple(one(place, each) for place, each in enumerate(items))
    return replace(field, control=Control.LIST, fields=one("N", {}), items=shown)


def _shapes(schema: Schema, known: Schema) -> list[Schema]:
    """The schemas that a value may follow, without null, with references followed."""
    if "$ref" in schema:
        return _shapes(known[str(schema["$ref"]).rpartition("/")[2]], known)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return [shape for each in schema[key] for shape in _shapes(each, known)]
    return [] if schema.get("type") == "null" else [schema]


def _plain(schema: Any, known: Schema) -> bool:
    return isinstance(schema, Mapping) and all(
        shape.get("type") in {"string", "number", "integer"} for shape in _shapes(schema, known)
    )


def _const(schema: Schema) -> tuple[Any, ...]:
    return (schema["const"],) if "const" in schema else ()


def _help(text: str) -> str:
    return re.sub(r"\bnull:", "Empty:", text)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(each) for each in value or ()]


def _pairs(value: Any) -> str:
    return "\n".join(f"{name}: {each}" for name, each in value.items()) if isinstance(value, Mapping) else ""


def said(fields: Sequence[Field], sent: Sent) -> dict[str, Any]:
    """The JSON that filled-in fields mean, under the last parts of their names. A field left empty is not said.

    A number or a JSON that can't be read stays the text that it is: the domain says what is wrong with it.
    """
    found: dict[str, Any] = {}
    for field in fields:
        value = _value(field, sent)
        if value not in (None, "", [], {}):
            found[field.name.rpartition(".")[2]] = value
    return found


def secrets(fields: Sequence[Field], sent: Sent) -> list[Field]:
    """The fields of secrets in a filled-in form, without those of kinds that were not chosen."""
    found: list[Field] = []
    for field in fields:
        match field.control:
            case Control.SECRET:
                found.append(field)
            case Control.ONE_OF:
                found += secrets(_chosen(field, sent) or (), sent)
            case Control.GROUP:
                found += secrets(field.fields, sent)
            case Control.LIST:
                for number in _numbers(field, sent):
                    found += secrets(field.fields_at(number), sent)
            case _:
                pass
    return found


def _chosen(field: Field, sent: Sent) -> Sequence[Field] | None:
    kind_said = sent.get(field.name, "").strip()
    return next((fields for kind, _, fields in field.variants if kind == kind_said), None)


def _numbers(field: Field, sent: Sent) -> list[int]:
    return sorted({int(found[1]) for each in sent if (found := _placed(field.name).match(each))})


def _value(field: Field, sent: Sent) -> Any:
    text = sent.get(field.name, "").strip()
    match field.control:
        case Control.SECRET:
            text = sent.get(f"{field.name}.other", "").strip() or text
            return reference_from_text(text) if text else None
        case Control.FLAG:
            on = bool(text)
            return None if f"{field.name}.shown" not in sent or on == field.default else on
        case Control.NUMBER:
            return _number(text)
        case Control.LINES:
            return [line.strip() for line in text.splitlines() if line.strip()]
        case Control.PAIRS:
            pairs = (line.partition(":") for line in text.splitlines() if line.strip())
            return {name.strip(): value.strip() for name, _, value in pairs}
        case Control.JSON:
            return _json(text)
        case Control.ONE_OF:
            chosen = _chosen(field, sent)
            return None if chosen is None else {"type": text, **said(chosen, sent)}
        case Control.GROUP:
            return said(field.fields, sent)
        case Control.LIST:
            items = (said(field.fields_at(number), sent) for number in _numbers(field, sent))
            return [item for item in items if item]
        case _:
            return _json(text) if text.startswith("{") else text or None


def _placed(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name) + r"\.(\d+)\.")


def _placed_at(field: Field, listed: Field, number: int) -> Field:
    """A field of one item of a list, at this number."""
    return replace(
        field,
        name=field.name.replace(f"{listed.name}.N.", f"{listed.name}.{number}.", 1),
        place=field.place.replace(f"{listed.place}.N.", f"{listed.place}.{number}.", 1),
        fields=tuple(_placed_at(each, listed, number) for each in field.fields),
        variants=tuple(
            (kind, text, tuple(_placed_at(each, listed, number) for each in fields))
            for kind, text, fields in field.variants
        ),
    )


def _number(text: str) -> Any:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


def _json(text: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
