"""Formats of files: how their names end, what they hold beside rows, and the settings of each. Pure."""

from connectors.limits.closed_sets import ClosedSet


class FileFormat(ClosedSet):
    """What the files of a source are."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    XLSX = "xlsx"
    XLSB = "xlsb"
    ODS = "ods"
    XPT = "xpt"
    SAS7BDAT = "sas7bdat"
    SAV = "sav"
    DTA = "dta"
    FIXED = "fixed"
    XML = "xml"
    ODM = "odm"
    DATASET_JSON = "dataset_json"
    HL7 = "hl7"


class DecimalMark(ClosedSet):
    """What stands before the decimals of a number."""

    POINT = "."
    COMMA = ","


ENDINGS: dict[FileFormat, tuple[str, ...]] = {
    FileFormat.CSV: ("csv",),
    FileFormat.JSONL: ("jsonl", "ndjson"),
    FileFormat.PARQUET: ("parquet",),
    FileFormat.XLSX: ("xlsx", "xlsm"),
    FileFormat.XLSB: ("xlsb",),
    FileFormat.ODS: ("ods",),
    FileFormat.XPT: ("xpt", "xport"),
    FileFormat.SAS7BDAT: ("sas7bdat",),
    FileFormat.SAV: ("sav", "zsav"),
    FileFormat.DTA: ("dta",),
    FileFormat.FIXED: ("txt", "dat", "asc"),
    FileFormat.XML: ("xml",),
    FileFormat.ODM: ("odm", "xml"),
    FileFormat.DATASET_JSON: ("json", "ndjson"),
    FileFormat.HL7: ("hl7",),
}
"""Of each format, how the names of its files end; `PACKED` may follow."""

PACKED = r"(\.(gz|bz2|zst|zip))?(\.(pgp|gpg|asc))?$"
"""What the names of packed and of encrypted files end with besides, as a pattern."""

UNTOLD = frozenset({FileFormat.FIXED, FileFormat.ODM, FileFormat.DATASET_JSON})
"""Formats that no ending tells: what ends so may be another."""

CSV_SETTINGS = ("delimiter", "quote", "escape", "header", "skip", "comment", "null_values", "quoted_nulls")
"""Settings of csv, some of which workbooks have too."""

WORKBOOKS = frozenset({FileFormat.XLSX, FileFormat.XLSB, FileFormat.ODS})

STATISTICS = frozenset({FileFormat.XPT, FileFormat.SAS7BDAT, FileFormat.SAV, FileFormat.DTA})
"""Files of statistics programs."""

LABELLED = frozenset({FileFormat.SAV, FileFormat.DTA})
"""Files whose labels of values a program may have made of the values of their rows (AUTORECODE, `encode`)."""

DESCRIBED = STATISTICS | {FileFormat.ODM, FileFormat.DATASET_JSON}
"""Files that say what their columns mean, which lands as a codebook."""

PARTED = frozenset({FileFormat.ODM, FileFormat.HL7})
"""Files of several tables, of which the connector names those that it wants."""

AUDIT_RECORDS = "AuditRecord"
"""The part of an ODM file that is no item group."""

WORKBOOK_SETTINGS = ("sheet", "header_rows", "skip_end")
"""Settings that mean something for workbooks alone."""

LATER_SETTINGS = (*WORKBOOK_SETTINGS, "fields", "row_path", "decimal", "origin")
"""Settings that say how a file is read, beside those of csv."""

MEANT_BY: dict[str, frozenset[FileFormat]] = {
    "encoding": frozenset({FileFormat.CSV, FileFormat.JSONL, FileFormat.FIXED, FileFormat.HL7}) | STATISTICS,
    **dict.fromkeys(CSV_SETTINGS, frozenset({FileFormat.CSV})),
    "header": WORKBOOKS | {FileFormat.CSV},
    **dict.fromkeys(("skip", "null_values"), WORKBOOKS | {FileFormat.CSV, FileFormat.FIXED}),
    "comment": frozenset({FileFormat.CSV, FileFormat.FIXED}),
    "fields": frozenset({FileFormat.FIXED}),
    "row_path": frozenset({FileFormat.XML}),
    "parts": PARTED,
    "decimal": frozenset({FileFormat.CSV, FileFormat.FIXED}),
    **dict.fromkeys(WORKBOOK_SETTINGS, WORKBOOKS),
}
"""The formats for which each setting means something."""
