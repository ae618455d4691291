"""The source `files`: where files are, which of them, and how text in them is cut into rows and cells.

What is left out is found by looking into each file, as `pipelines.sources.files` does. This module is pure: whether an
address exists or a local path may be read is the run's business.
"""

import codecs
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StringConstraints, model_validator

from connectors.sources.deletes import Deleting, refuse_deletes_without_files
from connectors.sources.file_formats import (
    DESCRIBED,
    ENDINGS,
    MEANT_BY,
    PACKED,
    PARTED,
    UNTOLD,
    DecimalMark,
    FileFormat,
)
from connectors.sources.secret_references import Credential, HostKeyText, Name, PlainUrl, Strict, refused
from connectors.sources.write_rules import (
    CODEBOOK,
    AnySource,
    Columns,
    Landing,
    TableName,
    distinct,
    normalised,
)

FILE_SCHEMES = ("file", "s3", "gs", "gcs", "az", "abfs", "abfss", "sftp")
"""Schemes that a `files` source reads; a plain absolute path is `file`."""

HostKey = Annotated[
    HostKeyText | None,
    Field(
        description="Of an `sftp://` address: the fingerprint of the server's key, as `SHA256:...`, or `first_use`, "
        "which accepts the key that comes first and no other later. null: a key that the worker's known_hosts holds."
    ),
]


def _file_url(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    known = scheme in FILE_SCHEMES and bool(rest) if separator else value.startswith("/")
    if not known:
        raise refused(
            "{field} must be an absolute path or an address that starts with one of: "
            + ", ".join(f"{scheme}://" for scheme in FILE_SCHEMES)
            + "."
        )
    if ".." in PurePosixPath(rest or value).parts:
        raise refused("{field} must not go up with '..': name the directory itself.")
    return value


def _glob(value: str) -> str:
    if value.startswith("/") or ".." in PurePosixPath(value).parts:
        raise refused("{field} must be a pattern below the url, such as '**/*.csv'.")
    return value


def _marker(value: str) -> str:
    if "/" in value or re.search(r"[{}*?]", re.sub(r"\{(name|stem)\}", "", value)) or value == "{name}":
        raise refused("{{field}} must be a file's name, such as '{name}.done', '{stem}.ok' or '_SUCCESS'.")
    return value


def _format_of_names(data: dict[str, Any]) -> FileFormat:
    for name in (data.get("glob"), data.get("url")):
        whole = str(name or "").lower().rstrip("/")
        whole = re.sub(PACKED, "", whole)
        for kind, endings in ENDINGS.items():
            if kind not in UNTOLD and whole.endswith(tuple("." + ending for ending in endings)):
                return kind
    return FileFormat.CSV


def _table_of_url(data: dict[str, Any]) -> str:
    name = PurePosixPath(str(data.get("url", "")).partition("?")[0]).name
    every = "|".join(ending for endings in ENDINGS.values() for ending in endings)
    stem = re.sub(rf"\.({every}){PACKED}", "", name, flags=re.IGNORECASE)
    return stem if re.search("[A-Za-z0-9]", stem) and not normalised(stem).startswith("_dlt") else "files"


def _one_ascii(value: str) -> str:
    # Typed into a form or a shell, a tab comes as these two characters.
    value = {"\\t": "\t", "tab": "\t"}.get(value, value)
    if len(value) != 1 or not value.isascii() or value in "\r\n\0":
        raise refused("{field} must be one character, such as ';' (or 'tab').")
    return value


def _one_ascii_or_none(value: str) -> str:
    return value and _one_ascii(value)


def _encoding(value: str) -> str:
    try:
        "".encode(value)
        return codecs.lookup(value).name
    except (LookupError, ValueError):
        raise refused("{field} must name an encoding, such as 'utf-8', 'cp1252' or 'utf-16'.") from None


def _names(value: object) -> object:
    # Said here, because pydantic would say it once for each type of the union.
    if not isinstance(value, bool | list | tuple):
        raise refused("{field} must be true, false or a list of names.")
    if not isinstance(value, bool) and not value:
        raise refused("{field} must name the columns: true is for files that name them, false for those without names.")
    return value


Text = Annotated[str, StringConstraints(max_length=200)]

_SUCH = {
    FileFormat.FIXED: "such as [{'name': 'id', 'first': 1, 'last': 8}]",
    FileFormat.XML: "such as '/export/patient'",
    FileFormat.ODM: "such as ['IG.DM', 'IG.VS']",
    FileFormat.HL7: "such as ['PID', 'OBX']",
}


class FixedField(Strict):
    """Where a column stands in each line of a file of fixed width."""

    name: Annotated[Name, Field(description="The column.")]
    first: Annotated[int, Field(ge=1, le=100_000, description="Its first character, counted from 1.")]
    last: Annotated[int, Field(ge=1, le=100_000, description="Its last character.")]

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.last < self.first:
            raise refused("{field} must not be before first.", "last")
        return self


def _row_path(value: str) -> str:
    if not re.fullmatch(r"(/?[^/\s\[\]@*:]+)+", value):
        raise refused(
            "{field} must be names with slashes between, from the file's first element on: '/export/patient'."
        )
    return value


class FilePlace(Strict):
    """The directory, bucket or server that files are in."""

    url: Annotated[
        PlainUrl,
        AfterValidator(_file_url),
        Field(description="A directory, file or bucket: an absolute path, or an address such as `s3://clinic/labs`."),
    ]
    credentials: Annotated[Credential | None, Field(description="Of the bucket. null: none are needed.")] = None
    host_key: HostKey = None
    pgp_key: Annotated[
        Credential | None,
        Field(
            description="Of files that come encrypted by PGP: the private key, as `gpg --armor --export-secret-keys` "
            "writes it, or several, one after the other. null: none are encrypted."
        ),
    ] = None
    pgp_passphrase: Annotated[
        Credential | None, Field(description="What opens the pgp_key. null: the key has none.")
    ] = None

    @model_validator(mode="after")
    def _a_passphrase_opens_a_key(self) -> Self:
        if self.pgp_passphrase is not None and self.pgp_key is None:
            raise refused("{field} opens a key: name that as pgp_key, or leave both out.", "pgp_passphrase")
        return self


class FileReading(Deleting):
    """Which files, what they are, and how they are read into a table."""

    glob: Annotated[
        Annotated[Name, AfterValidator(_glob)] | None,
        Field(
            description="Which files below the url, such as `**/*.csv`, in capitals or not. null: those whose names "
            "end as the format does."
        ),
    ] = None
    marker: Annotated[
        Annotated[Name, AfterValidator(_marker)] | None,
        Field(
            description="The file that says that others are whole: `{name}.done` beside each, `{stem}.ok` without "
            "its endings, `_SUCCESS` for a directory. A file without it, or newer than it, waits. null: none is needed."
        ),
    ] = None
    format: Annotated[
        FileFormat, Field(description="What all files are. Default: as the glob or the url ends, else `csv`.")
    ] = Field(default_factory=_format_of_names)
    table: Annotated[
        TableName, Field(description="Where the rows land. Default: the last part of the url, else `files`.")
    ] = Field(default_factory=_table_of_url)
    encoding: Annotated[
        Annotated[Name, AfterValidator(_encoding)] | None,
        Field(
            description="Such as `cp1252`; a byte order mark goes before it. null: found in csv and jsonl files: its "
            "mark, else UTF-8, else Windows-1252; UTF-8 in xpt, which says none; else what the file says."
        ),
    ] = None
    delimiter: Annotated[
        Annotated[str, AfterValidator(_one_ascii)] | None,
        Field(
            description="What stands between the cells of csv: one character, or `tab`. null: found in each file "
            "among comma, semicolon, tab and bar; a first line such as `sep=;` says it."
        ),
    ] = None
    quote: Annotated[
        Annotated[str, AfterValidator(_one_ascii_or_none)],
        Field(description="What stands around cells of csv that hold a delimiter or a line break. Empty: nothing."),
    ] = '"'
    escape: Annotated[
        Annotated[str, AfterValidator(_one_ascii_or_none)] | None,
        Field(
            description="What stands before a quote or delimiter that is part of a cell of csv, such as `\\`. Empty: "
            "nothing, a quote is doubled. null: `\\` in files that can be read in no other way."
        ),
    ] = None
    header: Annotated[
        Annotated[StrictBool | tuple[Name, ...], BeforeValidator(_names)],
        Field(
            description="Whether the first row names the columns; or their names, for files without such a row. "
            "false: they are `column_1`, `column_2` and so on."
        ),
    ] = True
    skip: Annotated[
        int, Field(ge=0, le=10_000, description="Lines of csv, or rows of a sheet, before the header or the first row.")
    ] = 0
    comment: Annotated[
        Annotated[Text, StringConstraints(min_length=1)] | None,
        Field(description="Lines at the beginning of csv that start with this are left out, such as `#`. null: none."),
    ] = None
    null_values: Annotated[
        tuple[Text, ...], Field(description="What cells hold where there is no value, such as `NA`.")
    ] = ("",)
    quoted_nulls: Annotated[
        bool,
        Field(
            description='Whether null_values mean no value in quotes, too. With false, `""` is an empty text and only '
            "an empty cell is no value."
        ),
    ] = True

    decimal: Annotated[
        DecimalMark,
        Field(description="What stands before the decimals of numbers in csv: `.`, or `,` as in `7,40`."),
    ] = DecimalMark.POINT
    origin: Annotated[
        bool,
        Field(
            description="Whether each row says where it came from: `_file`, `_row` (its place in the file, from 1) "
            "and, of workbooks, `_sheet`."
        ),
    ] = False

    sheet: Annotated[
        Annotated[Name, StringConstraints(max_length=200)] | None,
        Field(
            description="Of workbooks: the name of the sheet to read, or a pattern such as `20*` or `*` for several. "
            "null: the first one that is not hidden."
        ),
    ] = None
    header_rows: Annotated[
        int,
        Field(
            ge=1,
            le=10,
            description="Of workbooks: how many rows name the columns. Of several, and of merged cells, the names are "
            "put together, as in `Vitals systolic`.",
        ),
    ] = 1
    skip_end: Annotated[
        int, Field(ge=0, le=10_000, description="Of workbooks: the last rows of a sheet to leave out, such as totals.")
    ] = 0

    fields: Annotated[
        tuple[FixedField, ...],
        Field(description="Of files of fixed width: the columns, and where they stand in a line."),
    ] = ()
    row_path: Annotated[
        Annotated[Name, AfterValidator(_row_path)] | None,
        Field(
            description="Of xml: the way to the elements that are rows, such as `/export/patient`, without prefixes."
        ),
    ] = None
    parts: Annotated[
        Columns,
        Field(
            description="Of hl7 and odm: what becomes a table each, `{table}_{part}`: segments such as `PID`, or the "
            "OIDs of item groups and `AuditRecord`."
        ),
    ] = ()

    @model_validator(mode="after")
    def _deletes_go_by_file(self) -> Self:
        refuse_deletes_without_files(self, origin=self.origin)
        return self

    @model_validator(mode="after")
    def _the_format_has_what_it_needs(self) -> Self:
        if getattr(self, "tables", ()):
            return self
        needed = {FileFormat.FIXED: "fields", FileFormat.XML: "row_path", **dict.fromkeys(PARTED, "parts")}
        name = needed.get(self.format)
        if name is not None and not getattr(self, name):
            raise refused(f"{{field}} is missing: {self.format} files need it, {_SUCH[self.format]}.", name)
        distinct(self.parts, "parts", "")
        distinct((field.name for field in self.fields), "fields", "name")
        return self

    @model_validator(mode="after")
    def _settings_are_of_the_format(self) -> Self:
        for name, formats in MEANT_BY.items():
            if self.format not in formats and getattr(self, name) != type(self).model_fields[name].default:
                raise refused(f"{{field}} means nothing for {self.format} files: leave it out.", name)
        return self

    @model_validator(mode="after")
    def _characters_differ(self) -> Self:
        given = [value for value in (self.delimiter, self.quote, self.escape) if value]
        if len(set(given)) < len(given):
            raise refused("{field} must differ from the quote and the escape.", "delimiter")
        return self


class FileTable(FileReading):
    """One of several tables of a `files` source."""

    table: Annotated[TableName, Field(description="Where the rows land.")]


_OF_ONE_TABLE = frozenset(FileReading.model_fields)
"""What is said of a source's only table, or else of each of several."""


class FilesSource(AnySource, FileReading, FilePlace):
    """Files below a directory or bucket, into one table or several. A run reads new and changed files only."""

    type: Literal["files"]
    tables: Annotated[
        tuple[FileTable, ...],
        Field(description="Several tables, each with a `table` and what else is said of files. Empty: one table."),
    ] = ()

    @model_validator(mode="after")
    def _each_table_says_its_own(self) -> Self:
        if self.tables and (said := sorted(self.model_fields_set & _OF_ONE_TABLE)):
            raise refused("{field} is said of each of tables: leave it out here.", said[0])
        distinct((each.table for each in self.tables), "tables", "table")
        return self

    def each(self) -> "tuple[FilesSource, ...]":
        """The source as sources of one table."""
        if not self.tables:
            return (self,)
        names = _OF_ONE_TABLE
        return tuple(
            self.model_copy(update={"tables": (), **{name: getattr(table, name) for name in names}})
            for table in self.tables
        )

    def landings(self) -> dict[str, Landing | None]:
        found: dict[str, Landing | None] = {}
        for one in self.each():
            found |= dict.fromkeys(one.tables_of_parts(), one)
            if one.format in DESCRIBED:
                found[f"{one.table}{CODEBOOK}"] = None
        return found

    def segments(self) -> tuple[str, ...]:
        return tuple(name for one in self.each() if one.format is FileFormat.HL7 for name in one.tables_of_parts())

    def tables_of_parts(self) -> dict[str, str | None]:
        """The tables with rows of a source of one table, and which part of its files each has; None: all of them."""
        if self.format not in PARTED:
            return {self.table: None}
        return {f"{self.table}_{part}": part for part in self.parts}
