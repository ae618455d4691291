"""Write rules: the parts of a connector's JSON that name tables, columns, keys and what is done with rows.

Shared by every kind of source, so that a primary key means the same for a table, a resource and a file.
This module is pure.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self, TypeVar

from anyascii import anyascii
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connectors.limits.closed_sets import ClosedSet
from connectors.sources.asking.ssh import refuse_ssh
from connectors.sources.protection.checks import refuse_unsafe
from connectors.sources.protection.rules import Protection
from connectors.sources.secret_references import Name, Strict, refused
from connectors.sources.unions import OfAKind

BESIDE = "__v_"
"""Between the name of a column and the type of the values that don't fit it, which land in a column beside it."""


class WriteDisposition(ClosedSet):
    """What a load does with the rows of a table that stand there already."""

    APPEND = "append"
    MERGE = "merge"
    REPLACE = "replace"


class BadRows(ClosedSet):
    """What is done with rows that can't land."""

    REFUSE = "refuse"
    REJECT = "reject"


class SchemaContract(ClosedSet):
    """What happens to columns and types that a table does not have yet."""

    EVOLVE = "evolve"
    ASK = "ask"
    FREEZE = "freeze"
    DISCARD_ROW = "discard_row"
    DISCARD_VALUE = "discard_value"


class ColumnType(ClosedSet):
    """What a column can be declared to hold."""

    TEXT = "text"
    BIGINT = "bigint"
    DOUBLE = "double"
    DECIMAL = "decimal"
    BOOL = "bool"
    DATE = "date"
    TIMESTAMP = "timestamp"
    JSON = "json"


class Comparison(ClosedSet):
    """What of a table is compared with its source: the numbers of rows, or sums of all values."""

    COUNTS = "counts"
    SUMS = "sums"


def _text_or_number(value: object) -> object:
    # Said here, because pydantic would say it once for each type of the union.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise refused("{field} must be text or a number, such as '2024-01-01'.")
    return value


CursorValue = Annotated[str | int | float, BeforeValidator(_text_or_number)]
"""A value that a cursor may have."""

InitialValue = Annotated[
    CursorValue | None,
    Field(description="The cursor's value that the first load begins at. null: it loads everything."),
]


Lag = Annotated[
    Annotated[float, Field(ge=0, allow_inf_nan=False)] | None,
    Field(
        description="How far behind the cursor's newest value a run reads again, for rows that are committed late: "
        "seconds where it holds moments, days where it holds days, else a number. null: 300 seconds, 1 day, or 1000."
    ),
]

CursorType = Annotated[
    Literal["text"] | None,
    Field(
        description="`text`: the cursor's values are texts that sort as they change, character by character. null: "
        "they are moments, days or numbers, in texts too."
    ),
]


_ORDERED = re.compile(r"\d{4}-?\d\d(-?\d\d([Tt ]\d\d.*)?)?|[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def refuse_beginning_without_order(initial: object, cursor_type: str | None) -> None:
    """Refuse a first value of which nobody can tell whether another one is newer, such as a date of the USA."""
    if isinstance(initial, str) and cursor_type is None and not _ORDERED.fullmatch(initial):
        raise refused(
            "{field} must be a moment or a day such as '2024-01-31T08:00:00Z' or '2024-01-31', or a number, so that "
            "it can be compared; for texts that sort as they change set cursor_type to 'text'.",
            "initial_value",
        )


def snake_case(name: str) -> str:
    """The name under which dlt's convention of that name lands a table or column (names of up to 60 characters).

    Of a letter that is not ASCII it leaves an underscore, so that all names of another script are one.
    """
    name = re.sub(r"[^a-zA-Z\d_]+", "_", name.strip().translate(str.maketrans("+-*@|", "x_xal")))
    name = re.sub("([^_])([A-Z][a-z]+)", r"\1_\2", name)
    name = re.sub("([a-z0-9])([A-Z])", r"\1_\2", name).lower()
    name = "_" + name if name[:1].isdigit() else name
    bare = name.rstrip("_")
    return re.sub("__+", "_", bare + "x" * (len(name) - len(bare)))


def normalised(name: str) -> str:
    """The name under which a table or column lands: dlt's, with the letters of other scripts as Latin ones."""
    return snake_case(_latin(name))


CODEBOOK = "__codebook"
"""After the name of a table: that of the one which says what its columns mean."""


def landed_table(name: str) -> str:
    """The name under which a table lands: that of a codebook keeps the mark which tells whose it is."""
    return f"{normalised(name.removesuffix(CODEBOOK))}{CODEBOOK if name.endswith(CODEBOOK) else ''}"


def letters_and_digits(name: str) -> str:
    """What two spellings of one name have in common: `Patient ID`, `PATIENTID` and `patient_id` are `patientid`.

    A name that has none of either is compared as it lands.
    """
    return re.sub("[^a-z0-9]", "", _latin(name).lower()) or normalised(name)


def spelled_alike(one: str, other: str) -> bool:
    """Whether two names are spellings of one."""
    return letters_and_digits(one) == letters_and_digits(other)


def _latin(name: str) -> str:
    """A name in ASCII, of which people who read its script recognise it."""
    if name.isascii():
        return name
    # Composed, so that an accent which stands alone is none; and soft signs and the like are no separators.
    letters = unicodedata.normalize("NFC", name)
    return "".join(
        re.sub("['`]", "", anyascii(letter)) if letter.isalpha() or unicodedata.combining(letter) else anyascii(letter)
        for letter in letters
    )


def _one_or_many(value: object) -> object:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _table_name(value: str) -> str:
    if not re.search(r"[A-Za-z0-9]", _latin(value)) or normalised(value).startswith("_dlt"):
        raise refused("{field} must have a letter or digit and must not start with '_dlt', which dlt keeps for itself.")
    return value


def distinct(names: Iterable[str], field: str, key: str) -> None:
    """Refuse two names that would land in one table or column."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        landed = normalised(name)
        if landed in seen:
            raise refused(
                f"{{field}} is there twice: both would land as '{landed}'; give one another name.", field, index, key
            )
        seen.add(landed)


TableName = Annotated[Name, AfterValidator(_table_name)]
Columns = Annotated[
    tuple[Name, ...], BeforeValidator(_one_or_many, json_schema_input_type=Name | tuple[Name, ...] | None)
]
"""Names of columns: a list, or one alone."""

T = TypeVar("T")


def _some(value: tuple[T, ...]) -> tuple[T, ...]:
    # pydantic's own min_length also complains when the only item is itself refused, which says one thing twice.
    if not value:
        raise refused("{field} must not be empty.")
    return value


Some = Annotated[tuple[T, ...], AfterValidator(_some)]
"""A list with at least one item."""


def _by_primary_key(data: dict[str, Any]) -> WriteDisposition:
    return WriteDisposition.MERGE if data.get("primary_key") else WriteDisposition.APPEND


ColumnTypes = Annotated[
    dict[Name, ColumnType],
    Field(
        default_factory=dict,
        description="The type of a column from its first row on, such as `text` for keys that are 1 today and 'a-3' "
        "tomorrow, or for codes such as 1.10. Of the others it is found out from the first rows.",
    ),
]


class Landing(Strict):
    """How the rows of one table are written: shared by resources, tables and files."""

    primary_key: Annotated[Columns, Field(description="The columns that tell one row from another.")] = ()
    write_disposition: Annotated[
        WriteDisposition,
        Field(
            description="`merge` updates rows by their primary_key, `append` adds them, `replace` loads everything "
            "each time. Default: `merge` with a primary_key, else `append`."
        ),
    ] = Field(default_factory=_by_primary_key)
    allow_empty: Annotated[
        bool,
        Field(
            description="For `replace`: whether a source that has no rows empties the table. false: the table keeps "
            "its "
            "rows, and the run says so."
        ),
    ] = False
    history: Annotated[
        bool,
        Field(
            description="Whether each version of a row is kept, in the table `{table}__history` beside the table: with "
            "`valid_from` and `valid_to`, the moments at which it came and went. Needs `merge`."
        ),
    ] = False
    types: ColumnTypes
    bad_rows: Annotated[
        BadRows,
        Field(
            description="What happens to rows that can't land: lines of csv with another number of cells, lines of "
            "jsonl that are no JSON, rows without their key. `refuse`: their file is left, or the run ends. `reject`: "
            "the others land, and these stand in `{table}__rejected`."
        ),
    ] = BadRows.REFUSE

    @property
    def plain_columns(self) -> tuple[str, ...]:
        """The columns whose values are compared with those that people write."""
        return ()

    @model_validator(mode="after")
    def _keys_are_distinct(self) -> Self:
        distinct(self.primary_key, "primary_key", "")
        return self

    @model_validator(mode="after")
    def _merge_has_a_key(self) -> Self:
        if self.write_disposition is WriteDisposition.MERGE and not self.primary_key:
            raise refused(
                "{field} merge needs a primary_key: name its columns, or use append or replace.", "write_disposition"
            )
        return self

    @model_validator(mode="after")
    def _history_goes_by_key(self) -> Self:
        if self.history and self.write_disposition is not WriteDisposition.MERGE:
            raise refused(
                "{field} tells the versions of a row by its key: it needs a primary_key and the write_disposition "
                "merge.",
                "history",
            )
        return self


Contract = Annotated[
    SchemaContract | None,
    Field(
        description="What happens to columns and types that a table does not have yet: `evolve` adds them, `ask` "
        "loads the others until a person approves them, `freeze` ends the run, `discard_row` and `discard_value` leave "
        "them out. A source's goes before its destination's; with neither: `evolve`."
    ),
]


class AnySource(OfAKind):
    """Base of every kind of source."""

    schema_contract: Contract = None
    verify: Annotated[
        Comparison | None,
        Field(
            description="What is compared with the source after each load: the `counts` of rows, or `sums` of all "
            "values, down to the keys that differ. null: nothing."
        ),
    ] = None
    mask: Annotated[Columns, Field(description="Columns whose values are hashed before anything is written.")] = ()
    protect: Annotated[
        Protection | None,
        Field(
            description="What of the rows may land, and in which form, nested values too: rules, what is kept, which "
            "rows may leave, by a profile or the connector's own. Patterns and names find no name in a free text."
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _is_reached_as_it_can_be(cls, value: Any) -> Any:
        return refuse_ssh(value, cls.model_fields, "sql_database")

    @model_validator(mode="after")
    def _cursors_stay_plain(self) -> Self:
        # dlt keeps the last value of a cursor in its state, in plain: a masked cursor would be an open secret.
        masked = {letters_and_digits(column) for column in self.mask}
        for cursor in self.cursors():
            if letters_and_digits(cursor) in masked:
                raise refused("{field} must not hold a cursor: its last value is kept to find newer rows.", "mask")
        return self

    @model_validator(mode="after")
    def _compared_columns_stay_plain(self) -> Self:
        masked = {letters_and_digits(column) for column in self.mask}
        for column in self.compared():
            if letters_and_digits(column) in masked:
                raise refused(
                    "{field} must not hold a column whose values a check compares (accepted, freshness): what lands of "
                    "it is a hash.",
                    "mask",
                )
        return self

    def compared(self) -> tuple[str, ...]:
        """The names of the columns whose values checks compare with those that people write."""
        return tuple(column for how in self.landings().values() if how for column in how.plain_columns)

    @model_validator(mode="after")
    def _rows_stay_apart(self) -> Self:
        if self.protect is not None:
            for table, landing in self.landings().items():
                if landing is not None:
                    refuse_unsafe(self.protect, table, landing.primary_key, spelled_alike)
        return self

    def describes(self, table: str) -> bool:
        """Whether a table says what data mean, and has no rows of people."""
        return table.endswith(CODEBOOK)

    def segments(self) -> tuple[str, ...]:
        """The tables that have segments of HL7 messages, by name."""
        return ()

    def cursors(self) -> tuple[str, ...]:
        """The names of the columns whose last value a run keeps."""
        return ()

    def landings(self) -> dict[str, Landing | None]:
        """How each table of the source lands, by its name; None where the kind of source decides."""
        return {}

    def histories(self) -> tuple[str, ...]:
        """The tables whose rows are kept in each version, by name."""
        return tuple(name for name, how in self.landings().items() if how is not None and how.history)
