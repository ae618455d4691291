"""Keyed hashes: those of the library, one by one and by the column, and dates that move by the column."""

import hmac
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.protection.methods import arrow_hashes
from pipelines.protection.methods.arrow_hashes import Known, hashes, offsets, once_each
from pipelines.protection.methods.dates import shifted
from pipelines.protection.methods.hashing import Hashing, as_text, hashed
from pipelines.protection.methods.tokens import Tokens
from pipelines.protection.methods.values import OF_PATIENT, id_of, offset, rounded
from tests.unit.pipelines.protection.test_treating import KEY, protecting


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_hash_is_that_of_the_library(key: bytes, message: bytes) -> None:
    assert Hashing(key).digest(message) == hmac.digest(key, message, "sha256")


GOLDEN = {
    "MRN-0042": "13ee7ab6881fda40b6b50a2e66042c9264977217bdf12d11c8fff68958039845",
    "7": "43c875c1027e0bb60b3c5e055d7245befa0322f45d7a0f86cfb578e79a5ce269",
    "ü": "a90e88ea6eadde08d56b5a28dbe75cec2273ef49d36909fe5fd2e2d80769374f",
    "": "d38b42096d80f45f826b44a9d5607de72496a415d3f4a1a8c88e3bb9da8dc1cb",
    Decimal("7.10"): "a0d50002bb1acc165b833f115b96c8f7e929979a29230353076d062d1257bc8d",
    True: "4476aeee13a643ca50916f9b6ef8acc90eee4ae04c4f56720ccc2d67eeacd8f0",
    date(2024, 1, 31): "7576199a7355e3bd81e42df2d4cba84b940b9b1549b2c97890c50eebf1b12610",
}
"""What stands in tables of installations whose key has the bytes 0 to 31: joins hold as long as it does."""


def test_what_landed_in_earlier_versions_lands_in_this_one() -> None:
    key = bytes(range(32))
    assert {value: hashed(value, key) for value in GOLDEN} == GOLDEN
    for value, lands in GOLDEN.items():
        assert hashes(pa.array([value]), Hashing(key)).to_pylist() == [lands]
    assert (hashed(7, key), hashed(7.0, key)) == (GOLDEN["7"], GOLDEN["7"])
    assert [offset(key, who, 180) for who in ("7", "Patient/7", "MRN-0042")] == [-129, -129, 173]
    assert Tokens(key).of("MRN-0042-77") == "FAS-6965-81"


@pytest.mark.parametrize(
    "values",
    [
        ["a", None, "", "a", "ü"],
        pa.array(["a", "a", None]).dictionary_encode(),
        [1, -(2**63), None, 1],
        [True, None, False],
        [1.0, 1.5, None, float("nan")],
        [Decimal("-7"), Decimal("99999999999999999999"), None],
        [Decimal("7.10"), None],
        [date(2024, 1, 31), None],
        [datetime(2024, 1, 31, 8, tzinfo=UTC), None],
        [[1, 2], None],
        [],
    ],
    ids=str,
)
def test_a_column_has_the_hashes_of_its_values(values: Any) -> None:
    column = pa.chunked_array([pa.array(values) if isinstance(values, list) else values] * 2)
    found = once_each(column, lambda distinct: hashes(distinct, Hashing(KEY))).to_pylist()
    assert found == [hashed(value, KEY) for value in column.to_pylist()]


def test_of_a_column_of_keys_no_distinct_values_are_looked_for(monkeypatch: Any) -> None:
    monkeypatch.setattr(arrow_hashes, "_ENOUGH", 100)
    looked_at: list[int] = []
    encoded = arrow_hashes.encoded

    def noted(values: pa.ChunkedArray) -> Any:
        looked_at.append(len(values))
        return encoded(values)

    monkeypatch.setattr(arrow_hashes, "encoded", noted)
    known = Known()

    def land(values: Any) -> None:
        column = pa.chunked_array([pa.array(values)])
        found = once_each(column, lambda distinct: hashes(distinct, Hashing(KEY)), known).to_pylist()
        assert found == [hashed(value, KEY) for value in values]

    for page in range(6):
        land(range(page * 50, page * 50 + 50))
    assert len(looked_at) == 3
    land([1, 1, None])
    assert len(looked_at) == 4
    # Patients who come again are never taken for keys.
    again = Known()
    for _ in range(6):
        column = pa.chunked_array([pa.array(range(50))])
        once_each(column, lambda distinct: hashes(distinct, Hashing(KEY)), again)
    assert not again.is_of_keys


_DECIMALS = [Decimal(f"{cents}e-2") for cents in (250, 750, -250, 749, -1251, 0, 99, 15, 9_999_999_999, -9_999_999_750)]


@pytest.mark.parametrize("to", [5, 0.5, 0.3, 0.25, 7, 1e-9])
@pytest.mark.parametrize("values", [_DECIMALS, _DECIMALS[:-2], []], ids=len)
def test_a_column_of_decimals_is_rounded_as_each_of_them_is(values: list[Decimal], to: float) -> None:
    step = protecting([{"path": "cost", "method": "round", "to": to}])
    found = step(pa.table({"cost": pa.array([*values, None], pa.decimal128(10, 2))})).column("cost").to_pylist()
    assert found == [*(rounded(value, Decimal(repr(float(to)))) for value in values), None]


@pytest.mark.parametrize("most", [0, 5, 1_000])
@pytest.mark.parametrize("of", [lambda n: n % 7, lambda n: n, lambda n: f"p{n * n % 11}", lambda n: Decimal(n % 9) / 4])
def test_values_of_pages_before_have_the_hashes_that_they_had(monkeypatch: Any, of: Any, most: int) -> None:
    monkeypatch.setattr(arrow_hashes, "REMEMBERED", most)
    known, made = Known(), list[int]()

    def make(distinct: pa.Array) -> pa.Array:
        made.append(len(distinct))
        return hashes(distinct, Hashing(KEY))

    for page in range(12):
        values = [None if n % 5 == 0 else of(n) for n in range(page * 20, page * 20 + 20)]
        column = pa.chunked_array([pa.array(values, pa.decimal128(6, 2) if isinstance(of(1), Decimal) else None)])
        assert once_each(column, make, known).to_pylist() == [hashed(value, KEY) for value in column.to_pylist()]
    assert sum(made) == 192 if of(100) == 100 else most < 10 or sum(made) < 12


@pytest.mark.parametrize("who", [["7", None, "Patient/7", "a/b"], [7, None, 8], [Decimal("7.0"), None]], ids=str)
def test_a_column_of_patients_has_their_offsets(who: list[Any]) -> None:
    found = offsets(pa.array(who), Hashing(KEY), 30, OF_PATIENT, id_of).to_pylist()
    assert found == [None if each is None else offset(KEY, each, 30) for each in who]
    assert as_text(Decimal("7.0")) == "7"


WRITTEN = ["2024-02-28", "2024-01-31T08:00:00.5+01:00", "0001-01-01", "9999-12-31", "0999-12-31 08:00", "20240131"]
ODD = ["2024-01", "soon", "2024-02-30", " 2024-01-31", "2024-01-31x", "2024-01-31\n", "", None, "2024-01-31 8:00"]


@pytest.mark.parametrize("texts", [WRITTEN, ODD, WRITTEN + ODD, [*WRITTEN, "2024-01", None], ["2024-01-31"]], ids=len)
def test_a_column_of_texts_moves_as_each_of_them_does(texts: list[Any]) -> None:
    rows = [(text, who) for who in ("a", "b", None) for text in texts]
    step = protecting([{"path": "at", "method": "shift_dates"}], patient="who")
    found = step(pa.table({"at": [text for text, _ in rows], "who": pa.array([who for _, who in rows], pa.string())}))
    expected = [None if text is None or who is None else shifted(text, offset(KEY, who, 180)) for text, who in rows]
    assert found.column("at").to_pylist() == expected
    failed = sum(text is not None and lands is None for (text, _), lands in zip(rows, expected, strict=True))
    assert step.treating.untreatable[0] == failed
