"""Rows that the source itself names as deleted: deleted from the destination before a load, or marked.

Before the load, so that a row which comes again in it stands at its end. If the process dies in between, the next run
is named the same rows again, and deletes what is left of them.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from connectors.sources.deletes import Deletes
from connectors.sources.write_rules import landed_table, letters_and_digits
from pipelines.loading.comparing.deleting import DELETED_AT
from pipelines.loading.comparing.histories import NOTES, Histories
from pipelines.loading.comparing.reading import Place
from pipelines.loading.comparing.sessions import Session, session
from pipelines.protection.hashing import hashed
from pipelines.protection.masking import masking_key

KEY = "id"


def delete_named(
    place: Place, gone: Mapping[str, Sequence[Path]], mode: Deletes, histories: Histories
) -> dict[str, int]:
    """Delete or mark the rows of these ids, and end their versions; how many, by table.

    Args:
        place: the connector's dataset.
        gone: Parquet with the ids, as the source has them, by the table's name at the source.
        mode: what becomes of the rows.
        histories: of the connector's tables.
    """
    files = {landed_table(name): [_as_landed(place, path) for path in paths] for name, paths in gone.items()}
    done: dict[str, int] = {}
    pipeline = place.pipeline
    with place.alone(), session(pipeline, place.job.destination) as there:
        for table, of_table in files.items():
            done[table] = _delete(there, table, of_table, mode)
            # A history that has never followed looks at every row after the load.
            if done[table] and histories.has(table) and there.columns(NOTES):
                histories.follow_keys(there, pipeline, table)
    return done


def _as_landed(place: Place, path: Path) -> Path:
    """The ids as they stand in the destination: hashed, where they are masked."""
    job = place.job
    if KEY not in {letters_and_digits(column) for column in job.connector.source.mask}:
        return path
    key = masking_key(job.settings.data_dir, required=job.settings.mask_key_required)
    ids = pyarrow.parquet.read_table(path).column(KEY).to_pylist()
    masked = path.with_suffix(".masked.parquet")
    pyarrow.parquet.write_table(pa.table({KEY: [hashed(each, key) for each in ids]}), masked)
    return masked


def _delete(there: Session, table: str, files: Sequence[Path], mode: Deletes) -> int:
    columns = there.columns(table)
    if KEY not in columns:
        return 0
    name, key, mark = there.table(table), there.column(KEY), there.column(DELETED_AT)
    if mode is Deletes.MARK and DELETED_AT not in columns:
        there.ask(f"ALTER TABLE {name} ADD COLUMN {mark} timestamp with time zone")
    there.put("named_keys", files, [KEY])
    found = f"EXISTS (SELECT 1 FROM named_keys k WHERE k.{key} = t.{key})"  # noqa: S608  # names, escaped; as all below
    if mode is Deletes.MARK:
        found = f"t.{mark} IS NULL AND {found}"
    ((rows,),) = there.ask(f"SELECT count(*) FROM {name} t WHERE {found}")  # noqa: S608
    now = datetime.now(UTC).isoformat()
    marked, deleted = f"UPDATE {name} AS t SET {mark} = '{now}'", f"DELETE FROM {name} AS t"  # noqa: S608
    there.ask(f"{marked if mode is Deletes.MARK else deleted} WHERE {found}")
    there.ask("DROP TABLE named_keys")
    return int(rows)
