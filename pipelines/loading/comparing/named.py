"""Rows that the source itself names as deleted: deleted from the destination before a load, or marked.

Before the load, so that a row which comes again in it stands at its end. If the process dies in between, the next run
is named the same rows again, and deletes what is left of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from connectors.sources.deletes import Deletes
from connectors.sources.write_rules import letters_and_digits
from pipelines.loading.comparing.deleting import DELETED_AT
from pipelines.loading.comparing.histories import NOTES, Histories
from pipelines.loading.comparing.reading import Place
from pipelines.loading.comparing.sessions import Session, session
from pipelines.protection.masking import masking_key
from pipelines.protection.methods.hashing import hashed

ID = "id"


@dataclass(frozen=True, slots=True)
class Named:
    """Rows of one table that are to go, by the ids of their resources."""

    table: str
    files: Sequence[Path]
    """Parquet with the ids in its column `id`."""
    mode: Deletes
    key: str = ID
    """The table's column with the ids."""
    as_landed: bool = False
    """The ids stand as they land; else as the source has them."""


def delete_named(place: Place, named: Iterable[Named], histories: Histories) -> dict[str, int]:
    """Delete or mark the rows of these ids, and end their versions; how many, by table.

    Args:
        place: the connector's dataset.
        named: the rows.
        histories: of the connector's tables.
    """
    done: dict[str, int] = {}
    pipeline = place.pipeline
    landed = [(each, [path if each.as_landed else _as_landed(place, path) for path in each.files]) for each in named]
    with place.alone(), session(pipeline, place.job.destination) as there:
        for each, files in landed:
            rows = _delete(there, each, files)
            done[each.table] = done.get(each.table, 0) + rows
            # A history that has never followed looks at every row after the load.
            if rows and histories.has(each.table) and there.columns(NOTES):
                histories.follow_keys(there, pipeline, each.table)
    return done


def _as_landed(place: Place, path: Path) -> Path:
    """The ids as they stand in the destination: hashed, where they are masked."""
    job = place.job
    if ID not in {letters_and_digits(column) for column in job.connector.source.mask}:
        return path
    key = masking_key(job.settings.data_dir, required=job.settings.mask_key_required)
    ids = pyarrow.parquet.read_table(path).column(ID).to_pylist()
    masked = path.with_suffix(".masked.parquet")
    pyarrow.parquet.write_table(pa.table({ID: [hashed(each, key) for each in ids]}), masked)
    return masked


def _delete(there: Session, named: Named, files: Sequence[Path]) -> int:
    columns, mode = there.columns(named.table), named.mode
    if named.key not in columns:
        return 0
    name, mark = there.table(named.table), there.column(DELETED_AT)
    if mode is Deletes.MARK and DELETED_AT not in columns:
        there.ask(f"ALTER TABLE {name} ADD COLUMN {mark} timestamp with time zone")
    there.put("named_keys", files, [ID])
    found = f"EXISTS (SELECT 1 FROM named_keys k WHERE k.{there.column(ID)} = t.{there.column(named.key)})"  # noqa: S608  # names, escaped; as all below
    if mode is Deletes.MARK:
        found = f"t.{mark} IS NULL AND {found}"
    ((rows,),) = there.ask(f"SELECT count(*) FROM {name} t WHERE {found}")  # noqa: S608
    now = datetime.now(UTC).isoformat()
    marked, deleted = f"UPDATE {name} AS t SET {mark} = '{now}'", f"DELETE FROM {name} AS t"  # noqa: S608
    there.ask(f"{marked if mode is Deletes.MARK else deleted} WHERE {found}")
    there.ask("DROP TABLE named_keys")
    return int(rows)
