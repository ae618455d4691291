"""Values under `protect`: each method, each way into a row, and what holds for all rows there are."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sources.protection.methods import Method
from connectors.sources.protection.profiles import SHIPPED
from connectors.sources.protection.rules import Condition, Kind, Op, Profile, Rule, Treatment
from pipelines.errors import ConfigurationError
from pipelines.protection.conditions import may_leave
from pipelines.protection.matching import finder, matcher_of, words_of
from pipelines.protection.methods.dates import month_of, shifted, year_of
from pipelines.protection.methods.hashing import hashed
from pipelines.protection.methods.values import capped, is_a, offset, rounded, zip3
from pipelines.protection.table import Patients, Protecting

KEY = b"k"
TODAY = date(2026, 6, 1)


def protecting(said: Any, *, keys: tuple[str, ...] = (), patient: str | None = None, **more: Any) -> Protecting:
    """The step of a table `t`. `said`: rules, or a whole treatment."""
    treatment = Treatment.model_validate({"rules": said} if isinstance(said, list) else said)
    matcher = matcher_of(treatment, "t")
    days = next((rule.days or 180 for rule in matcher.rules if rule.method == "shift_dates"), 180)
    patients = None if patient is None else Patients((patient,), KEY, days)
    step = Protecting("t", matcher, KEY, TODAY, may=None, patients=patients, keys=keys, mark=None, **more)
    step._marked = True
    return step


def landed(said: Any, row: dict[str, Any], **more: Any) -> Any:
    """A row as it lands."""
    (found,) = protecting(said, **more)([row]) or [None]
    return found


def arrow(said: Any, columns: dict[str, Any], **more: Any) -> dict[str, list[Any]]:
    """Columns as they land."""
    found = protecting(said, **more)(pa.table(columns))
    return {name: found.column(name).to_pylist() for name in found.column_names}


@pytest.mark.parametrize(
    ("method", "value", "lands"),
    [
        ({"method": "hash"}, "x", hashed("x", KEY)),
        ({"method": "hash"}, 7, hashed("7", KEY)),
        ({"method": "hash_reference"}, "Patient/7", f"Patient/{hashed('7', KEY)}"),
        ({"method": "hash_reference"}, "https://a/fhir/Patient/7/_history/2", f"Patient/{hashed('7', KEY)}"),
        ({"method": "hash_reference"}, "urn:uuid:7", hashed("urn:uuid:7", KEY)),
        ({"method": "redact"}, "x", None),
        ({"method": "year"}, "1970-01-31", "1970"),
        ({"method": "year"}, datetime(1970, 1, 31, 23, tzinfo=UTC), "1970"),
        ({"method": "year"}, "31.01.1970", "1970"),
        ({"method": "month"}, "31.01.1970", None),
        ({"method": "month"}, "1970-01-31T08:00:00+01:00", "1970-01"),
        ({"method": "month"}, "1970", "1970"),
        ({"method": "birth_year"}, "1937-01-31", "1937"),
        ({"method": "birth_year"}, "1936-12-31", None),
        ({"method": "zip3"}, "10115", "101"),
        ({"method": "zip3"}, "03601-1234", "000"),
        ({"method": "zip3"}, 2134, "021"),
        ({"method": "zip3"}, "W1A 1AA", None),
        ({"method": "age_cap"}, 89, 89),
        ({"method": "age_cap"}, 104, 90),
        ({"method": "age_cap"}, "104", "90"),
        ({"method": "age_cap"}, "old", None),
        ({"method": "round", "to": 5}, 72, 70),
        ({"method": "round", "to": 5}, 72.5, 70.0),
        ({"method": "round", "to": 0.1}, 0.26, 0.3),
        ({"method": "round", "to": 1e-9}, "13.50", "13.5"),
        ({"method": "round", "to": 0.1}, Decimal("0.26"), Decimal("0.3")),
        ({"method": "round", "to": 5}, "tall", None),
        ({"method": "as_is"}, "x", "x"),
    ],
)  # fmt: skip
def test_a_value_lands_as_its_method_has_it(method: dict[str, Any], value: Any, lands: Any) -> None:
    assert landed([{"path": "a", **method}], {"a": value, "b": 1}) == {"a": lands, "b": 1}
    assert landed([{"path": "a", **method}], {"a": None}) == {"a": None}
    assert arrow([{"path": "a", **method}], {"a": [value, None], "b": [1, 2]}) == {"a": [lands, None], "b": [1, 2]}


def test_a_dropped_column_is_not_even_there() -> None:
    assert landed([{"path": "Patient ID", "method": "drop"}], {"patient_id": 1, "b": 2}) == {"b": 2}
    assert arrow([{"path": "Patient ID", "method": "drop"}], {"PATIENTID": [1], "b": [2]}) == {"b": [2]}


def test_a_value_that_a_method_can_not_treat_lands_as_nothing_and_is_counted() -> None:
    step = protecting([{"path": "a", "method": "year"}])
    assert step([{"a": "canary"}, {"a": "canary"}, {"a": "2024"}]) == [{"a": None}, {"a": None}, {"a": "2024"}]
    assert step.treating.untreatable == {0: 2}
    assert "canary" not in str(step(pa.table({"a": ["canary", "canary", "2024-01-01"]})))
    assert step.treating.untreatable == {0: 4}


PATIENT: dict[str, Any] = {
    "id": "7",
    "identifier": [{"system": "urn:mrn", "value": "M1"}, {"system": "urn:other", "value": "O1"}],
    "name": [{"family": "Quill", "given": ["Ann", "Bea"]}, {"family": "Feather"}],
    "address": {"city": "Ulm", "lines": ["x", "y"], "geo": {"lat": 1.5}},
}


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        ("name.family", {"Quill", "Feather"}),
        ("name[*].family", {"Quill", "Feather"}),
        ("name[?family=='Quill'].given", {"Ann", "Bea"}),
        ("name[?family!='Quill'].family", {"Feather"}),
        ("identifier[?system=='urn:mrn'].value", {"M1"}),
        ("address.*", {"Ulm", "x", "y", 1.5}),
        ("**.lat", {1.5}),
        ("**.value", {"M1", "O1"}),
        ("NAME.Given", {"Ann", "Bea"}),
    ],
)
def test_a_path_finds_what_stands_there_and_nothing_else(path: str, gone: set[Any]) -> None:
    def leaves(value: Any) -> set[Any]:
        if isinstance(value, dict):
            return {leaf for inner in value.values() for leaf in leaves(inner)}
        return {leaf for inner in value for leaf in leaves(inner)} if isinstance(value, list) else {value}

    assert leaves(landed([{"path": path, "method": "drop"}], PATIENT)) == leaves(PATIENT) - gone
    assert set(map(str, finder(path)(PATIENT))) >= {str(value) for value in gone if path != "address.*"}
    found = arrow([{"path": path, "method": "drop"}], {name: [value] for name, value in PATIENT.items()})
    there = {
        name: json.loads(one) if str(one)[:1] in "{[" and isinstance(one, str) else one
        for name, (one,) in found.items()
    }
    assert leaves(there) - {None} == leaves(PATIENT) - gone


def test_what_no_rule_finds_is_the_very_value_that_came() -> None:
    found = landed([{"path": "name.family", "method": "hash"}], PATIENT)
    assert found["address"] is PATIENT["address"]
    assert PATIENT["name"][0]["family"] == "Quill", "the reader's row is not changed"
    assert found["name"][0] == {"family": hashed("Quill", KEY), "given": ["Ann", "Bea"]}


def test_the_first_rule_counts_and_a_part_may_be_said_before_the_whole() -> None:
    rules = [{"path": "address.city", "method": "as_is"}, {"path": "address", "method": "drop"}]
    assert landed(rules, PATIENT)["address"] == {"city": "Ulm"}
    assert "address" not in landed(rules[::-1], PATIENT)
    assert landed([{"path": "a", "method": "year"}, {"path": "a", "method": "drop"}], {"a": "2024-01-01"}) == {
        "a": "2024"
    }


def test_a_rule_for_an_object_counts_for_each_value_in_it() -> None:
    row = {"period": {"start": "2024-01-31", "end": "2024-02-01"}}
    assert landed([{"path": "period", "method": "year"}], row) == {"period": {"start": "2024", "end": "2024"}}
    assert landed([{"path": "period", "method": "redact"}], row) == {"period": None}


def test_json_texts_of_databases_are_gone_through() -> None:
    texts = ['{"ssn": "1", "n": 1.50}', None, '{"n": 2}']
    rules = [{"path": "data.ssn", "method": "drop"}]
    assert arrow(rules, {"data": texts})["data"] == ['{"n":1.50}', None, '{"n":2}']
    assert arrow([{"names": ["ssn"], "method": "drop"}], {"data": texts}, json=["data"])["data"] == [
        '{"n":1.50}', None, '{"n":2}',
    ]  # fmt: skip
    step = protecting(rules)
    assert step(pa.table({"data": ["ssn canary"]})).column("data").to_pylist() == [None]
    assert step.treating.untreatable == {-1: 1}


def test_names_are_found_by_their_words_at_any_depth() -> None:
    assert words_of("patientBirthDate2") == ("patient", "birth", "date", "2")
    row = {"patientBirthDate": "1970-01-31", "who": {"birth_date": "1970-01-31", "birth": 1}, "rebirth_dates": "x"}
    assert landed([{"names": ["birth_date"], "method": "year"}], row) == {
        "patientBirthDate": "1970", "who": {"birth_date": "1970", "birth": 1}, "rebirth_dates": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "yes", "no"),
    [
        (
            "dates",
            ["2024-01-31", "2024-01-31T08:00:00Z", "20240131", date(2024, 1, 31)],
            ["2024", "2024-02-30", "x", 5],
        ),
        ("emails", ["write to a.b@c.org!"], ["a@b", "@home"]),
        ("ssns", ["ssn 123-45-6789"], ["2123-45-67890", "2024-01-31"]),
        (
            "phone_numbers",
            ["call (206) 555-0100", "206-555-0100", "+49 30 1234"],
            ["2024-01-31", "1.2.840.10008", "5 - 7"],
        ),
        ("urls", ["see https://a.b/c", "www.a.org"], ["a.org", "http"]),
        ("ip_addresses", ["from 10.0.0.1", "fe80:0:0:1:2:3:4:5"], ["1.2.840.10008", "1.50", "08:00:00", "300.1.1.1"]),
    ],
)
def test_values_are_found_by_what_they_are(kind: str, yes: list[Any], no: list[Any]) -> None:
    assert [is_a(Kind(kind), value) for value in yes] == [True] * len(yes)
    assert [is_a(Kind(kind), value) for value in no] == [False] * len(no)
    rule = [{"values": kind, "method": "redact"}]
    assert landed(rule, {"a": {"b": yes, "c": no}}) == {"a": {"b": [None] * len(yes), "c": no}}
    texts = [value for value in (*yes, *no) if isinstance(value, str)]
    assert arrow(rule, {"a": texts})["a"] == [None if value in yes else value for value in texts]
    assert arrow([{"values": "dates", "method": "year"}], {"a": [date(2024, 1, 31)]}) == {"a": ["2024"]}


# --- dates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "days", "lands"),
    [
        ("2024-02-28", 2, "2024-03-01"),
        ("20240228", 2, "20240301"),
        (20240228, 2, 20240301),
        ("2024-01-01T23:30:00.5+05:30", -1, "2023-12-31T23:30:00.5+05:30"),
        ("2024-01-01 23:30", -1, "2023-12-31 23:30"),
        ("20240101233000+0100", -1, "20231231233000+0100"),
        ("2024-01", -1, "2023-12"),
        ("2024", -1, "2023"),
        ("2024", 100, "2024"),
        (date(2024, 1, 1), -1, date(2023, 12, 31)),
        ("0001-01-01", -1, None),
        ("9999-12-31", 1, None),
        ("2024-02-30", 1, None),
        ("01/02/2024", 1, None),
        ("08:00", 1, None),
        (True, 1, None),
    ],
)
def test_a_date_moves_as_it_is_written(value: Any, days: int, lands: Any) -> None:
    assert shifted(value, days) == lands


CENTURIES = datetime.fromisoformat("1800-01-01"), datetime.fromisoformat("2200-01-01")


@given(
    st.lists(st.datetimes(*CENTURIES), min_size=2, max_size=6),
    st.text(min_size=1),
    st.text(min_size=1),
    st.sampled_from(["+00:00", "Z", "-03:30", "+14:00"]),
)
def test_intervals_within_a_patient_are_exact(moments: list[datetime], one: str, other: str, zone: str) -> None:
    rules = [{"path": "at", "method": "shift_dates", "days": 30}]
    texts = [f"{moment.isoformat()}{zone}" for moment in moments]
    step = protecting(rules, patient="who")
    moved = [row["at"] for row in step([{"who": one, "at": text} for text in texts])]
    read = [datetime.fromisoformat(text) for text in texts]
    shifts = {datetime.fromisoformat(after) - before for before, after in zip(read, moved, strict=True)}
    assert shifts == {timedelta(days=offset(KEY, one, 30))}
    assert 1 <= abs(offset(KEY, one, 30)) <= 30
    assert (offset(KEY, one, 30) == offset(KEY, other, 30)) or one != other
    # Arrow's dates, moments and texts move alike, each as its patient's do.
    table = pa.table(
        {
            "who": [one, other] * len(moments),
            "at": [moment for moment in moments for _ in range(2)],
            "on": [moment.date() for moment in moments for _ in range(2)],
            "text": [text for text in texts for _ in range(2)],
        }
    )  # fmt: skip
    found = protecting(
        [{"path": name, "method": "shift_dates", "days": 30} for name in ("at", "on", "text")], patient="who"
    )(table)
    for index, row in enumerate(found.to_pylist()):
        days = timedelta(days=offset(KEY, (one, other)[index % 2], 30))
        assert row["at"] == moments[index // 2] + days
        assert row["on"] == moments[index // 2].date() + days
        assert datetime.fromisoformat(row["text"]) == read[index // 2] + days


def test_a_row_that_does_not_say_whose_it_is_keeps_no_date() -> None:
    step = protecting([{"path": "at", "method": "shift_dates"}], patient="who")
    assert step([{"at": "2024-01-31"}, {"who": None, "at": "2024-01-31"}]) == [{"at": None}, {"who": None, "at": None}]
    assert step.treating.untreatable == {0: 2}
    table = step(pa.table({"at": [date(2024, 1, 31)]}))
    assert table.column("at").to_pylist() == [None]


def test_a_patient_is_the_same_by_id_and_by_reference() -> None:
    assert len({offset(KEY, who, 180) for who in ("7", 7, "Patient/7", "https://a/fhir/Patient/7")}) == 1


def test_moments_at_the_ends_of_their_type_land_as_nothing() -> None:
    ends = pa.array([-(2**63), 2**63 - 1, 0], pa.timestamp("ns"))
    step = protecting([{"path": "at", "method": "shift_dates"}], patient="who")
    found = step(pa.table({"at": ends, "who": ["x"] * 3})).column("at").cast(pa.int64()).to_pylist()
    assert found == [None, None, offset(KEY, "x", 180) * 86_400 * 10**9]


@given(st.dates(), st.text())
def test_years_and_months_are_those_of_the_date(day: date, other: str) -> None:
    assert (year_of(day.isoformat()), month_of(day)) == (day.isoformat()[:4], day.isoformat()[:7])
    found = arrow([{"path": "a", "method": "month"}], {"a": [day]})
    assert found == {"a": [day.isoformat()[:7]]}
    assert year_of(other) is None or str(year_of(other)) in other


WRITTEN = {
    "2024-05": "2024", "2024---03": "2024", "--05-03": None, "--05": None, "2024/5/3": "2024", "14.03.2019": "2019",
    "3/14/2019 8:30 PM": "2019", "03/14/19": None, "14-MAR-2019": "2019", "14-MAR-19": None,
    "14MAR2019:08:30:00": "2019", "March 14, 2019": "2019", "MAR2019": "2019", "20240503": "2024",
    "2024-05-03T10": "2024",
}  # fmt: skip
OTHERWISE = ["2024", "1234-56", "120/80", "1.2.840.113619", "12-34-567", "maybe 2", "Mar", "94563", "3-4-5", "1.2.19"]


def test_dates_are_known_however_they_are_written() -> None:
    rules = [{"values": "dates", "method": "year"}]
    assert arrow(rules, {"a": [*WRITTEN, *OTHERWISE]}) == {"a": [*WRITTEN.values(), *OTHERWISE]}
    found = protecting(rules)([{"a": value} for value in (*WRITTEN, *OTHERWISE)])
    assert [row["a"] for row in found] == [*WRITTEN.values(), *OTHERWISE]
    # A day that may be a month is moved by nobody, and does not stay where it was.
    moved = arrow(
        [{"values": "dates", "method": "shift_dates"}], {"a": ["03/04/2019", "x"], "who": ["1", "1"]}, patient="who"
    )
    assert moved["a"] == [None, "x"]


def test_profiles_know_words_that_clinics_write_as_one() -> None:
    names = ["PATNAME", "PATIENTID", "PTID", "HOMEPHONE", "EMAILADDR", "STREETADDRESS", "MEMBERID", "SUBJINIT"]
    row = dict.fromkeys(names, "canary")
    for profile in SHIPPED.values():
        found = landed(list(profile.rules), {**row, "PATHOLOGY": "x", "FNAMEX": "y"})
        assert "canary" not in str(found)
        assert (found["PATHOLOGY"], found["FNAMEX"]) == ("x", "y")


# --- what is the same, and what is not let through -------------------------------------------------------------------


VALUES = st.one_of(st.text(max_size=8), st.integers(-(10**9), 10**9), st.booleans(), st.none(), st.dates().map(str))
NAMES = st.sampled_from(["id", "name", "family", "code", "note", "extension", "newField", "x y"])
NESTED = st.recursive(VALUES, lambda each: st.lists(each, max_size=3) | st.dictionaries(NAMES, each, max_size=3))
ROWS = st.dictionaries(NAMES, NESTED, max_size=6)


@given(VALUES)
def test_the_same_value_is_the_same_token_on_every_way(value: Any) -> None:
    rule = [{"path": "a", "method": "hash"}]
    token = landed(rule, {"a": value})["a"]
    assert token == hashed(value, KEY)
    assert landed([{"path": "b.c", "method": "hash"}], {"b": [{"c": value}]})["b"][0]["c"] == token
    assert arrow(rule, {"a": pa.array([value, value])}) == {"a": [token, token]}


def listed(row: Any, allowed: dict[str, Any]) -> bool:
    """Whether a row has nothing but what is listed: names, by what may be in each (None: anything)."""
    if isinstance(row, list):
        return all(listed(item, allowed) for item in row)
    if not isinstance(row, dict):
        return False
    return all(
        name in allowed and (allowed[name] is None or listed(value, allowed[name])) for name, value in row.items()
    )


@given(ROWS)
def test_keep_lets_nothing_through_that_is_not_listed(row: dict[str, Any]) -> None:
    keep = {"keep": ["id", "name.family", "name.code"]}
    allowed: dict[str, Any] = {"id": None, "name": {"family": None, "code": None}}
    found = landed(keep, row) or {}
    assert listed(found, allowed)
    assert found.get("id") == row.get("id")
    assert set(found) <= set(row)
    tables = arrow(keep, {name: pa.array([json.dumps(value)]) for name, value in row.items()}, json=tuple(row))
    for name, values in tables.items():
        inner = json.loads(values[0]) if values[0] is not None else {}
        assert name == "id" or (name == "name" and (inner == [] or listed(inner, allowed["name"])))


@given(ROWS)
def test_a_dropped_name_is_nowhere(row: dict[str, Any]) -> None:
    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {name for inner in value.values() for name in names(inner)}
        return {name for inner in value for name in names(inner)} if isinstance(value, list) else set()

    for rule in ({"path": "**.note"}, {"names": ["note"]}):
        found = landed([{**rule, "method": "drop"}], row)
        assert "note" not in names(found)
        assert landed([{**rule, "method": "as_is"}], row) in (row, None)


def test_what_is_kept_is_treated_too_and_nested_texts_that_are_no_json_stay_away() -> None:
    said = {"keep": ["id", "data.code"], "rules": [{"path": "data.code", "method": "hash"}]}
    assert landed(said, {"id": 1, "data": {"code": "x", "note": "canary"}}) == {
        "id": 1,
        "data": {"code": hashed("x", KEY)},
    }
    assert landed(said, {"id": 1, "data": "canary"}) == {"id": 1}
    assert arrow(said, {"id": [1], "data": ["canary"], "more": ["canary"]}) == {"id": [1], "data": [None]}


def test_a_key_that_a_rule_would_make_one_with_another_is_refused() -> None:
    rules = [{"values": "dates", "method": "year"}]
    for page in (
        [{"day": "2024-01-31"}],
        pa.table({"day": [date(2024, 1, 31)]}),
        pa.table({"day": ["x", "2024-01-31"]}),
    ):
        with pytest.raises(ConfigurationError, match="'day' is part of the key of t") as caught:
            protecting(rules, keys=("Day",))(page)
        assert "2024" not in str(caught.value)
    assert landed(rules, {"day": "x"}, keys=("day",)) == {"day": "x"}


def test_what_stands_beside_a_column_has_its_rules() -> None:
    for name in ("born", "Born"):
        row = {name: None, f"{name}__v_text": "canary"}
        assert landed([{"path": "born", "method": "drop"}], row) == {}
        assert landed([{"path": "born", "method": "year"}], row) == {name: None, f"{name}__v_text": None}
        assert landed({"keep": ["id"]}, {"id": 1, **row}) == {"id": 1}
        assert landed({"keep": ["born"]}, row) == row


# --- which rows may leave --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "value", "rows"),
    [
        ("==", "yes", [0]), ("!=", "yes", [1, 2, 3]), ("in", ["yes", "9"], [0, 2]), ("not_in", ["yes", 10], [2]),
        ("<", 10, [2]), (">=", 9, [1, 2, 3]), ("exists", None, [0, 1, 2, 3]), ("missing", None, [4, 5]),
        ("==", 10, [1, 3]), ("==", "10", [1, 3]),
    ],
)  # fmt: skip
def test_a_row_leaves_when_it_meets_the_condition(op: str, value: Any, rows: list[int]) -> None:
    given_rows = [{"a": "yes"}, {"a": 10}, {"a": "9"}, {"a": [{"b": 1}, "10"]}, {"a": None}, {}]
    may = may_leave([Condition(path="a", op=Op(op), value=value)], "t")
    assert may is not None
    assert [index for index, row in enumerate(given_rows) if may(row)] == rows


def test_a_condition_is_for_its_tables_alone() -> None:
    assert may_leave([Condition(path="a", op=Op.EXISTS, tables=("u",))], "t") is None


def test_a_profile_has_other_rules_for_fhir() -> None:
    profile = Profile(rules=(Rule(path="a", method=Method.HASH),), fhir=Treatment(keep={"*": ("id",)}))
    assert (profile.of("fhir").keep, profile.of("files").keep) == ({"*": ("id",)}, None)


def test_a_profile_has_other_rules_for_segments_beside_other_tables() -> None:
    lists = Treatment(rules=(Rule(path="pid_3", method=Method.HASH),), keep={"*": ("pid_3",)})
    profile = Profile(rules=(Rule(path="pid_5", method=Method.HASH),), hl7=lists)
    found = profile.of("files", ("lab_PID",))
    row = {"pid_3": "1", "pid_5": "2", "x": "3"}
    for table, lands in (("lab_PID", {"pid_3": hashed("1", KEY)}), ("visit", {**row, "pid_5": hashed("2", KEY)})):
        step = Protecting(table, matcher_of(found, table), KEY, TODAY, may=None, patients=None, keys=(), mark=None)
        step._marked = True
        assert step([row]) == [lands]
    assert profile.of("files").keep is None
    assert Profile(rules=profile.rules).of("files", ("lab_PID",)).keep is None


def test_numbers_that_are_none_are_no_ages_and_no_zip_codes() -> None:
    found = (capped(True), capped("NaN"), zip3(True), zip3("1011"), rounded("1e400", Decimal(5)))
    assert found == (None, None, None, None, None)
