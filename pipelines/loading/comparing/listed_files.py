"""Rows whose file is gone from the source's listing, or came anew without them.

The listing is the one by which the load itself chose its files: a file that it did not see is forgotten by the load's
state as well, so that one which comes again is read again. Without a whole listing nothing is compared.
"""

import uuid
from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.parquet

from connectors.sources.write_rules import landed_table, letters_and_digits
from pipelines.errors import ConfigurationError
from pipelines.loading.comparing.reading import Place, Reread
from pipelines.protection.masking import masking_key
from pipelines.protection.methods.hashing import hashed
from pipelines.protection.protecting import protection_of
from pipelines.sources.files.origin import FILE


def listed_files(place: Place, listed: Mapping[str, Collection[str]], tables: Collection[str]) -> list[Reread]:
    """What is at the source of these tables, by the file of each row.

    Args:
        place: the connector's dataset.
        listed: the names of all files of a table, as its rows have them, by table.
        tables: by their names at the source.

    Raises:
        ConfigurationError: the files' names do not land as they are.
    """
    job = place.job
    source, known = job.connector.source, place.pipeline.default_schema.tables
    found = []
    for table in sorted(listed.keys() & set(tables)):
        columns = known.get(landed_table(table), {}).get("columns", {})
        if FILE not in columns:
            continue
        names = sorted(listed[table])
        if letters_and_digits(FILE) in {letters_and_digits(name) for name in source.mask}:
            key = masking_key(job.settings.data_dir, required=job.settings.mask_key_required)
            names = [str(hashed(name, key)) for name in names]
        elif protection_of(source, job.settings, job.profile).treats(table, FILE):
            raise ConfigurationError(
                f"deletes of '{table}' go by the column {FILE}, which protect changes: leave it as it is, or mask it."
            )
        path = job.directory / f"{uuid.uuid4().hex}.parquet"
        pyarrow.parquet.write_table(pa.table({FILE: pa.array(names, pa.string())}), path)
        appended = known[landed_table(table)].get("write_disposition") == "append"
        # Rows of loads before there was such a column came from nobody knows which file: they stay.
        found.append(
            Reread(landed_table(table), (FILE,), tuple(columns), (path,), f't."{FILE}" IS NOT NULL', appended=appended)
        )
    return found
