"""Variables of statistics programs: their names, labels and formats, and their numbers as days, moments and times.

SAS, Stata and SPSS keep days and moments as numbers, which a format says. The numbers are read as they are and turned
here, so that one sentinel beyond the calendar stops no file: a number that its format can't show lands beside its
column. So does a special missing value (`.A` of SAS, `.a` of Stata, a user's missing code of SPSS), as text; a plain
missing value is none.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa

from connectors.sources.write_rules import BESIDE
from pipelines.rows.marks import with_beside


class Kind(StrEnum):
    """What a number of a variable is."""

    NUMBER = "number"
    DAY = "day"
    MOMENT = "moment"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Clock:
    """How a program counts: what a unit is, and how many seconds before 1970 it begins."""

    per_second: int
    before_1970: int
    per_day: int
    """Units of a day in the program's own days."""


SAS = Clock(per_second=1, before_1970=315_619_200, per_day=1)
STATA = Clock(per_second=1_000, before_1970=315_619_200, per_day=1)
SPSS = Clock(per_second=1, before_1970=12_219_379_200, per_day=86_400)

_SAS_DAYS = re.compile(
    r"DATE|(DDMMYY|MMDDYY|YYMMDD|MMYY|YYMM)[BCDNPS]?|[EIB]S?8601DA|WEEKDATE|WEEKDATX|WORDDATE|WORDDATX|MONYY|NLDATE|YYMON|"
    r"JULIAN|YYQ[A-Z]?"
)
_SAS_MOMENTS = re.compile(r"DATETIME|[EIB]S?8601D[TXNZ]|DATEAMPM|MDYAMPM|DTDATE|DTMONYY|DTYEAR|DTWKDATX|DTYYQC|NLDATM")
_SAS_TIMES = re.compile(r"TIME|TIMEAMPM|TOD|HHMM|[EIB]S?8601T[MXZ]")
_SPSS_DAYS = re.compile(r"(A|E|J|S)?DATE")
_SPSS_MOMENTS = re.compile(r"DATETIME|YMDHMS")
_SPSS_TIMES = re.compile(r"TIME")


def sas_kind(form: str) -> Kind:
    """The kind of numbers that a format of SAS shows."""
    name = form.upper().rstrip("0123456789.")
    for pattern, kind in ((_SAS_MOMENTS, Kind.MOMENT), (_SAS_DAYS, Kind.DAY), (_SAS_TIMES, Kind.TIME)):
        if pattern.fullmatch(name):
            return kind
    return Kind.NUMBER


def spss_kind(form: str) -> Kind:
    """The kind of numbers that a format of SPSS shows. DTIME is a span, and a number."""
    name = form.upper().rstrip("0123456789.")
    for pattern, kind in ((_SPSS_MOMENTS, Kind.MOMENT), (_SPSS_DAYS, Kind.DAY), (_SPSS_TIMES, Kind.TIME)):
        if pattern.fullmatch(name):
            return kind
    return Kind.NUMBER


def stata_kind(form: str) -> Kind:
    """The kind of numbers that a format of Stata shows. Weeks, months and quarters stay numbers."""
    form = form.lower().replace("-", "")
    if form.startswith(("%td", "%d")):
        return Kind.DAY
    return Kind.MOMENT if form.startswith("%tc") else Kind.NUMBER


@dataclass(frozen=True, slots=True)
class Variable:
    """One column, and what its codebook says."""

    name: str
    label: str = ""
    form: str = ""
    """Its format, as the program writes it."""
    is_text: bool = False
    is_whole: bool = False
    kind: Kind = Kind.NUMBER
    value_labels: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    """The values and ranges that its users call missing."""


def page(columns: list[tuple[Variable, Any, list[str | None] | None]], clock: Clock) -> pa.Table:
    """The columns of a page: texts, or arrays of float64 (NaN for none) for numbers, and special missing ones."""
    arrays: dict[str, pa.Array] = {}
    beside: list[str] = []
    for variable, values, missing in columns:
        if variable.is_text:
            arrays[variable.name] = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
            continue
        found, misfits = _numbers(variable, values, clock)
        arrays[variable.name] = found
        texts = None if missing is None else pa.array(missing, pa.string())
        for ending, array in (("double", misfits), ("text", texts)):
            if array is not None and array.null_count < len(array):
                arrays[f"{variable.name}{BESIDE}{ending}"] = array
                beside.append(f"{variable.name}{BESIDE}{ending}")
    return with_beside(pa.table(arrays), beside)


def _numbers(variable: Variable, values: "np.ndarray[Any, Any]", clock: Clock) -> tuple[pa.Array, pa.Array | None]:
    """The values as their format has them, and those that it can't show as numbers."""
    known = ~np.isnan(values)
    if variable.kind is Kind.NUMBER:
        if variable.is_whole:
            return pa.array(np.where(known, values, 0).astype(np.int64), mask=~known), None
        return pa.array(values, mask=~known), None
    with np.errstate(invalid="ignore", over="ignore"):
        whole, fits, form = _counted(variable.kind, values, clock)
    fits &= known
    found = pa.array(np.where(fits, whole, 0).astype(np.int64), mask=~fits)
    array = found.cast(pa.int32()).cast(form) if form == pa.date32() else found.cast(form)
    odd = known & ~fits
    return array, pa.array(values, mask=~odd) if odd.any() else None


def _counted(kind: Kind, values: "np.ndarray[Any, Any]", clock: Clock) -> tuple[Any, Any, pa.DataType]:
    """Days or microseconds as Arrow counts them, and which are within its calendar or its day."""
    if kind is Kind.DAY:
        days = values / clock.per_day
        whole = days - clock.before_1970 // 86_400
        return whole, (days == np.floor(days)) & (whole >= -719_162) & (whole <= 2_932_896), pa.date32()
    micros = np.round(values * (1_000_000 // clock.per_second))
    if kind is Kind.TIME:
        return micros, (micros >= 0) & (micros < 86_400_000_000), pa.time64("us")
    whole = micros - clock.before_1970 * 1_000_000
    fits = (whole >= -62_135_596_800_000_000) & (whole <= 253_402_300_799_999_999)
    return whole, fits, pa.timestamp("us", "UTC")
