"""Two sides of a table compared: losses, surplus and changed values are found by key, and nothing else."""

import decimal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipelines.loading.comparing.proving import compare, sentence_of
from pipelines.loading.comparing.reading import Reread

ROWS = 100_000


def side(path: Path, columns: dict[str, Any]) -> str:
    pa.parquet.write_table(pa.table(columns), path)
    return str(path)


def found(tmp_path: Path, source: dict[str, Any], standing: dict[str, Any], key: tuple[str, ...] = ("id",)) -> Any:
    files = [side(tmp_path / "source.parquet", source)] if source else []
    read = Reread("visit", key, tuple(standing), ())
    return compare(files, side(tmp_path / "standing.parquet", standing), read, [*standing], tmp_path)


def test_one_planted_loss_one_surplus_and_one_change_are_named(tmp_path: Path) -> None:
    ids = list(range(ROWS))
    notes = [f"n{number}" for number in ids]
    there = [number for number in ids if number != 777] + [ROWS + 5]
    changed = [f"n{number}" if number != 4242 else "other" for number in there]
    compared, differences = found(tmp_path, {"id": ids, "note": notes}, {"id": there, "note": changed})
    assert (compared.at_source, compared.in_destination) == (ROWS, ROWS)
    assert (compared.missing, compared.extra, compared.different) == (1, 1, 1)
    assert set(differences) == {
        ('{"id":777}', "missing"),
        (f'{{"id":{ROWS + 5}}}', "extra"),
        ('{"id":4242}', "different"),
    }
    assert not compared.is_equal


def test_values_swapped_between_two_rows_are_seen(tmp_path: Path) -> None:
    compared, differences = found(tmp_path, {"id": [1, 2], "note": ["a", "b"]}, {"id": [1, 2], "note": ["b", "a"]})
    assert compared.different == 2
    assert len(differences) == 2


def test_keys_of_several_columns_and_empty_values(tmp_path: Path) -> None:
    both = {"id": [1, 1, 2], "site": ["a", "b", "a"], "note": ["x", None, ""]}
    compared, _ = found(tmp_path, both, both, ("id", "site"))
    assert compared.is_equal
    compared, _ = found(tmp_path, both, {**both, "note": ["x", "", ""]}, ("id", "site"))
    assert compared.different == 1


def test_an_empty_source_is_all_surplus(tmp_path: Path) -> None:
    compared, _ = found(tmp_path, {}, {"id": [1, 2], "note": ["a", "b"]})
    assert (compared.at_source, compared.in_destination, compared.extra) == (0, 2, 2)


AT = datetime(2024, 1, 31, 8, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("source", "standing"),
    [
        (pa.array([7], pa.int64()), pa.array([7], pa.int32())),
        (pa.array([decimal.Decimal("1.50")], pa.decimal128(38, 9)), pa.array(["1.500000000"])),
        (
            pa.array([decimal.Decimal("1.50")], pa.decimal128(10, 2)),
            pa.array([decimal.Decimal("1.5")], pa.decimal128(38, 9)),
        ),
        (pa.array([AT], pa.timestamp("us", "UTC")), pa.array([AT], pa.timestamp("us", "UTC"))),
        (pa.array([AT.replace(tzinfo=None)], pa.timestamp("us")), pa.array([AT], pa.timestamp("us", "UTC"))),
        (pa.array([0.1], pa.float64()), pa.array([0.1], pa.float64())),
        (pa.array([b"\x00\xff"]), pa.array([b"\x00\xff"])),
    ],
    ids=["whole", "decimal as text", "decimals", "moment", "moment without zone", "double", "bytes"],
)
def test_drivers_differ_and_values_do_not(tmp_path: Path, source: pa.Array, standing: pa.Array) -> None:
    compared, _ = found(tmp_path, {"id": [1], "value": source}, {"id": [1], "value": standing})
    assert compared.is_equal


def test_the_last_digit_counts(tmp_path: Path) -> None:
    one = pa.array([decimal.Decimal("1.500000001")], pa.decimal128(38, 9))
    compared, _ = found(tmp_path, {"id": [1], "value": one}, {"id": [1], "value": pa.array(["1.500000002"])})
    assert compared.different == 1
    compared, _ = found(tmp_path, {"id": [1], "value": [0.1]}, {"id": [1], "value": [0.1 + 2**-55]})
    assert compared.different == 1


def test_no_value_stands_in_the_sentence(tmp_path: Path) -> None:
    compared, _ = found(tmp_path, {"id": ["secret-key"]}, {"id": ["other-key"]})
    sentence = sentence_of(compared, "connector_1")
    assert sentence == (
        "Table 'visit': 1 rows at the source, 1 landed; 1 are missing, 1 are too many, 0 are different: their keys "
        "stand in connector_1._cai_differences."
    )
