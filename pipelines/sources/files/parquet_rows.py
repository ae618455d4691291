"""Parquet files as Arrow tables, each column as its file has it: what differs between files is fitted further on."""

import contextlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from pipelines.sources.files.decoding import unpacked
from pipelines.sources.files.faults import BrokenFileError

BATCH_ROWS = 50_000
_BROKEN = "is no whole parquet file: it is cut or damaged; bring it again or remove it"


def parquet_tables(reopen: Callable[[], Any]) -> Iterator[pa.Table]:
    """A file's rows, batch by batch.

    Raises:
        BrokenFileError: when it is none.
    """
    with _whole(reopen()) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            yield pa.Table.from_batches([batch])


def parquet_schema(stream: Any) -> pa.Schema:
    """The columns of a file, as its end says them. Raises what `parquet_tables` does."""
    with _whole(stream) as file:
        return file.schema_arrow


@contextlib.contextmanager
def _whole(stream: Any) -> Iterator[pyarrow.parquet.ParquetFile]:
    broken = False
    try:
        with pyarrow.parquet.ParquetFile(unpacked(stream)) as file:
            yield file
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, EOFError, zlib.error):
        broken = True
    except OSError as error:
        # Arrow's own has neither number nor a class of its own; a network's or a disk's is another matter.
        if type(error) is not OSError or error.errno is not None:
            raise
        broken = True
    if broken:
        raise BrokenFileError(_BROKEN)
