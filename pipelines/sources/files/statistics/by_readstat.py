"""Files of SAS (sas7bdat), SPSS (sav, zsav) and Stata (dta) by pyreadstat, in chunks of columns.

Types come from the file's own header and never from values, whose type changes from chunk to chunk. Labels are never
put in the place of codes: two codes may have one label, and a code without one would stay a number amid texts.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyreadstat

from connectors.sources.file_formats import FileFormat
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.statistics.variables import (
    SAS,
    SPSS,
    STATA,
    Clock,
    Kind,
    Variable,
    page,
    sas_kind,
    spss_kind,
    stata_kind,
)

PAGE_ROWS = 20_000
_BROKEN = (
    "is no whole file of its format: it is cut or damaged; bring it again, or set encoding to what it is written in"
)
_PROGRAMS: dict[FileFormat, tuple[Any, Any, Clock]] = {
    FileFormat.SAS7BDAT: (pyreadstat.read_sas7bdat, sas_kind, SAS),
    FileFormat.SAV: (pyreadstat.read_sav, spss_kind, SPSS),
    FileFormat.DTA: (pyreadstat.read_dta, stata_kind, STATA),
}
_WHOLE = {"int8", "int16", "int32"}


class Statistics:
    """One file.

    Raises:
        BrokenFileError: when it is none of its format, here or while its rows are read.
    """

    def __init__(self, stream: Any, form: FileFormat, encoding: str | None) -> None:
        self._stream = stream
        self._read, kind_of, self._clock = _PROGRAMS[form]
        self._options = {"encoding": encoding, "user_missing": True, "disable_datetime_conversion": True}
        _, self._meta = self._call(metadataonly=True)
        self.variables = [
            self._variable(name, label, kind_of)
            for name, label in zip(self._meta.column_names, self._meta.column_labels, strict=True)
        ]

    def _call(self, **more: Any) -> Any:
        self._stream.seek(0)
        try:
            return self._read(self._stream, output_format="dict", **self._options, **more)
        except (pyreadstat.ReadstatError, UnicodeDecodeError):
            pass
        # Not from its own error, which may quote the file.
        raise BrokenFileError(_BROKEN)

    def _variable(self, name: str, label: str | None, kind_of: Any) -> Variable:
        meta = self._meta
        form = meta.original_variable_types.get(name) or ""
        stored = meta.readstat_variable_types.get(name, "")
        is_text = stored.startswith("string")
        kind = Kind.NUMBER if is_text else kind_of(form)
        labels = {_code(code): text for code, text in (meta.variable_value_labels.get(name) or {}).items()}
        ranges = (meta.missing_ranges or {}).get(name) or []
        missing = [" to ".join(dict.fromkeys((_code(one["lo"]), _code(one["hi"])))) for one in ranges]
        missing += [_code(one) for one in (meta.missing_user_values or {}).get(name) or []]
        return Variable(name, label or "", form, is_text, stored in _WHOLE, kind, labels, tuple(missing))

    def pages(self) -> Iterator[pa.Table]:
        """The rows, page by page."""
        done, total = 0, self._meta.number_rows
        while total is None or done < total:
            found, _ = self._call(row_offset=done, row_limit=PAGE_ROWS)
            count = len(next(iter(found.values()), ()))
            if not count:
                break
            done += count
            yield page([(one, *self._column(one, found[one.name])) for one in self.variables], self._clock)
        if total is not None and done != total:
            raise BrokenFileError(f"says that it has {total:,} rows and has {done:,}: it is cut; bring it again")

    def _column(self, variable: Variable, values: Any) -> tuple[Any, list[str | None] | None]:
        if variable.is_text:
            return [value or None for value in values], None
        special: list[str | None] | None = None
        if any(isinstance(value, str) for value in values):
            special = [f".{value}" if isinstance(value, str) else None for value in values]
            values = [None if isinstance(value, str) else value for value in values]
        numbers = np.array(values, np.float64)
        ranges = (self._meta.missing_ranges or {}).get(variable.name) or []
        for one in ranges:
            if isinstance(one["lo"], str):
                continue
            hits = (numbers >= one["lo"]) & (numbers <= one["hi"])
            if hits.any():
                before = special or [None] * len(numbers)
                pairs = zip(numbers.tolist(), hits.tolist(), before, strict=True)
                special = [_code(number) if hit else text for number, hit, text in pairs]
                numbers = np.where(hits, np.nan, numbers)
        return numbers, special


def _code(code: Any) -> str:
    return str(int(code)) if isinstance(code, float) and code.is_integer() else str(code)
