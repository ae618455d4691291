"""Refusals: pointers that a form can follow, sentences that a person can."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.refusals import from_pydantic


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: Annotated[int, Field(ge=1)]
    name: Annotated[str, Field(min_length=1, max_length=3)] = "x"
    on: bool = True
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    most: Annotated[float, Field(le=604_800)] = 1
    more: dict[str, "Shape"] = {}


@pytest.mark.parametrize(
    ("value", "pointer", "message"),
    [
        ({}, "/run_policy/count", "run_policy.count is required."),
        (
            {"count": 1, "nmae": 2},
            "/run_policy/nmae",
            "run_policy.nmae is not a known setting: check its spelling, or remove it.",
        ),
        ({"count": 1, "name": ""}, "/run_policy/name", "run_policy.name must not be empty."),
        ({"count": 1, "name": "long"}, "/run_policy/name", "run_policy.name is too long: at most 3 characters."),
        ({"count": 1, "name": 1}, "/run_policy/name", "run_policy.name must be text."),
        ({"count": 1, "on": "perhaps"}, "/run_policy/on", "run_policy.on must be true or false."),
        ({"count": 0}, "/run_policy/count", "run_policy.count must be at least 1."),
        ({"count": "many"}, "/run_policy/count", "run_policy.count must be a whole number."),
        ({"count": 1.5}, "/run_policy/count", "run_policy.count must be a whole number."),
        ({"count": None}, "/run_policy/count", "run_policy.count must be a whole number."),
        ({"count": "9" * 5000}, "/run_policy/count", "run_policy.count must be a whole number."),
        ({"count": 1, "share": "half"}, "/run_policy/share", "run_policy.share must be a number."),
        ({"count": 1, "share": []}, "/run_policy/share", "run_policy.share must be a number."),
        ({"count": 1, "share": 0}, "/run_policy/share", "run_policy.share must be more than 0."),
        ({"count": 1, "share": 1}, "/run_policy/share", "run_policy.share must be less than 1."),
        ({"count": 1, "most": 1e9}, "/run_policy/most", "run_policy.most must be at most 604800."),
        ({"count": 1, "more": []}, "/run_policy/more", "run_policy.more must be a JSON object."),
        (
            {"count": 1, "more": {"a/b~": {}}},
            "/run_policy/more/a~1b~0/count",
            "run_policy.more.a/b~.count is required.",
        ),
        ("text", "/run_policy", "run_policy must be a JSON object."),
    ],
)
def test_each_mistake_is_one_sentence_at_its_place(value: object, pointer: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Shape.model_validate(value)
    (refusal,) = from_pydantic(caught.value, "run_policy")
    assert (refusal.pointer, refusal.message) == (pointer, message)


def test_a_refused_value_is_never_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        Shape.model_validate({"count": "canary", "name": ["canary"], "on": "canary", "more": "canary"})
    found = from_pydantic(caught.value)
    assert len(found) == 4
    assert "canary" not in "".join(refusal.message for refusal in found)
