"""Names of columns: two of a source are two in the destination, the same ones in every load."""

import json

import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.rows.names import ColumnNames, Rule

NAME = st.one_of(
    st.text(alphabet="aAbB1_ +-*@|$éЯя患", max_size=6),
    st.sampled_from(
        ["pain_1", "pain___1", "x___99", "x____99", "CD4+", "CD4-", "CD4*", "ID", "id", "Id", "_dlt_load_id"]
    ),
    st.text(max_size=4),
    st.sampled_from(["a" * 70, "A" * 70, "a" * 69 + "+", "a" * 69 + "x", "b_" * 40]),
)
LOADS = st.lists(st.lists(NAME, min_size=1, max_size=6, unique=True), min_size=1, max_size=5)
RULE = st.builds(Rule, st.sampled_from([None, 63, 30]), of_arrow=st.booleans())


def loaded(rule: Rule, loads: list[list[str]], keys: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """The names of each of several loads, which know of each other what state and destination keep."""
    recorded, columns, found = None, set[str](), []
    for page in loads:
        names = ColumnNames(rule, keys=keys, columns=columns, recorded=recorded)
        found.append(dict(zip(page, names.of(page), strict=True)))
        columns |= set(found[-1].values())
        recorded = json.loads(json.dumps(names.recorded))
    return found


@given(RULE, LOADS)
@example(Rule(), [["ID"], ["id"], ["Id", "ID", "id"]])
@example(Rule(), [["id"], ["ID"]])
@example(Rule(63), [["A" * 70, "a" * 69 + "+"], ["a" * 70]])
def test_no_two_names_of_a_source_ever_land_as_one(rule: Rule, loads: list[list[str]]) -> None:
    landed: dict[str, str] = {}
    for page in loaded(rule, loads):
        for name, column in page.items():
            assert landed.setdefault(name, column) == column, "a column has moved"
    assert len(set(landed.values())) == len(landed)


@given(RULE, LOADS, st.lists(NAME, max_size=2).map(tuple))
def test_no_two_names_of_one_page_land_as_one(rule: Rule, loads: list[list[str]], keys: tuple[str, ...]) -> None:
    for page in loaded(rule, loads, keys):
        assert len(set(page.values())) == len(page)


@given(st.sampled_from([None, 63, 30]), st.booleans(), LOADS)
def test_dlt_leaves_landed_names_as_they_are(longest: int | None, of_arrow: bool, loads: list[list[str]]) -> None:
    convention = NamingConvention(longest or 0)
    for page in loaded(Rule(longest, of_arrow=of_arrow), loads):
        for column in page.values():
            assert convention.normalize_path(column) == column
            assert len(column) <= (longest or 1000)


@given(st.text(alphabet="aAbB1_ +-*@|$", min_size=1, max_size=12).filter(lambda name: name.strip()))
def test_a_name_that_is_alone_lands_as_dlt_lands_it(name: str) -> None:
    convention = NamingConvention(0)
    assert ColumnNames(Rule()).of([name]) == (convention.normalize_identifier(name),)
    if name.strip("_ "):
        assert ColumnNames(Rule(of_arrow=True)).of([name]) == (convention.normalize_path(name),)


@pytest.mark.parametrize(
    ("keys", "page", "owner"),
    [
        (("ID",), ["id", "ID"], "ID"),
        (("id",), ["ID", "id"], "id"),
        ((), ["ID", "id"], "id"),
        ((), ["ID", "Id"], "ID"),
        (("CD4-",), ["CD4+", "CD4-"], "CD4-"),
        (("patient_id",), ["Patient ID", "PatientID"], "Patient ID"),
    ],
)
def test_the_plain_name_is_owned_by_the_key_then_by_its_spelling_then_by_order(
    keys: tuple[str, ...], page: list[str], owner: str
) -> None:
    rule = Rule()
    names = ColumnNames(rule, keys=keys)
    landed = dict(zip(page, names.of(page), strict=True))
    assert landed.pop(owner) == rule.landed(owner)
    (other,) = landed
    assert names.told_apart == landed
    assert landed[other].startswith(f"{rule.landed(owner)}_")


def test_a_key_stays_the_key_however_a_later_file_spells_it() -> None:
    loads = [["patient_id"], ["Patient ID"], ["PATIENT_ID", "v"]]
    assert [page.popitem() if len(page) == 1 else page for page in loaded(Rule(), loads, ("patient_id",))] == [
        ("patient_id", "patient_id"),
        ("Patient ID", "patient_id"),
        {"PATIENT_ID": "patient_id", "v": "v"},
    ]


def test_a_table_of_an_earlier_version_keeps_its_columns() -> None:
    names = ColumnNames(Rule(), columns={"gr_e", "user_id", "_dlt_load_id", "x", "sparse"})
    assert names.of(["Größe", "userId", "user_id", "имя", "пол"]) == (
        "gr_e",
        "user_id_" + names.told_apart["userId"].rpartition("_")[2],
        "user_id",
        "imya",
        "pol",
    )
    later = ColumnNames(Rule(), columns={"gr_e", "user_id", "x", "sparse"}, recorded=names.recorded)
    assert later.of(["Größe", "Sparse"]) == ("gr_e", "sparse")


def test_names_are_found_again_when_the_record_is_lost() -> None:
    page = ["CD4-", "CD4+", "ID", "id"]
    first = ColumnNames(Rule())
    landed = dict(zip(page, first.of(page), strict=True))
    again = ColumnNames(Rule(), columns=set(landed.values()))
    assert dict(zip(reversed(page), again.of(page[::-1]), strict=True))["CD4+"] == landed["CD4+"]
    assert again.of(["CD4-", "id", "ID"]) == tuple(landed[name] for name in ("CD4-", "id", "ID"))


def test_a_page_of_thousands_of_columns_is_looked_at_once() -> None:
    class Counting(Rule):
        calls = 0

        def landed_before(self, name: str) -> str:
            self.calls += 1
            return super().landed_before(name)

    for names in ([f"Field {number}" for number in range(3_000)], [f"Größe {number}" for number in range(3_000)]):
        rule = Counting()
        landed = ColumnNames(rule, columns=[f"gr_e_{number}" for number in range(3_000)]).of(names)
        assert len(set(landed)) == 3_000
        assert rule.calls <= 2 * len(names)
