"""Belonging of a resource to a patient, by its own references: some servers do not heed the patient asked for. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

_OF = ("subject", "patient")
"""Elements that say whose a resource is; others name patients who merely have to do with it, such as a mother."""


def is_of_another(resource: Mapping[str, Any], patient: str) -> bool:
    """Whether a resource names patients, and not this one. One that names none may be anybody's."""
    of = {found for name in _OF for found in _patients(resource.get(name))}
    found = of or {each for name, value in resource.items() if name != "contained" for each in _patients(value)}
    return bool(found) and patient not in found


def _patients(value: Any) -> Iterator[str]:
    """The ids of patients in references anywhere in a value: relative, absolute, or to a version."""
    if isinstance(value, list):
        for each in value:
            yield from _patients(each)
    elif isinstance(value, Mapping):
        reference = value.get("reference")
        if isinstance(reference, str):
            kind, _, name = reference.partition("/_history/")[0].rpartition("/")
            if name and kind.rpartition("/")[2] == "Patient":
                yield name
        for each in value.values():
            if isinstance(each, list | dict):
                yield from _patients(each)
