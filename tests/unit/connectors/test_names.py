"""Names that look like others, and names that Prefect's routes cannot take: refused when saved, through every door."""

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.connector import InvalidConnectorError, validate
from connectors.limits.names import why_no_name
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


@pytest.mark.parametrize("field", ["work_pool", "work_queue"])
def test_the_platforms_own_pool_is_held_to_the_same_rule(field: str) -> None:
    with pytest.raises(ValidationError, match="must not hold any of the characters"):
        Settings.model_validate({field: "a/b"})
