"""Names: what is taken here is taken by the installed Prefect too."""

from hypothesis import example, given
from hypothesis import strategies as st
from prefect.types.names import Name, NonEmptyishName
from pydantic import TypeAdapter, ValidationError

from connectors.limits.names import NOT_IN_PATHS, why_no_pool


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
