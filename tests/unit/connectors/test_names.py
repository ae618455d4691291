"""Names that look like others, and names that Prefect's routes cannot take: refused when saved, through every door."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prefect.types.names import Name, NonEmptyishName
from pydantic import TypeAdapter, ValidationError

from connectors.connector import InvalidConnectorError, validate
from connectors.limits.names import NOT_IN_PATHS, why_no_name, why_no_pool
from settings import Settings
from tests.support.control_plane.samples import row

UNSEEN = ["a\tb", "a\nb", "a\x00b", "a\x1bb", "a\x7fb", "a\u200bb", "\u200b", "a\u2060b", "\ufeffa", "a\u202eb",
          "a\u00adb", "a\u2028b", "a\u2029b", "a\u3164b", "a\u115fb", "a\U000e0041b"]  # fmt: skip
GOOD = ["Lab results", "Ünïcode", "数据", "a\u00a0b", "naïve (2)", "❤️ rate", "a.b", "..a", "100 percent"]
NO_POOLS = ["a/b", "a%b", "a&b", "a<b", "a>b", ".", "..", " a", "a ", "''", '"', "", "  ", *UNSEEN]


@pytest.mark.parametrize("name", UNSEEN)
def test_what_nobody_sees_is_refused_in_a_name(name: str) -> None:
    assert why_no_name(name) is not None
    with pytest.raises(
        InvalidConnectorError, match="name holds a control character or one that nobody sees"
    ) as refused:
        validate(row(name=name))
    assert name not in str(refused.value)


@pytest.mark.parametrize("name", GOOD)
def test_what_people_write_is_a_name(name: str) -> None:
    assert why_no_name(name) is None
    assert validate(row(name=name)).name == name


@pytest.mark.parametrize("name", NO_POOLS)
@pytest.mark.parametrize("field", ["work_pool_name", "work_queue_name"])
def test_what_prefects_routes_cannot_take_is_refused_for_pools_and_queues(field: str, name: str) -> None:
    with pytest.raises(InvalidConnectorError, match=f"^{field} ") as refused:
        validate(row(1, **dict[str, Any]({field: name})))
    assert len(refused.value.refusals) == 1


@given(st.text(max_size=8))
@example("'")
@example("a/b")
def test_whatever_is_taken_is_taken_by_the_installed_prefect_too(name: str) -> None:
    if why_no_pool(name) is None:
        TypeAdapter(NonEmptyishName).validate_python(name)


def test_prefects_own_rule_is_the_one_that_is_known_here() -> None:
    refused = set()
    for character in map(chr, range(32, 0x3000)):
        try:
            TypeAdapter(Name).validate_python(character)
        except ValidationError:
            refused.add(character)
    assert refused == set(NOT_IN_PATHS)


@pytest.mark.parametrize("field", ["work_pool", "work_queue"])
def test_the_platforms_own_pool_is_held_to_the_same_rule(field: str) -> None:
    with pytest.raises(ValidationError, match="must not hold any of the characters"):
        Settings.model_validate({field: "a/b"})
