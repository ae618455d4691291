"""Rows of a load: what is counted in Arrow as rows pass by is what DuckDB counts, for any values and types."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.sources.checks import Checks
from pipelines.loading.checking import rows_of_load, tallies
from pipelines.loading.checking.findings import Finding
from pipelines.loading.checking.passing import Passing
from pipelines.loading.checking.rows_of_load import RowsOfLoad

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
VALUES: dict[pa.DataType, list[Any]] = {
    pa.string(): ["a", "1", "1.0", "true", "", "A"],
    pa.int16(): [0, 1, 2, -1],
    pa.int64(): [0, 1, 2**53 + 1, -(2**63)],
    pa.float64(): [0.0, -0.0, 1.0, 0.1, float("nan"), float("inf")],
    pa.float32(): [0.0, 1.0, 0.5],
    pa.decimal128(10, 2): [Decimal("1.00"), Decimal("0.10"), Decimal(2)],
    pa.bool_(): [True, False],
    pa.date32(): [date(2020, 1, 1), date(2026, 1, 1), date(2999, 1, 1)],
    pa.timestamp("us", "UTC"): [datetime(2020, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)],
    pa.timestamp("ms"): [datetime(2020, 1, 1), datetime(2026, 1, 2, 0, 0, 0)],  # noqa: DTZ001  # as a naive column has
}
ACCEPTED = ["a", "true", "1", 1, 2.0, 0, True, "0.1", "2020-01-01", 2**53 + 1, 1.5]


@st.composite
def files(draw: st.DrawFn) -> list[dict[str, tuple[pa.DataType, list[Any]]]]:
    """One to three files of the same columns, of which one may lack some."""
    kinds = {name: draw(st.sampled_from(list(VALUES))) for name in ("a", "b", "a__v_text")}
    found = []
    for _ in range(draw(st.integers(1, 3))):
        rows = draw(st.integers(1, 6))
        names = ["a", "b", *(["a__v_text"] if draw(st.booleans()) else [])]
        values = {name: st.one_of(st.none(), st.sampled_from(VALUES[kinds[name]])) for name in names}
        found.append(
            {name: (kinds[name], draw(st.lists(each, min_size=rows, max_size=rows))) for name, each in values.items()}
        )
    return found


@pytest.fixture(scope="module")
def duck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rows_of_load.Duck]:
    with rows_of_load.lazily(tmp_path_factory.mktemp("duck")) as opened:
        yield opened


def write(passing: Passing, path: Path, rows: pa.Table) -> None:
    """Write rows in two pieces, and let them be counted."""
    with pyarrow.parquet.ParquetWriter(path, rows.schema) as writer:
        passing.watched(str(path), writer)
        for piece in (rows.slice(0, 2), rows.slice(2)):
            writer.write_table(piece)


@given(
    files(),
    st.lists(st.sampled_from(ACCEPTED), min_size=1, max_size=4),
    st.sampled_from([["a"], [["a", "b"]], ["a", "b"]]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrow_and_duckdb_count_the_same(
    duck: rows_of_load.Duck,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tables: list[dict[str, tuple[pa.DataType, list[Any]]]],
    accepted: list[Any],
    unique: list[Any],
) -> None:
    checks = Checks.model_validate(
        {
            "not_null": ["a", "b", "c"],
            "unique": unique,
            "accepted": {"a": accepted, "b": accepted},
            "freshness": {"column": "b", "max_age": 60},
        }
    )
    passing = Passing({"t": checks}, lambda: NOW)
    passing.expect("t", ())
    paths = [tmp_path / f"t.{number}.parquet" for number, _ in enumerate(tables)]
    for path, columns in zip(paths, tables, strict=True):
        write(passing, path, pa.table({n: pa.array(v, k) for n, (k, v) in columns.items()}))

    def found(counted: Passing | None = None) -> tuple[list[Finding], float | None]:
        rows = RowsOfLoad(duck, "t", paths, tmp_path)
        rows.count(checks, (), NOW, counted)
        return list(rows.failing(checks)), rows.newest("b", NOW)

    in_arrow = found()
    assert found(passing) == in_arrow
    with monkeypatch.context() as patch:
        patch.setattr(tallies, "others", lambda *_: None)
        patch.setattr(tallies, "doubled", lambda *_: None)
        patch.setattr(tallies, "newest", lambda *_: None)
        assert in_arrow == found()


def test_rows_of_an_ordered_key_and_of_one_that_comes_again_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({"id": [1, 2, 3, 5, 5, None, None]}), path)
    checks = Checks.model_validate({"unique": ["id"]})
    with rows_of_load.lazily(tmp_path) as duck:
        rows = RowsOfLoad(duck, "t", [path], tmp_path)
        rows.count(checks, (), NOW)
        assert [each.words for each in rows.failing(checks)] == [
            "2 rows whose 'id' another row of the load has too (unique)"
        ]
        rows.count(checks, ("id",), NOW)  # merged by it: nothing comes twice, and nothing is counted
        assert list(rows.failing(checks)) == []


def test_what_was_counted_holds_for_the_files_that_were_written_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = Checks.model_validate({"not_null": ["a"], "unique": ["a"]})
    passing = Passing({"t": checks, "u": checks})
    passing.expect("t", ("id",))
    first, second = tmp_path / "t.1.parquet", tmp_path / "t.2.parquet"
    write(passing, first, pa.table({"id": [1, 2, 3], "a": ["x", "x", None]}))
    write(passing, second, pa.table({"id": [4, 5], "a": ["y", None]}))
    write(passing, tmp_path / "u.1.parquet", pa.table({"id": [1], "a": ["x"]}))  # nobody has asked for it

    def findings(*files: Path, key: tuple[str, ...] = ("id",)) -> tuple[list[str], bool]:
        read: list[RowsOfLoad] = []
        original = RowsOfLoad._pass

        def passed(self: RowsOfLoad) -> None:
            read.append(self)
            original(self)

        with rows_of_load.lazily(tmp_path) as duck, monkeypatch.context() as patch:
            patch.setattr(RowsOfLoad, "_pass", passed)
            rows = RowsOfLoad(duck, "t", files, tmp_path)
            rows.count(checks, key, NOW, passing)
            return [each.words for each in rows.failing(checks)], bool(read)

    whole = (["2 rows without 'a' (not_null)", "2 rows whose 'a' another row of the load has too (unique)"], False)
    assert findings(first, second) == whole
    assert findings(first, second, key=("a",)) == (["2 rows without 'a' (not_null)"], True), "merged by another key"
    assert findings(first) == (["1 row without 'a' (not_null)", whole[0][1]], True), "a file is gone"
    pyarrow.parquet.write_table(pa.table({"id": [2], "a": ["x"]}), first)  # written anew without older versions
    assert findings(first, second) == (["1 row without 'a' (not_null)"], True)
    pyarrow.parquet.write_table(pa.table({"id": [1, 2, 3], "a": [1, 1, 1]}), first)
    assert findings(first)[1], "as many rows, of another type"
