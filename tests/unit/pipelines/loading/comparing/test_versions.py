"""Histories: names and types of their columns."""

import pytest

from pipelines.loading.comparing.versions import LONGEST_NAME, history_of, holding


@pytest.mark.parametrize(
    ("standing", "arriving", "wanted"),
    [
        ("BIGINT", "BIGINT", "BIGINT"),
        ("INTEGER", "BIGINT", "BIGINT"),
        ("BIGINT", "INTEGER", "BIGINT"),
        ("BIGINT", "DECIMAL(21,2)", "DECIMAL(21,2)"),
        ("BIGINT", "DECIMAL(12,2)", "decimal(21,2)"),
        ("DECIMAL(12,2)", "DECIMAL(12,4)", "decimal(14,4)"),
        ("bigint", "numeric(38,30)", "varchar"),
        ("numeric(12,2)", "bigint", "decimal(21,2)"),
        ("date", "timestamp without time zone", "timestamp without time zone"),
        ("date", "timestamp with time zone", "varchar"),
        ("timestamp without time zone", "timestamp with time zone", "varchar"),
        ("character varying(20)", "character varying", "character varying"),
        ("character varying", "character varying(20)", "character varying"),
        ("bigint", "double precision", "varchar"),
        ("double precision", "character varying", "varchar"),
        ("VARCHAR", "BIGINT", "varchar"),
        ("UBIGINT", "BIGINT", "decimal(20,0)"),
        ("UINTEGER", "BIGINT", "BIGINT"),
        ("boolean", "bigint", "varchar"),
        ("json", "character varying", "varchar"),
    ],
)
def test_a_column_takes_the_values_of_both_types(standing: str, arriving: str, wanted: str) -> None:
    assert holding(standing, arriving) == wanted


def test_no_two_tables_have_one_history() -> None:
    long = ["a" * 60 + end for end in ("1", "2", "3")]
    names = {history_of(table) for table in [*long, "visit"]}
    assert len(names) == 4
    assert max(len(name.encode()) for name in names) <= LONGEST_NAME
    assert "visit__history" in names
