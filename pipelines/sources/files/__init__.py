"""Files of one format below a directory or bucket, into one table. A run reads the files that are new or changed.

They are read in the order in which they came, oldest change first, so that of two files with one key the later has the
last word. `reading` says which are read, and that each lands as a whole or not at all.
"""

from collections.abc import Iterator
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.schema.typing import TWriteDisposition
from dlt.extract import DltResource

from connectors.sources.deletes import Deletes
from connectors.sources.file_formats import DESCRIBED, WORKBOOKS, DecimalMark, FileFormat
from connectors.sources.files import FilesSource
from connectors.sources.write_rules import CODEBOOK, WriteDisposition
from pipelines.errors import ConfigurationError
from pipelines.rows.to_arrow import ToArrow
from pipelines.sources import Context
from pipelines.sources.files.finding import OF_THE_SYSTEM, Choice, find
from pipelines.sources.files.holding import WholeFiles
from pipelines.sources.files.reading import Reading
from pipelines.sources.files.statistics import CODEBOOK_KEY
from pipelines.sources.files.stores import Store

OF_TEXT = frozenset({FileFormat.CSV, FileFormat.FIXED, FileFormat.XML, FileFormat.ODM, FileFormat.DATASET_JSON})
"""Formats whose values are texts, of which the types are found out."""


def resources(source: FilesSource, context: Context) -> list[DltResource]:
    """The tables of a `files` source, and the codebooks of files that have one."""
    return [resource for one in source.each() for resource in _resources(one, context)]


def _resources(source: FilesSource, context: Context) -> list[DltResource]:
    """Those of a source of one table."""
    if context.row_limit is not None and source.write_disposition is WriteDisposition.APPEND and not context.rehearsal:
        raise ConfigurationError(
            f"row_limit can't be used with {source.table}, which appends files: "
            "the next run would bring its rows again. Give it a primary key and merge."
        )
    if context.window:
        raise ConfigurationError(
            f"{source.table} is read from files, which a backfill can't choose among by time: run a full refresh."
        )
    found = find(source, context)
    store, choice = found
    if source.deletes is not Deletes.IGNORE and not set(store.denied) - {OF_THE_SYSTEM}:
        names = frozenset(file.shown for file in choice.there)
        context.listed.update(dict.fromkeys(source.tables_of_parts(), names))
    read = [_resource(source, context, found, name, part) for name, part in source.tables_of_parts().items()]
    if source.format in DESCRIBED:
        read.append(_resource(source, context, found, f"{source.table}{CODEBOOK}", of_codebook=True))
    return read


def _resource(
    source: FilesSource,
    context: Context,
    found: tuple[Store, Choice],
    name: str,
    part: str | None = None,
    *,
    of_codebook: bool = False,
) -> DltResource:
    """The reading of a source's files: their rows, those of a part of them, or their codebooks."""
    to_arrow = ToArrow(
        name,
        types={} if of_codebook else source.types,
        of_text=source.format in OF_TEXT,
        comma=source.decimal is DecimalMark.COMMA,
    )
    whole_files = WholeFiles(context.directory, to_arrow.remember, context.mask.remember, context.protection.remember)
    reading = Reading(source, context, *found, whole_files, part, of_codebook, to_arrow.declare)
    replaced = source.write_disposition is WriteDisposition.REPLACE
    merged = of_codebook and not replaced
    disposition: TWriteDisposition = (WriteDisposition.MERGE if merged else source.write_disposition).value
    key = CODEBOOK_KEY if of_codebook else source.primary_key

    def read() -> Iterator[Any]:
        yield from reading.pages()

    resource = dlt.resource(
        read,
        name=name,
        primary_key=list(key) or None,  # type: ignore[arg-type]
        write_disposition=disposition,
    )
    if source.format not in {FileFormat.JSONL} | WORKBOOKS and not of_codebook:
        # The mask is put before it, and knows each column by the name that the file gives it.
        resource.add_map(_with_distinct_names)
    return resource.add_step(to_arrow).add_step(whole_files)


def _with_distinct_names(table: pa.Table) -> pa.Table:
    """A table no two columns of which have one name: the second `note` is `note_2`."""
    names: dict[str, None] = {}
    for name in table.column_names:
        number, distinct = 1, name
        while distinct in names or (number > 1 and distinct in table.column_names):
            number += 1
            distinct = f"{name}_{number}"
        names[distinct] = None
    return table.rename_columns(list(names)) if list(names) != table.column_names else table
