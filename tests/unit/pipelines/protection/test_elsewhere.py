"""Values of protected columns elsewhere: in codebooks and in lists of repetitions."""

from typing import Any

import pyarrow as pa
import pytest

from connectors.sources.protection.profiles import SAFE_HARBOR
from connectors.sources.protection.rules import Treatment
from pipelines.protection.elsewhere import Elsewhere
from pipelines.protection.matching import matcher_of


def elsewhere(said: Any = None, masked: tuple[str, ...] = ()) -> Elsewhere:
    matchers = [] if said is None else [matcher_of(Treatment.model_validate(said), "dm")]
    return Elsewhere(masked, matchers)


def line(variable: str, value: str = "", label: str | None = None) -> dict[str, Any]:
    return {"variable": variable, "value": value, "label": label, "missing_values": None if value else "97, 98"}


LINES = [line("WHO", "", "Whose"), line("WHO", "1", "Quill, Ann"), line("SEX", "", "Sex"), line("SEX", "1", "male")]
OWN = {**LINES[0], "missing_values": None}
ALL, SEX = LINES, LINES[2:]


@pytest.mark.parametrize(
    ("said", "masked", "land"),
    [
        (None, (), ALL),
        (None, ("who",), [OWN, *SEX]),
        ({"rules": [{"path": "who", "method": "hash"}]}, (), [OWN, *SEX]),
        ({"rules": [{"path": "who", "method": "redact"}]}, (), [OWN, *SEX]),
        ({"rules": [{"path": "who.name", "method": "drop"}]}, (), [OWN, *SEX]),
        ({"rules": [{"path": "who", "method": "drop"}]}, (), SEX),
        ({"rules": [{"names": ["who"], "method": "drop"}]}, (), SEX),
        ({"rules": [{"path": "who", "method": "as_is"}, {"names": ["who"], "method": "drop"}]}, (), ALL),
        ({"rules": [{"path": "who", "method": "drop", "tables": ["other"]}]}, (), ALL),
        ({"keep": {"dm": ["sex"]}}, (), SEX),
    ],
    ids=str,
)
def test_a_codebook_quotes_no_value_of_a_column_that_is_hidden(said: Any, masked: Any, land: list[Any]) -> None:
    assert elsewhere(said, masked).of_codebook(LINES) == land


def test_a_column_that_lands_in_one_table_of_several_has_its_line() -> None:
    dropping = Treatment.model_validate({"rules": [{"path": "who", "method": "drop"}]})
    assert Elsewhere((), [matcher_of(dropping, "dm"), None]).of_codebook(LINES) == [OWN, *SEX]


def test_labels_are_looked_at_by_what_they_are() -> None:
    found = Elsewhere((), [matcher_of(Treatment(rules=SAFE_HARBOR.rules), "dm")])
    lines = [line("SITE", "", "ask ann@clinic.example"), line("SITE", "1", "070-555-0100"), line("SITE", "2", "north")]
    assert found.of_codebook(lines) == [line("SITE"), lines[2]]


PAGE = pa.table({"pid_3": ["1"], "pid_3_4": ["KH"], "pid_3_all": ["[]"], "pid_31": ["x"], "pid_31_all": ["[]"]})


@pytest.mark.parametrize(
    ("said", "masked", "gone"),
    [
        (None, (), set()),
        (None, ("pid_3",), {"pid_3_all"}),
        (None, ("PID_3.5",), {"pid_3_all"}),
        (None, ("pid_3", "pid_3_all"), set()),
        ({"rules": [{"path": "pid_3", "method": "hash"}]}, (), {"pid_3_all"}),
        ({"rules": [{"path": "pid_3_5", "method": "drop"}]}, (), {"pid_3_all"}),
        ({"rules": [{"path": "pid_3", "method": "as_is"}]}, (), set()),
        ({"rules": [{"path": "pid_3", "method": "hash"}, {"path": "pid_3_all", "method": "as_is"}]}, (), set()),
        ({"rules": [{"path": "**.family", "method": "drop"}]}, (), {"pid_3_all", "pid_31_all"}),
        ({"rules": [{"names": ["family"], "method": "drop"}]}, (), {"pid_3_all", "pid_31_all"}),
        ({"rules": [{"values": "emails", "method": "redact"}]}, (), {"pid_3_all", "pid_31_all"}),
        ({"rules": [{"path": "pid_5", "method": "drop"}]}, (), set()),
    ],
)
def test_repetitions_of_what_is_hidden_do_not_land_beside_it(said: Any, masked: Any, gone: set[str]) -> None:
    told: list[str] = []
    first, second = elsewhere(said, masked).without_repetitions([PAGE, PAGE], told.append)
    assert first.column_names == second.column_names == [name for name in PAGE.column_names if name not in gone]
    assert {sentence.partition(": ")[2].partition(" ")[0] for sentence in told} == gone
    assert len(told) == len(gone)


@pytest.mark.parametrize(
    ("said", "masked", "misses"),
    [
        (None, (), False),
        (None, ("ssn",), True),
        (None, ("ssn", "ssn_2"), False),
        ({"rules": [{"path": "ssn", "method": "redact"}]}, (), True),
        ({"rules": [{"path": "ssn", "method": "redact"}, {"path": "ssn_2", "method": "as_is"}]}, (), False),
        ({"rules": [{"names": ["ssn"], "method": "drop"}]}, (), False),
        ({"rules": [{"path": "ssn", "method": "redact"}], "keep": {"dm": ["ssn"]}}, (), False),
        ({"rules": [{"path": "other", "method": "redact"}]}, (), False),
    ],
    ids=str,
)
def test_a_second_column_of_the_name_is_missed_by_what_hides_the_first(said: Any, masked: Any, misses: bool) -> None:
    assert elsewhere(said, masked).misses("ssn", "ssn_2") is misses
