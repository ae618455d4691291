"""Paths of `protect`: where in a row a value stands. Pure.

A small language, all of it: names with a point between them, and nothing that changes from row to row.

    birthDate                            a column
    name.family, name[*].family          in each object of a list, be it one or many: lists are always gone through
    identifier[?system=='urn:x'].value   of the objects whose `system` is that; `!=`: of the others
    address.*                            whatever an object has
    **.ssn                               at any depth, this one included
    ['Patient ID'].['a.b']               names with points and brackets

Names are compared by their letters and digits alone, as everywhere in a connector: see `letters_and_digits`.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from connectors.sources.secret_references import refused

LONGEST = 300


@dataclass(frozen=True, slots=True)
class Named:
    """A step to what stands under a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Anything:
    """A step to whatever an object has."""


@dataclass(frozen=True, slots=True)
class Deep:
    """Steps to any depth, or none."""


@dataclass(frozen=True, slots=True)
class Where:
    """No step: goes on only from objects under whose `key` stands the text `value`, or, if not `equal`, does not."""

    key: str
    value: str
    equal: bool = True


Step = Named | Anything | Deep | Where

_TOKEN = re.compile(
    r"\['(?P<quoted>[^']+)'\]"
    r"|\[\?(?P<key>[^\]=!']+?)\s*(?P<op>==|!=)\s*'(?P<value>[^']*)'\]"
    r"|(?P<each>\[\*\])"
    r"|(?P<deep>\*\*)"
    r"|(?P<any>\*)"
    r"|(?P<name>[^.\[\]'*]+)"
)


def parse(path: str) -> tuple[Step, ...]:
    """The steps of a path.

    Raises:
        ValueError: with the sentence that says what is wrong, `{field}` standing for the field's name.
    """
    if re.search(r"\[\d+\]", path):
        raise ValueError(
            "{field} names an item of a list by its number, which is another one in the next row: "
            "use [*], or [?key=='value']."
        )
    steps: list[Step] = []
    at, joined = 0, True
    while at < len(path):
        found = _TOKEN.match(path, at)
        follows = found is not None and (found["each"] or found["key"])
        if found is None or (joined == bool(follows)):
            raise ValueError(_WRONG)
        steps += _step(found)
        if steps and isinstance(steps[-1], Named) and not steps[-1].name:
            raise ValueError(_WRONG)
        at = found.end()
        joined = path.startswith(".", at)
        at += joined
    if joined or not steps or isinstance(steps[-1], Deep):
        raise ValueError(_WRONG)
    return tuple(steps)


_WRONG = (
    "{field} must be a path: names with a point between them, such as name.family, "
    "identifier[?system=='urn:x'].value, address.* or **.ssn; a name with other signs as ['its name']."
)


def _step(found: re.Match[str]) -> list[Step]:
    if found["each"]:
        return []
    if found["deep"]:
        return [Deep()]
    if found["any"]:
        return [Anything()]
    if found["key"]:
        return [Where(found["key"].strip(), found["value"], found["op"] == "==")]
    return [Named(found["quoted"] or found["name"].strip())]


def top_of(path: str) -> str | None:
    """The column that a path begins in; None when it may be any."""
    first = parse(path)[0]
    return first.name if isinstance(first, Named) else None


def column_of(path: str) -> str | None:
    """The column that a path is, if it goes into none."""
    steps = parse(path)
    return steps[0].name if len(steps) == 1 and isinstance(steps[0], Named) else None


def _path(value: str) -> str:
    try:
        parse(value)
    except ValueError as error:
        raise refused(str(error)) from None
    return value


PathText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST), AfterValidator(_path)
]
"""A path as a connector writes it."""
