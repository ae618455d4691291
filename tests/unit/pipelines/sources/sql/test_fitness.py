"""Fitness of tables for streams: by their types, their keys, and what a run wants of them."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from connectors.sources.write_rules import SchemaContract
from pipelines.loading.streaming.column_types import sql_types
from pipelines.rows.types.columns import BIGINT, DOUBLE, JSON, MOMENT, NAIVE, TEXT, Column, decimal
from pipelines.sources.sql.streams.fitness import LEAST_BYTES, Origin, holds, odd_values, reason_against
from pipelines.sources.sql.streams.wishes import Wish

ID = {"id": sa.INTEGER()}
ORIGIN = Origin("r", False, LEAST_BYTES, frozenset({"id"}), {**ID, "at": postgresql.TIMESTAMP(), "note": sa.TEXT()})
MERGED = Wish(disposition="merge", key=("id",), cursor="at")


def test_a_plain_table_streams() -> None:
    assert reason_against(ORIGIN, Wish()) == ""
    assert reason_against(ORIGIN, MERGED) == ""
    assert reason_against(ORIGIN, replace(MERGED, known={"id": BIGINT, "at": NAIVE, "note": TEXT})) == ""
    assert reason_against(replace(ORIGIN, kind="p", size=0), MERGED) == ""


@pytest.mark.parametrize(
    ("origin", "wish", "reason"),
    [
        (replace(ORIGIN, size=LEAST_BYTES - 1), Wish(), "small"),
        (replace(ORIGIN, kind="v"), Wish(), "no table"),
        (ORIGIN, Wish(contract=SchemaContract.DISCARD_ROW), "schema_contract is discard_row"),
        (ORIGIN, Wish(contract=SchemaContract.ASK), "schema_contract is ask"),
        (ORIGIN, Wish(masks=frozenset({"note"})), "'note' is masked"),
        (replace(ORIGIN, primary_key=frozenset()), MERGED, "may come twice"),
        (replace(ORIGIN, primary_key=frozenset({"id", "at"})), MERGED, "may come twice"),
        (replace(ORIGIN, has_children=True), MERGED, "may come twice"),
        (ORIGIN, Wish(key=("note",)), "'note' may be empty"),
        (ORIGIN, Wish(required=("note",)), "'note' may be empty"),
        (ORIGIN, Wish(cursor="note"), "value by value"),
        (ORIGIN, Wish(known={"id": BIGINT, "at": NAIVE}), "'note' is new"),
        (ORIGIN, Wish(known={"id": BIGINT, "at": MOMENT, "note": TEXT}), "'at' has another type"),
        (replace(ORIGIN, columns={"Id": sa.INTEGER()}), Wish(), "'Id' lands by another name"),
        (replace(ORIGIN, columns={**ID, "id__v_text": sa.TEXT()}), Wish(), "lands by another name"),
        (replace(ORIGIN, columns={**ID, "n": sa.NUMERIC()}), Wish(), "'n' (numeric) are looked at"),
        (replace(ORIGIN, columns={**ID, "c": sa.CHAR(3)}), Wish(), "'c' (char) are looked at"),
        (replace(ORIGIN, columns={**ID, "t": postgresql.TIME(timezone=True)}), Wish(), "are looked at"),
    ],
)  # fmt: skip
def test_why_a_table_goes_through_files(origin: Origin, wish: Wish, reason: str) -> None:
    assert reason in reason_against(origin, wish)


@pytest.mark.parametrize(
    ("column", "arriving", "expected"),
    [
        (BIGINT, pa.int32(), True),
        (Column("bigint", pa.int16()), pa.int32(), False),
        (DOUBLE, pa.float32(), True),
        (Column("double", pa.float32()), pa.float64(), False),
        (DOUBLE, pa.int64(), False),
        (decimal(12, 2), pa.decimal128(10, 2), True),
        (decimal(12, 4), pa.decimal128(10, 2), True),
        (decimal(12, 1), pa.decimal128(10, 2), False),
        (decimal(10, 4), pa.decimal128(10, 2), False),
        (BIGINT, pa.decimal128(10, 0), False),
        (MOMENT, pa.timestamp("us", "UTC"), True),
        (MOMENT, pa.timestamp("us"), False),
        (Column("timestamp", pa.timestamp("ms")), pa.timestamp("us"), False),
        (NAIVE, pa.date32(), False),
        (TEXT, pa.string(), True),
        (Column("text", pa.string(), 12), pa.string(), False),
        (JSON, pa.string(), False),
        (Column("text", None), pa.string(), False),
    ],
)
def test_a_column_holds_every_value_of_a_type_or_the_table_does_not_stream(
    column: Column, arriving: pa.DataType, expected: bool
) -> None:
    assert holds(column, arriving) is expected


def test_only_types_with_values_beside_are_asked_for_them() -> None:
    plain: list[Any] = [sa.INTEGER(), sa.TEXT(), sa.DOUBLE_PRECISION(), sa.BOOLEAN()]
    assert [odd_values("a", kind) for kind in plain] == [""] * 4
    assert "'0001-01-01'" in odd_values("a", sa.DATE())
    assert "+00'" in odd_values("a", postgresql.TIMESTAMP(timezone=True))
    assert "'24:00'" in odd_values("a", postgresql.TIME())
    assert '"a""b"' in odd_values('a"b', sa.NUMERIC(10, 2))


@pytest.mark.parametrize(
    ("column", "types"),
    [
        (BIGINT, {"bigint"}),
        (Column("bigint", pa.int32()), {"integer"}),
        (TEXT, {"text", "character varying"}),
        (Column("text", pa.string(), 9), set()),
        (Column("text", None), set()),
        (decimal(10, 2), {"numeric(10,2)"}),
        (MOMENT, {"timestamp with time zone", "timestamp(6) with time zone"}),
        (Column("timestamp", pa.timestamp("ms")), set()),
    ],
)
def test_a_stream_is_written_to_no_other_type(column: Column, types: set[Any]) -> None:
    assert sql_types(column) == types
