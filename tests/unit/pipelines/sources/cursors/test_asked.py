"""Requests of earlier loads: more asked for now brings rows of the past that no load has brought."""

from typing import Any

import pytest

from pipelines.sources.cursors.asked import Asked, place_of


@pytest.mark.parametrize(
    ("before", "now", "widened"),
    [
        (Asked(same={"path": "a"}), Asked(same={"path": "b"}), ["path"]),
        (Asked(same={"path": "a"}), Asked(same={"path": "a"}), []),
        (Asked(chosen={"forms": ("a",)}), Asked(chosen={"forms": ("a", "b")}), ["forms"]),
        (Asked(chosen={"forms": ("a",)}), Asked(chosen={"forms": ()}), ["forms"]),
        (Asked(chosen={"forms": ()}), Asked(chosen={"forms": ("a",)}), []),
        (Asked(chosen={"forms": ("b", "a")}), Asked(chosen={"forms": ("a",)}), []),
        (Asked(begins={"since": "2023"}), Asked(begins={"since": "2022-12-31"}), ["since"]),
        (Asked(begins={"since": "2023"}), Asked(begins={"since": None}), ["since"]),
        (Asked(begins={"since": None}), Asked(begins={"since": "2023"}), []),
        (Asked(begins={"since": "2023"}), Asked(begins={"since": "2024-01-01T00:00:00Z"}), []),
        (Asked(begins={"initial_value": 10}), Asked(begins={"initial_value": "9"}), ["initial_value"]),
        (Asked(), Asked(same={"path": "a"}), []),  # kept by a version that did not keep it
    ],
)
def test_what_is_asked_for_is_more_than_before(before: Asked, now: Asked, widened: list[str]) -> None:
    assert now.widened(before.kept()) == widened


def test_a_later_beginning_takes_back_nothing() -> None:
    early, late = Asked(begins={"since": "2020"}), Asked(begins={"since": "2023"})
    assert early.widened(late.kept(early.kept())) == []


def test_addresses_are_kept_as_hashes() -> None:
    kept: Any = Asked(same={"path": "patients?token=canary"}).kept()
    assert "canary" not in str(kept)


def test_the_same_place_is_no_other_one_for_its_scheme_or_a_slash() -> None:
    assert place_of("http://emr/fhir") == place_of("https://emr/fhir/") != place_of("https://emr/other")
