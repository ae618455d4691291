"""`protect` of a source: rules for values, what is kept at all, and which rows may leave. Pure.

Rules are looked at in their order, the connector's own before those of the profile that it names: the first that finds
a value says what becomes of it.
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connectors.limits.closed_sets import ClosedSet
from connectors.sources.protection.methods import Method
from connectors.sources.protection.paths import PathText
from connectors.sources.secret_references import Name, Strict, refused

EVERY_TABLE = "*"
"""Where something is said by table: what is said of all the others."""

PATIENT_DAYS = 180
"""By how many days at most dates move, unless a rule says otherwise."""

MOST_DAYS = 3650
"""The most days by which a rule may move dates."""


class Kind(ClosedSet):
    """What a value may be, by its type or by what a text has in it."""

    DATES = "dates"
    EMAILS = "emails"
    PHONE_NUMBERS = "phone_numbers"
    SSNS = "ssns"
    URLS = "urls"
    IP_ADDRESSES = "ip_addresses"


class Op(ClosedSet):
    """Comparisons of a value with what a condition says."""

    IS = "=="
    IS_NOT = "!="
    IN = "in"
    NOT_IN = "not_in"
    BELOW = "<"
    AT_MOST = "<="
    ABOVE = ">"
    AT_LEAST = ">="
    EXISTS = "exists"
    MISSING = "missing"


def _words(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", value):
        raise refused("{field} must be words in small letters with an underscore between them, such as 'birth_date'.")
    return value


Words = Annotated[Name, AfterValidator(_words)]


class Rule(Strict):
    """One rule: which values it is for, by exactly one of `path`, `names` and `values`, and what becomes of them."""

    path: Annotated[PathText | None, Field(description="Where the values stand, such as `name[*].family`.")] = None
    names: Annotated[
        tuple[Words, ...],
        Field(
            description="Columns and nested fields at any depth whose name has these words: `birth_date` is in "
            "`birthDate` and in `patient_birth_date`."
        ),
    ] = ()
    values: Annotated[
        Kind | None,
        Field(
            description="Values at any depth by what they are: `dates` by their type or written as one, such as "
            "2024-01-31, 2024-01 or 1/31/2024, the others wherever a text has one in it."
        ),
    ] = None
    method: Annotated[Method, Field(description="What becomes of them.")]
    tables: Annotated[tuple[Name, ...], Field(description="Only in these tables. Empty: in all.")] = ()
    to: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
        Field(description="For `round`: the number of which a multiple lands, such as 5 or 0.1."),
    ] = None
    days: Annotated[
        Annotated[int, Field(ge=1, le=MOST_DAYS)] | None,
        Field(description="For `shift_dates`: by how many days at most. null: 180."),
    ] = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.path is not None) + bool(self.names) + (self.values is not None) != 1:
            raise refused("{field} must say which values it is for, by one of path, names and values.")
        if (self.to is None) == (self.method is Method.ROUND):
            raise refused("{field} is for round, which needs it: the number of which a multiple lands.", "to")
        if self.days is not None and self.method is not Method.SHIFT_DATES:
            raise refused("{field} is for shift_dates alone: remove it.", "days")
        return self

    @property
    def label(self) -> str:
        """How a sentence names the rule: without any value."""
        if self.path is not None:
            return self.path
        return f"names {', '.join(self.names)}" if self.names else f"values {self.values}"


_ORDERING = (Op.BELOW, Op.AT_MOST, Op.ABOVE, Op.AT_LEAST)


def _comparable(value: object) -> object:
    # Said here, because pydantic would say it once for each type of the union.
    listed = isinstance(value, list | tuple) and value
    for each in value if listed and isinstance(value, list | tuple) else (value,):
        if each is not None and not isinstance(each, str | bool | int | float):
            raise refused("{field} must be text, a number, true or false, or a list of them.")
    return value


class Condition(Strict):
    """A condition on a row. A row that has no value there never meets it, unless it asks for that."""

    tables: Annotated[tuple[Name, ...], Field(description="Only for these tables. Empty: for all.")] = ()
    path: Annotated[PathText, Field(description="Where the value stands. Of several values one must meet it.")]
    op: Annotated[
        Op,
        Field(description="How it is compared: numbers as numbers, everything else as text."),
    ]
    value: Annotated[
        str | bool | int | float | tuple[str | bool | int | float, ...] | None,
        BeforeValidator(_comparable),
        Field(description="With what; a list for `in` and `not_in`, nothing for `exists` and `missing`."),
    ] = None

    @model_validator(mode="after")
    def _compares(self) -> Self:
        listed = isinstance(self.value, tuple)
        if self.op in {Op.EXISTS, Op.MISSING}:
            if self.value is not None:
                raise refused("{field} has no place beside exists and missing: remove it.", "value")
        elif self.value is None or listed != (self.op in {Op.IN, Op.NOT_IN}) or self.value == ():
            raise refused("{field} must be a list for in and not_in, else a text, a number, or true or false.", "value")
        elif self.op in _ORDERING and isinstance(self.value, bool):
            raise refused("{field} true and false have no order: use == or !=.", "value")
        return self


def _by_table(value: object) -> object:
    """What is said of all tables alike, by table."""
    if isinstance(value, str | list | tuple):
        return {EVERY_TABLE: value}
    return value


Keep = Annotated[
    dict[Name, tuple[PathText, ...]] | None,
    BeforeValidator(_by_table, json_schema_input_type=dict[Name, tuple[PathText, ...]] | tuple[PathText, ...] | None),
    Field(
        description="Paths of what lands, all else does not: a list, or one by table. A table that is not named has "
        "the list of `*`, and without that is refused. null: everything."
    ),
]
Patient = Annotated[
    dict[Name, PathText] | None,
    BeforeValidator(_by_table, json_schema_input_type=dict[Name, PathText] | PathText | None),
    Field(
        description="Where a row says whose it is, a path or one by table (`*`: the others): for shift_dates. null: "
        "as FHIR says it, in `subject`, `patient` or `beneficiary`."
    ),
]


class Treatment(Strict):
    """Rules, what is kept, and where a row names its patient: of a connector, or of a profile for one kind of data."""

    rules: Annotated[tuple[Rule, ...], Field(max_length=500, description="What becomes of values, first come.")] = ()
    keep: Keep = None
    patient: Patient = None

    @model_validator(mode="after")
    def _moves_dates_alike(self) -> Self:
        said = {rule.days or PATIENT_DAYS for rule in self.rules if rule.method is Method.SHIFT_DATES}
        if len(said) > 1:
            raise refused("{field} must move all dates by the same days, or the times between them are lost.", "rules")
        return self


class Protection(Treatment):
    """`protect` of a source."""

    profile: Annotated[
        Name | None,
        Field(
            description="A profile whose rules come after the connector's own: `safe_harbor`, `limited_data_set`, or "
            "one of /api/v1/protections."
        ),
    ] = None
    where: Annotated[
        tuple[Condition, ...], Field(max_length=50, description="What a row must meet to leave the source: all of it.")
    ] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.rules or self.profile or self.where) and self.keep is None:
            raise refused("{field} says nothing: give it rules, a profile, keep or where, or remove it.")
        return self


class Profile(Treatment):
    """A profile: what many connectors name instead of writing it. FHIR resources and segments of HL7 messages may have
    rules of their own."""

    fhir: Annotated[
        Treatment | None, Field(description="What counts instead for sources of the kind `fhir`. null: the same.")
    ] = None

    hl7: Annotated[
        Treatment | None,
        Field(description="What counts before the others for tables of HL7 messages. null: the others alone."),
    ] = None

    def of(self, kind: str, segments: Collection[str] = ()) -> Treatment:
        """What counts for a kind of source, of which some tables are `segments` of HL7 messages."""
        if kind == "fhir" and self.fhir is not None:
            return self.fhir
        plain = Treatment(rules=self.rules, keep=self.keep, patient=self.patient)
        if not segments or self.hl7 is None:
            return plain
        rules = tuple(rule.model_copy(update={"tables": tuple(segments)}) for rule in self.hl7.rules)
        keep = plain.keep
        if self.hl7.keep is not None:
            said = self.hl7.keep
            of_segments = {name: said.get(name, said.get(EVERY_TABLE, ())) for name in segments}
            # Where the other tables keep all there is, that has to be said.
            keep = {**(keep or {EVERY_TABLE: (EVERY_TABLE,)}), **of_segments}
        return Treatment(rules=(*rules, *plain.rules), keep=keep, patient=plain.patient)


def combined(own: Treatment, profile: Treatment | None) -> Treatment:
    """A connector's own rules before those of its profile; what either keeps is kept."""
    if profile is None:
        return own
    return Treatment(
        rules=(*own.rules, *profile.rules),
        keep=_union(own.keep, profile.keep),
        patient=own.patient if own.patient is not None else profile.patient,
    )


def _union(
    own: Mapping[str, tuple[str, ...]] | None, others: Mapping[str, tuple[str, ...]] | None
) -> dict[str, tuple[str, ...]] | None:
    if own is None or others is None:
        kept: Any = others if own is None else own
        return None if kept is None else dict(kept)
    return {
        table: (*own.get(table, own.get(EVERY_TABLE, ())), *others.get(table, others.get(EVERY_TABLE, ())))
        for table in {**own, **others}
    }
