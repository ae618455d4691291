"""Closed sets: to pydantic, JSON and people they are what a Literal of their values is."""

import ast
import json
import pickle
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from connectors.limits.closed_sets import ClosedSet, OneOf
from connectors.refusals import from_pydantic
from settings import ROOT

PRODUCT = (
    *("api", "connectors", "database", "deployments", "flows", "helm", "local", "pipelines", "prefect_api"),
    *("use_cases", "web", "workers", "settings.py", "logs.py"),
)
OF_LIBRARIES = {
    "api/sign_in/door.py": {("lax", "strict")},  # Starlette's set_cookie takes no other texts
    "connectors/schedules/fields.py": {("*", "l")},  # as croniter expands a field
}


class Colour(ClosedSet):
    RED = "red"
    BLUE = "dark blue"


class AsSet(BaseModel):
    one: Annotated[Colour, Field(description="Of one thing.")] = Colour.RED
    many: tuple[Colour, ...] = (Colour.RED, Colour.BLUE)
    named: dict[str, Colour] = {}
    perhaps: Colour | None = None
    form: Annotated[Colour | Literal[""], OneOf(Colour, "")] = ""


class AsLiteral(BaseModel):
    one: Annotated[Literal["red", "dark blue"], Field(description="Of one thing.")] = "red"
    many: tuple[Literal["red", "dark blue"], ...] = ("red", "dark blue")
    named: dict[str, Literal["red", "dark blue"]] = {}
    perhaps: Literal["red", "dark blue"] | None = None
    form: Literal["", "red", "dark blue"] = ""


VALUES: dict[str, Any] = {"one": "dark blue", "many": ("red",), "named": {"a": "red"}, "perhaps": "red", "form": "red"}


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_the_schema_is_that_of_a_literal(mode: Any) -> None:
    schema = AsSet.model_json_schema(mode=mode)
    assert schema | {"title": ""} == AsLiteral.model_json_schema(mode=mode) | {"title": ""}


@pytest.mark.parametrize("given", [{}, VALUES])
def test_it_is_dumped_as_text(given: dict[str, Any]) -> None:
    of_set, of_literal = AsSet(**given), AsLiteral(**given)
    assert repr(of_set.model_dump()) == repr(of_literal.model_dump())
    assert of_set.model_dump_json() == of_literal.model_dump_json()


def test_a_member_comes_in_as_its_text_or_as_itself() -> None:
    for given in ("dark blue", Colour.BLUE):
        read = AsSet.model_validate({"one": given, "form": given})
        assert (read.one, read.form) == (Colour.BLUE, Colour.BLUE)
        assert isinstance(read.form, Colour)
    assert AsSet(form="").form == ""


@pytest.mark.parametrize("bad", ["Red", "", " red", 1, None, ["red"], {"red": "red"}])
def test_it_is_refused_as_a_literal_is(bad: Any) -> None:
    said = []
    for model in (AsSet, AsLiteral):
        with pytest.raises(ValidationError) as caught:
            model.model_validate({"one": bad, "many": [bad], "named": {"a": bad}, "form": bad or 0})
        said.append([(each.pointer, each.message) for each in from_pydantic(caught.value)])
    assert said[0] == said[1]
    assert said[0][0] == ("/one", "one must be 'red' or 'dark blue'.")


def test_a_member_is_its_text_wherever_it_is_written() -> None:
    assert json.dumps({"a": Colour.BLUE}) == '{"a": "dark blue"}' == f'{{"a": "{Colour.BLUE}"}}'
    assert orjson.dumps([Colour.BLUE]) == b'["dark blue"]'
    assert pickle.loads(pickle.dumps(Colour.BLUE)) is Colour.BLUE  # our own
    assert TypeAdapter(Colour).dump_python(Colour.BLUE).__class__ is str


def _texts(node: ast.AST) -> tuple[str, ...]:
    """The texts of `Literal["a", "b"]`; empty for anything else."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name) or node.value.id != "Literal":
        return ()
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return tuple(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))


def test_no_closed_set_is_written_as_a_literal() -> None:
    """But for `type`, which chooses a model (docs/architecture.md), and for what a library takes or gives."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for path in (each for top in PRODUCT for each in ([ROOT / top, *sorted((ROOT / top).rglob("*.py"))])):
        if path.suffix == ".py" and "Literal[" in (text := path.read_text()):
            tree = ast.parse(text)
            kinds = {id(n.annotation) for n in ast.walk(tree) if isinstance(n, ast.AnnAssign) and _named_type(n.target)}
            sets = {texts for node in ast.walk(tree) if id(node) not in kinds and len(texts := _texts(node)) > 1}
            found |= {str(Path(path).relative_to(ROOT)): sets} if sets else {}
    assert found == OF_LIBRARIES


def _named_type(target: ast.AST) -> bool:
    return isinstance(target, ast.Name) and target.id == "type"
