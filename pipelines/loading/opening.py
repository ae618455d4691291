"""Opening of a destination: the pipeline, what a dead run left there, and the columns that the tables have by now."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dlt

from connectors.sources.fhir import FhirSource
from connectors.sources.redcap import RedcapSource
from pipelines.access.denied_hosts import DeniedHosts
from pipelines.connector_lock import name_key
from pipelines.loading import unfinished_loads
from pipelines.loading.columns.kept_schema import keep_schemas
from pipelines.loading.columns.known_columns import Known, known_columns
from pipelines.loading.columns.widening import Widening
from pipelines.loading.destinations import Target, open_target
from pipelines.loading.job import Job
from pipelines.loading.progress import Progress

logger = logging.getLogger("prefect.pipelines")


@dataclass(frozen=True, slots=True)
class Opened:
    """A destination that one try of a run may write into."""

    pipeline: dlt.Pipeline
    target: Target
    known: Known
    """The columns of the tables; none for a full refresh, which drops what was there."""
    widening: Widening
    full_refresh: bool
    """Whether the run was asked for one, or repeats one that died."""
    repeats_refresh: bool


def open_destination(job: Job, directory: Path, *, full_refresh: bool) -> Opened:
    """Open the job's destination, end what a dead run has begun there, and restore the state.

    Args:
        job: the load.
        directory: for the files of this try alone: a failed one leaves nothing that the next could pick up.
        full_refresh: the run drops what is there.
    """
    # Where operations have the platform's own default destination is their matter.
    named = job.connector.destination is not None
    target = open_target(
        job.destination,
        job.connector.id,
        job.secrets,
        job.settings.data_dir,
        roots=tuple(job.settings.local_destination_roots) if named else None,
        dataset=job.connector.dataset,
        denied=DeniedHosts.of(job.settings) if named else None,
        one_thread=isinstance(job.connector.source, FhirSource | RedcapSource),
        by_width=isinstance(job.connector.source, RedcapSource),
    )
    pipeline = dlt.pipeline(
        pipeline_name=job.name,
        pipelines_dir=str(directory),
        destination=target.destination,
        dataset_name=job.connector.dataset,
        progress=Progress(job.report),
    )
    with alone(job, target):
        job.locks.check()
        target.make()
        repeats_refresh = unfinished_loads.recover(pipeline, job.name)
        full_refresh = repeats_refresh or full_refresh
        pipeline.sync_destination()
        keep_schemas(pipeline)
        known = Known() if full_refresh else known_columns(pipeline)
        widening = Widening(pipeline, lambda: alone(job, target))
    return Opened(pipeline, target, known, widening, full_refresh, repeats_refresh)


@contextlib.contextmanager
def alone(job: Job, target: Target, *, keep: bool = True) -> Iterator[None]:
    """Holds the destination where it takes only one run at a time: a DuckDB file.

    `keep`: it stays open meanwhile; else what it has in memory is given back between two uses.
    """
    if target.exclusive is None:
        yield
        return
    with (
        job.locks.hold(name_key(target.exclusive), _wait_for_the_file),
        target.kept() if keep else contextlib.nullcontext(),
    ):
        yield


def _wait_for_the_file() -> None:
    logger.info("Waiting for another connector to finish with the DuckDB file.")
