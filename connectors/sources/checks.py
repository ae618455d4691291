"""Checks: what must be true of a load's rows before one of them becomes visible in the destination. Pure."""

from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from connectors.limits.closed_sets import ClosedSet
from connectors.sources.secret_references import Name, Strict, refused
from connectors.sources.write_rules import AnySource, Columns, Landing, Some, normalised

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr


def _scalar(value: object) -> object:
    # Said here, because pydantic would say it once for each type of the union.
    if not isinstance(value, bool | int | float | str):
        raise refused("{field} must be text, a number, true or false.")
    return value


def _together(value: object) -> object:
    """Each item a list of columns: a name alone is a list of one."""
    if isinstance(value, str):
        return ((value,),)
    return (
        tuple((item,) if isinstance(item, str) else item for item in value)
        if isinstance(value, list | tuple)
        else value
    )


class FreshColumn(Strict):
    """The column whose newest moment says how old the data is."""

    column: Annotated[Name, Field(description="A column of moments or days.")]
    max_age: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="How old its newest value may be, in seconds.")
    ]


def _some_columns(value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    if not all(value):
        raise refused("{field} must not hold an empty list of columns.")
    return value


class OnFailure(ClosedSet):
    """What a check that fails does to the load."""

    FAIL = "fail"
    HOLD = "hold"
    WARN = "warn"


class Checks(Strict):
    """What is checked of one table, and what a failure means."""

    min_rows: Annotated[int | None, Field(ge=1, description="A load has at least so many rows.")] = None
    max_drop_percent: Annotated[
        float | None,
        Field(
            ge=0,
            lt=100,
            allow_inf_nan=False,
            description="A load has at most so many per cent fewer rows than the median of the table's last 14 loads.",
        ),
    ] = None
    not_null: Annotated[Columns, Field(description="Columns that have a value in every row.")] = ()
    unique: Annotated[
        tuple[tuple[Name, ...], ...],
        BeforeValidator(_together, json_schema_input_type=tuple[Name | tuple[Name, ...], ...] | Name),
        AfterValidator(_some_columns),
        Field(description="Columns of which no two rows have the same value; a list of columns counts together."),
    ] = ()
    accepted: Annotated[
        dict[Name, Some[Annotated[Scalar, BeforeValidator(_scalar)]]],
        Field(default_factory=dict, description="By column, the values that it may have. No value is no failure."),
    ]
    freshness: Annotated[
        FreshColumn | None, Field(description="A column of moments, and how old its newest value may be.")
    ] = None
    on_failure: Annotated[
        OnFailure,
        Field(
            description="`fail`: nothing of the load becomes visible. `hold`: nothing does until a person lets it "
            "through. `warn`: it lands, and the run says so."
        ),
    ] = OnFailure.FAIL

    @model_validator(mode="after")
    def _checks_something(self) -> Self:
        if not self.columns and self.min_rows is None and self.max_drop_percent is None:
            raise refused(
                "{field} name no check: add one of min_rows, max_drop_percent, not_null, unique, accepted and "
                "freshness, or leave them out."
            )
        return self

    @property
    def plain_columns(self) -> tuple[str, ...]:
        """The columns whose values are compared with those that people write: they can't be masked."""
        return (*self.accepted, *([self.freshness.column] if self.freshness else []))

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are named."""
        return (*self.not_null, *(name for names in self.unique for name in names), *self.plain_columns)


class LandingWithChecks(Landing):
    """How the rows of a table are written that can be checked before."""

    checks: Annotated[
        Checks | None, Field(description="What must be true of each load's rows before one becomes visible.")
    ] = None

    @property
    def plain_columns(self) -> tuple[str, ...]:
        return self.checks.plain_columns if self.checks else ()


class SourceWithChecks(AnySource):
    """A source whose tables have no settings of their own: their checks stand beside them."""

    checks: Annotated[
        dict[Name, Checks],
        Field(
            default_factory=dict,
            description="By table, what must be true of each load's rows before one becomes visible.",
        ),
    ]

    @model_validator(mode="after")
    def _checks_are_of_its_tables(self) -> Self:
        if not self.knows_its_tables():
            return self
        known = {normalised(name) for name in self.landings()}
        for name in self.checks:
            if normalised(name) not in known:
                raise refused(
                    f"{{field}} is none of the tables, which are {', '.join(self.landings())}.", "checks", name
                )
        return self

    def knows_its_tables(self) -> bool:
        """Whether all its tables are named before the source is asked; else the reader compares the names."""
        return True

    def compared(self) -> tuple[str, ...]:
        return tuple(column for checks in self.checks.values() for column in checks.plain_columns)


def checks_of(source: AnySource) -> dict[str, Checks]:
    """The checks of a source's tables, by the name under which a table lands."""
    found: dict[str, Checks] = {}
    for name, how in source.landings().items():
        if isinstance(how, LandingWithChecks) and how.checks is not None:
            found[normalised(name)] = how.checks
    if isinstance(source, SourceWithChecks):
        found |= {normalised(name): checks for name, checks in source.checks.items()}
    return found
