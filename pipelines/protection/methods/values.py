"""Values under `protect`: what each method makes of one. Pure, with the key and the day given.

A value that a method can't treat lands as nothing and is counted: never as it is.
"""

import functools
import re
from collections.abc import Callable
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from connectors.sources.protection.methods import Method
from connectors.sources.protection.rules import PATIENT_DAYS, Kind, Rule
from pipelines.protection.methods.dates import OLDEST_AGE, is_date, is_old, month_of, shifted, year_of
from pipelines.protection.methods.hashing import as_number, as_text, hashing
from pipelines.protection.methods.texts import recogniser
from pipelines.protection.methods.tokens import Tokens

SMALL_ZIP3 = frozenset({
    "036", "059", "063", "102", "203", "556", "692", "790", "821", "823", "830", "831", "878", "879", "884", "890",
    "893",
})  # fmt: skip
"""The first three digits of ZIP codes below which 20,000 people or fewer live, by the census of 2000.

Source: HHS, Guidance Regarding Methods for De-identification of Protected Health Information in Accordance with the
HIPAA Privacy Rule (2012), on 45 CFR 164.514(b)(2)(i)(B). It lists these seventeen and is the list that is in force;
whoever holds a newer census to count redacts more by rules of their own.
"""

UNTREATABLE = object()
"""What a method gives for a value that it can't treat."""

REMEMBERED = 100_000
"""Values of which the outcome is kept, a rule."""

_PATIENT = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)/([A-Za-z0-9.\-]{1,64})(?:/_history/[^/]+)?$")

Treat = Callable[[Any, int | None], Any]
"""What makes of a value, and by how many days its patient's dates move (None: nobody knows whose it is), what lands."""


OF_PATIENT = b"shift_dates\0"
"""What stands before a patient's number in the hash that says by how much dates move."""


def id_of(reference: Any) -> str:
    """The id in a FHIR reference such as `Patient/1`, or the value itself."""
    text = as_text(reference)
    found = _PATIENT.search(text)
    return found[2] if found else text


def offset(key: bytes, patient: Any, days: int) -> int:
    """By how many days the dates of a patient move: always as many, from 1 to `days` forwards or back."""
    digest = hashing(key).digest(OF_PATIENT + id_of(patient).encode())
    place = int.from_bytes(digest[:8], "big") % (2 * days)
    return place - days if place < days else place - days + 1


def treatment(  # noqa: PLR0912  # a table of methods
    rule: Rule, key: bytes, today: date
) -> Treat:
    """What a rule makes of a single value. Whoever calls it remembers: it is the same for the same value."""
    match rule.method:
        case Method.SHIFT_DATES:
            return _moved
        case Method.HASH:
            plain: Callable[[Any], Any] = hashing(key).of
        case Method.HASH_REFERENCE:
            plain = functools.partial(_hashed_reference, of=hashing(key).of)
        case Method.TOKENIZE:
            plain = Tokens(key).of
        case Method.TEXT:
            plain = _text
        case Method.YEAR:
            plain = year_of
        case Method.MONTH:
            plain = month_of
        case Method.BIRTH_YEAR:
            plain = functools.partial(_birth_year, today=today)
        case Method.ZIP3:
            plain = zip3
        case Method.AGE_CAP:
            plain = capped
        case Method.ROUND:
            plain = functools.partial(rounded, to=Decimal(repr(rule.to)))
        case Method.AS_IS:
            return lambda value, _: value
        case Method.DROP | Method.REDACT:
            return lambda value, _: None

    def treat(value: Any, _: int | None) -> Any:
        found = plain(value)
        return UNTREATABLE if found is None else found

    return treat


def _moved(value: Any, days: int | None) -> Any:
    moved = None if days is None else shifted(value, days)
    return UNTREATABLE if moved is None else moved


def days_of(rule: Rule) -> int:
    """By how many days a rule moves dates at most."""
    return rule.days or PATIENT_DAYS


EMPTY = object()
"""What a method gives where nothing is to land, rightly."""


def _hashed_reference(value: Any, of: Callable[[Any], str | None]) -> str | None:
    found = _PATIENT.search(value) if isinstance(value, str) else None
    return f"{found[1]}/{of(found[2])}" if found else of(value)


def _text(value: Any) -> str | None:
    return recogniser()(value)


def _birth_year(value: Any, today: date) -> Any:
    year = year_of(value)
    # Nothing, rightly: no value that could not be treated.
    return EMPTY if year is not None and is_old(year, today) else year


def zip3(value: Any) -> str | None:
    """The first three digits of a ZIP code, 000 for those of few people; None for what is no such code."""
    if isinstance(value, bool):
        return None
    text = as_text(value).strip()
    if not isinstance(value, str) and text.isdigit():
        # A number has lost the zeros that it began with.
        text = text.zfill(9 if len(text) > 5 else 5)
    if not re.fullmatch(r"\d{3}(\d\d(-?\d{4})?)?", text, re.ASCII):
        return None
    return "000" if text[:3] in SMALL_ZIP3 else text[:3]


def _like(number: Decimal, value: Any) -> Any:
    """A number of the type that a value has."""
    if isinstance(value, str):
        return f"{number.normalize():f}"
    if isinstance(value, int):
        return int(number) if number == number.to_integral_value() else float(number)
    return number if isinstance(value, Decimal) else float(number)


def capped(value: Any) -> Any:
    """An age, and 90 for all above 89; None for what is no number."""
    number = as_number(value)
    if number is None:
        return None
    return _like(Decimal(OLDEST_AGE + 1), value) if number > OLDEST_AGE else value


def rounded(value: Any, to: Decimal) -> Any:
    """The nearest multiple, of two equally near ones the even one; None for what is no number."""
    number = as_number(value)
    if number is None:
        return None
    try:
        nearest = (number / to).quantize(Decimal(1), ROUND_HALF_EVEN) * to
    except InvalidOperation:  # more digits than decimals have
        return None
    if nearest == nearest.to_integral_value():
        nearest = nearest.quantize(Decimal(1)) if abs(nearest) < 10**27 else nearest
    return _like(nearest, value)


_WITHIN = {
    Kind.EMAILS: re.compile(r"[\w.+%-]+@[\w-]+(\.[\w-]+)+"),
    Kind.SSNS: re.compile(r"(?<!\d)\d{3}[- ]\d\d[- ]\d{4}(?!\d)"),
    Kind.PHONE_NUMBERS: re.compile(
        r"(?<![\w.])(\+\d{1,3}[ ./-]?\(?\d{2}|\(\d{3}\) ?\d{3}|\d{3}[ .-]\d{3}[ .-]\d{4}(?!\d))"
    ),
    Kind.URLS: re.compile(r"\b(https?|ftp|file)://\S|\bwww\.[\w-]+\.\w", re.IGNORECASE),
    Kind.IP_ADDRESSES: re.compile(
        r"(?<![\w.])(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}(?![\w.])"
        r"|(?<![\w:])([0-9a-f]{1,4}:){3,7}(:?[0-9a-f]{1,4})(?![\w:])",
        re.IGNORECASE,
    ),
}


@functools.lru_cache(REMEMBERED)
def _is_within(kind: Kind, text: str) -> bool:
    return _WITHIN[kind].search(text) is not None


def is_a(kind: Kind, value: Any) -> bool:
    """Whether a value is of a kind: a date, or a text that has such a thing in it."""
    if kind is Kind.DATES:
        return is_date(value)
    return isinstance(value, str) and _is_within(kind, value)
