"""Load files that are read once and removed: parquet without what makes parquet small.

dlt's writer takes the compression from the destination, and it says nothing about dictionaries, which cost half of the
time that writing takes. There is no setting for them in dlt, so this one method of its writer is replaced, for those
destinations alone that asked for uncompressed files. Here, too, is where rows are counted as they are written.
"""

from typing import Any

import pyarrow as pa
import pyarrow.parquet
from dlt.common.data_writers.writers import ParquetDataWriter

from pipelines.loading.checking import passing

CONSTANT = ["_dlt_load_id"]
"""The column whose value is the same in each row: here a dictionary saves more than it costs."""

_original = ParquetDataWriter._create_writer


def install() -> None:
    """Replace dlt's way to open a parquet file. Done twice it changes nothing."""
    ParquetDataWriter._create_writer = _create_writer  # type: ignore[method-assign]


def _create_writer(self: ParquetDataWriter, schema: pa.Schema) -> Any:
    return passing.watched(self._f.name, _made(self, schema))


def _made(self: ParquetDataWriter, schema: pa.Schema) -> Any:
    wanted = self.parquet_format
    if wanted.compression != "none":
        return _original(self, schema)
    return pyarrow.parquet.ParquetWriter(
        self._f,
        schema,
        version=wanted.version,
        compression="none",
        use_dictionary=CONSTANT,
        # Nobody asks these files for a part of their rows.
        write_statistics=False,
        coerce_timestamps=wanted.coerce_timestamps,
        allow_truncated_timestamps=wanted.allow_truncated_timestamps,
        use_compliant_nested_type=wanted.use_compliant_nested_type,
    )
