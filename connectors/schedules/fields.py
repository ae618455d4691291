"""Fields of a cron text: the five of them, with the values that each may take. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five: its name in sentences, and its lowest and highest value."""

    name: str
    low: int
    high: int
    step: float  # of the sequence that spreads `H`
    example: str
    names: Mapping[str, int] = field(default_factory=dict)
    spread_high: int | None = None  # the last value that `H` may take, where it isn't `high`
    again: int | None = None  # one more value, which stands for `low`: Sunday as 7

    @property
    def size(self) -> int:
        """How many values there are."""
        return self.high - self.low + 1


def _numbered(names: str, first: int) -> Mapping[str, int]:
    return MappingProxyType({name: number for number, name in enumerate(names.split(), first)})


# `H` is spread by a Kronecker sequence: connector id times an irrational number, modulo 1, is the point in the field.
# The golden ratio has the lowest discrepancy of all such sequences in one dimension (Knuth, TAOCP 3, 6.4, theorem S;
# Kuipers and Niederreiter, Uniform Distribution of Sequences, 2.3), so it serves the minute. The other fields take
# numbers that are linearly independent of it over the rationals, so that several `H` spread well jointly too (Weyl);
# for the hour that is the reciprocal of the plastic number.
FIELDS = (
    Field("minute", 0, 59, 0.6180339887498949, "*/15 * * * *"),
    Field("hour", 0, 23, 0.7548776662466927, "0 */4 * * *"),
    # 28, as in Jenkins: so that no month is left out.
    Field("day-of-month", 1, 31, 0.41421356237309515, "0 6 1,15 * *", spread_high=28),
    Field(
        "month",
        1,
        12,
        0.7320508075688772,
        "0 6 1 JAN,JUL *",
        _numbered("jan feb mar apr may jun jul aug sep oct nov dec", 1),
    ),
    Field(
        "day-of-week",
        0,
        6,
        0.6457513110645906,
        "0 6 * * MON-FRI",
        _numbered("sun mon tue wed thu fri sat", 0),
        again=7,
    ),
)

Values = list[int | Literal["*", "l"]]
"""Of one field, as croniter expands it."""

MINUTE, HOUR, DAY, MONTH, WEEKDAY = range(5)

SHORTEST_MONTH = 28

# The longest that each month can be.
LONGEST_MONTH = MappingProxyType({month: 30 if month in {4, 6, 9, 11} else 31 for month in range(1, 13)} | {2: 29})


def is_even(each: Field, step: int) -> bool:
    """Whether steps through the whole field stay the same where it begins anew; months have no one length."""
    return each.size % step == 0 and (each is not FIELDS[DAY] or step == 1)
