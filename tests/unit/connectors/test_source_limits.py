"""Limits of sources: for which sources they hold, who may go on, and when those that wait look again."""

from datetime import UTC, datetime, timedelta

import pytest

from connectors.credentials import CredentialKind, uses_of
from connectors.judging.source_limits import (
    LONGEST_WAIT_SECONDS,
    LOOK_SECONDS,
    SourceLimit,
    Stand,
    look_at,
    may_go,
    why_waiting,
)

NOW = datetime(2024, 1, 1, tzinfo=UTC)
EMR = SourceLimit("emr", ("emr.example.org",), ((CredentialKind.SECRET, "emr"),), 2)


def test_a_limit_holds_for_its_hosts_and_for_its_credentials() -> None:
    source = {"type": "sql_database", "credentials": {"secret": "emr"}}
    other = {"type": "sql_database", "credentials": {"env": "emr"}}
    assert EMR.holds_for({"emr.example.org", "other"}, ())
    assert EMR.holds_for(set(), uses_of(source, None))
    assert not EMR.holds_for({"other"}, uses_of(other, None))


@pytest.mark.parametrize(
    ("under_way", "others", "waits", "may"),
    [(0, 0, False, True), (2, 0, False, False), (3, 0, True, False), (1, 1, False, False), (0, 1, False, True),
     (1, 5, True, True)],
)  # fmt: skip
def test_who_comes_new_leaves_what_is_free_to_those_that_wait(
    under_way: int, others: int, waits: bool, may: bool
) -> None:
    assert may_go(EMR, Stand(under_way, others, NOW if waits else None)) is may


def test_the_more_wait_the_seldomer_each_looks() -> None:
    alone, crowd, all_of_them = (look_at(Stand(2, others, None), NOW, 0.5) - NOW for others in (0, 9, 10_000))
    assert alone == timedelta(seconds=LOOK_SECONDS)
    assert crowd == timedelta(seconds=10 * LOOK_SECONDS)
    assert all_of_them == timedelta(seconds=LONGEST_WAIT_SECONDS)
    assert look_at(Stand(2, 0, None), NOW, 0.0) < look_at(Stand(2, 0, None), NOW, 1.0)


def test_a_run_that_comes_while_another_is_to_look_looks_with_it() -> None:
    later = NOW + timedelta(seconds=5)
    assert look_at(Stand(2, 3, later), NOW, 0.9) == later


def test_it_says_what_it_waits_for() -> None:
    assert why_waiting(EMR, Stand(2, 0, None)) == (
        "Waits for the source emr: 2 of 2 loads are under way. Another run looks again by itself."
    )
    assert "1 of 2 loads are under way, and 1 other waits too." in why_waiting(EMR, Stand(1, 1, None))
