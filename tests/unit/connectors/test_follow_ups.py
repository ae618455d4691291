"""Follow-ups of a load: the connectors that are due, refusals, and no circles."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.follow_ups import FollowUp, Leader, circle, due, may_start, refused_follow_ups

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def leader(name: str, *then: dict[str, Any], number: int = 1) -> Leader:
    return Leader(number, name, None, tuple(FollowUp.model_validate(each) for each in then))


def test_a_follower_is_due_each_time_its_leader_has_loaded() -> None:
    labs = leader("labs", {"connector": "report"})
    assert due([labs], "labs", {}, {(1, "connector:report"): NOON}) == [(labs, labs.then[0])]
    assert due([labs], "visits", {}, {}) == []


def test_with_all_waits_until_each_has_loaded_since() -> None:
    labs = leader("labs", {"deployment": "dbt/nightly", "with_all": ["visits"]})
    earlier, later = NOON - timedelta(hours=1), NOON + timedelta(hours=1)
    started = {(1, "deployment:dbt/nightly"): NOON}
    assert due([labs], "labs", {"labs": later, "visits": earlier}, started) == []
    assert due([labs], "visits", {"labs": later, "visits": later}, started) == [(labs, labs.then[0])]
    assert due([labs], "labs", {"labs": later}, {}) == []
    assert due([labs], "visits", {"labs": earlier, "visits": NOON}, {}) == [(labs, labs.then[0])]


def test_ways_back_are_circles() -> None:
    a, b, c = leader("a", {"connector": "b"}), leader("b", {"connector": "c"}), leader("c", {"connector": "a"})
    assert circle("a", [a, b, c]) == ["a", "b", "c", "a"]
    assert circle("a", [a, b]) is None
    assert circle("a", [leader("a", {"connector": "a"})]) == ["a", "a"]
    joined = leader("b", {"connector": "c", "with_all": ["a"]})
    assert circle("a", [joined, leader("c", {"connector": "a"})]) == ["a", "c", "a"]


@pytest.mark.parametrize(
    ("then", "pointer", "words"),
    [
        ([{"connector": "nobody"}], "/run_policy/then/0/connector", "names no connector of this team"),
        ([{"connector": "b", "with_all": ["x"]}], "/run_policy/then/0/with_all/0", "names no connector of this team"),
        ([{"connector": "b"}, {"connector": "b"}], "/run_policy/then/1", "is there twice"),
        ([{"deployment": "x/y"}], "/run_policy/then/0/deployment", "CAI_FOLLOW_DEPLOYMENTS"),
        ([{"connector": "b"}], "/run_policy/then", "leads in a circle, a -> b -> a"),
    ],
)
def test_what_cannot_follow_is_refused(then: list[dict[str, Any]], pointer: str, words: str) -> None:
    others = [leader("b", {"connector": "a"}, number=2)]
    (refusal,) = refused_follow_ups(leader("a", *then), others, {"a", "b"}, ["dbt/*"])
    assert refusal.pointer == pointer
    assert words in refusal.message


def test_a_row_that_nobody_understands_leads_nobody_and_patterns_are_whole() -> None:
    assert Leader.of(1, "a", None, [{"connector": "b", "deployment": "x/y"}]).then == ()
    assert Leader.of(1, "a", None, "text").then == ()
    assert may_start("dbt/nightly", ["dbt/*"])
    assert not may_start("mydbt/nightly", ["dbt/*"])
    assert refused_follow_ups(leader("a", {"deployment": "dbt/x"}, {"connector": "b"}), [], {"b"}, ["dbt/*"]) == []
