"""Answers about comparisons with the source."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from api.bodies import Body
from connectors.comparisons import DifferenceKind, TableComparison
from connectors.sources.write_rules import Comparison


class KeyRangeAnswer(Body):
    """A range of the first column of a key."""

    first: Annotated[str, Field(description="The least value that either side has there, as text.")]
    last: Annotated[str, Field(description="The greatest.")]
    at_source: Annotated[int, Field(description="Rows of the source in the range.")]
    in_destination: Annotated[int, Field(description="Rows that have landed.")]
    differ: Annotated[int, Field(description="Keys of the range that differ.")]


class DifferenceAnswer(Body):
    """A key that differs."""

    key: Annotated[dict[str, Any], Field(description="The key, by column, as it lands.")]
    kind: Annotated[
        DifferenceKind,
        Field(
            description="`missing`: lost, only the source has it; `extra`: a surplus; `different`: it has other values."
        ),
    ]
    columns: Annotated[list[str], Field(description="Of `different`: the columns whose values differ.")]


class ComparisonAnswer(Body):
    """One table, compared with its source."""

    table: Annotated[str, Field(description="The table in the destination.")]
    by: Annotated[Comparison, Field(description="`sums`: by all values; `counts`: by the numbers of rows alone.")]
    equal: Annotated[bool, Field(description="Whether nothing differs, as far as it was looked at.")]
    at_source: Annotated[int, Field(description="Rows of the source.")]
    in_destination: Annotated[int, Field(description="Rows that have landed.")]
    missing: Annotated[int | None, Field(description="Keys that only the source has; null: only counted.")]
    extra: Annotated[int | None, Field(description="Keys that only the destination has.")]
    different: Annotated[int | None, Field(description="Keys whose rows have other values.")]
    ranges: Annotated[list[KeyRangeAnswer], Field(description="The rows of both sides by ranges of the key, in order.")]
    differences: Annotated[
        list[DifferenceAnswer],
        Field(description="The first 100 keys that differ, of each kind some. All: `_cai_differences` in the dataset."),
    ]
    compared_at: Annotated[datetime | None, Field(description="When.")]
    run_id: Annotated[UUID | None, Field(description="Prefect's id of the run that compared it.")]

    @classmethod
    def of(cls, found: TableComparison) -> "ComparisonAnswer":
        """A comparison as it is answered."""
        known = asdict(found)
        return cls(table=known.pop("table_name"), equal=found.is_equal, **known)


class ComparisonsAnswer(Body):
    """A connector's tables, compared."""

    items: Annotated[list[ComparisonAnswer], Field(description="The tables that were ever compared, by name.")]
