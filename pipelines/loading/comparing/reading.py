"""Tables of a source read once more, through the same steps as a load, and written nowhere but to the run's directory.

What is compared with the destination must have gone the same way: the names, masks and types by which a row landed are
those by which it is compared, so that rounding and hashing are on both sides. It is dlt's extract of a pipeline of its
own, that begins with what the destination knows and is thrown away: no state, no schema and no cursor moves. If the
process dies here, nothing was written anywhere but in its directory, which goes with it.
"""

import uuid
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import dlt
from dlt.extract import DltResource

from connectors.destinations.postgres import PostgresDestination
from connectors.sources import Source
from pipelines.loading.columns import fitting_step
from pipelines.loading.columns.known_columns import Known, known_columns, landed_name
from pipelines.loading.deduplication import newest_rows
from pipelines.loading.destinations import Target
from pipelines.loading.job import Job
from pipelines.loading.opening import alone
from pipelines.protection.masking import mask_of
from pipelines.protection.protecting import protection_of
from pipelines.remarks import Remarks
from pipelines.rows import to_arrow
from pipelines.rows.fitting import never
from pipelines.rows.types.known_types import column_types
from pipelines.sources import Context, open_source
from pipelines.sources.as_one import source_of


@dataclass(frozen=True, slots=True)
class Reread:
    """One table as it was read again."""

    table: str
    """Its name in the destination."""
    key: tuple[str, ...]
    """The columns of its key, as they land."""
    columns: tuple[str, ...]
    files: tuple[Path, ...]
    """Parquet, one row for each key."""
    part: str | None = None
    """A condition on the rows `t` in the destination, where only those were compared: all others are at the source."""
    appended: bool = False
    """Rows of a key that come again stand beside those before, and not in their place."""


@dataclass(frozen=True, slots=True)
class Place:
    """A connector's dataset in an open destination, and what reading for it needs."""

    job: Job
    target: Target
    pipeline: dlt.Pipeline
    """The run's own, which knows what has landed."""

    def alone(self) -> AbstractContextManager[None]:
        """Holds the destination where it takes one at a time."""
        return alone(self.job, self.target)


def _opened(place: Place) -> dlt.Pipeline:
    """A pipeline that knows what the destination knows."""
    pipeline = dlt.pipeline(
        pipeline_name=place.job.name,
        pipelines_dir=str(place.job.directory / uuid.uuid4().hex),
        destination=place.target.destination,
        dataset_name=place.job.connector.dataset,
    )
    with place.alone():
        pipeline.sync_destination()
    return pipeline


def read_again(place: Place, source: Source, tables: Collection[str] = (), *, keys_alone: bool = False) -> list[Reread]:
    """Read all tables of a source, or some. Those that nothing was ever loaded into are left out.

    `keys_alone`: no more is wanted than what tells rows apart.

    Raises:
        RunError: as the source's reader does.
    """
    pipeline = _opened(place)
    if not pipeline.default_schema_name:
        return []
    with place.alone():
        known = known_columns(pipeline)
    with pipeline.managed_state() as state:
        state["sources"] = {}  # what was read before is read again
    found = _prepared(place, source, pipeline, known, tables, keys_alone=keys_alone)
    if not found:
        return []
    job = place.job
    extracted = pipeline.extract(source_of(job.name, [*found.values()], None), loader_file_format="parquet")
    if not keys_alone:  # of which one is as good as several
        newest_rows.keep_newest(pipeline, extracted, job.directory, {})
    files = _extracted(pipeline)
    return [
        Reread(
            table,
            fitting_step.key_of(resource, landed_name(pipeline)),
            tuple(name for name in known.tables[table] if not name.startswith("_dlt")),
            tuple(files.get(table, ())),
        )
        for table, resource in found.items()
    ]


def _prepared(
    place: Place, source: Source, pipeline: dlt.Pipeline, known: Known, tables: Collection[str], *, keys_alone: bool
) -> dict[str, DltResource]:
    """The resources of a source with the steps of a load, by table."""
    schema = pipeline.default_schema
    job = place.job
    mask = mask_of(source, job.settings)
    protection = protection_of(source, job.settings, job.profile)
    # Remarks of this reading would repeat those of the load.
    context = Context.of(
        job.settings,
        job.secrets,
        mask=mask,
        protection=protection,
        full_refresh=True,
        keys_alone=keys_alone,
        directory=job.directory,
    )
    found: dict[str, DltResource] = {}
    for resource in open_source(source, context):
        table = to_arrow.table_name_of(resource, schema)
        if table not in known.tables or (tables and table not in tables):
            continue
        mask.put_into(resource, column_types(schema, resource.name))
        protection.put_into(resource)
        to_arrow.put_into(resource, schema, Remarks())
        fitting_step.put_into(
            resource,
            known.tables[table],
            landed_name(pipeline),
            widen=never,
            without_nul=isinstance(job.destination, PostgresDestination),
        )
        found[table] = resource
    return found


def _extracted(pipeline: dlt.Pipeline) -> dict[str, list[Path]]:
    """The files that were written, by table."""
    files: dict[str, list[Path]] = {}
    for load_id in pipeline.list_extracted_load_packages():
        for file in pipeline.get_load_package_info(load_id).jobs["new_jobs"]:
            if str(file.file_path).endswith(".parquet"):
                files.setdefault(file.job_file_info.table_name, []).append(Path(file.file_path))
    return files
