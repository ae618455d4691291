"""Artifacts of a run on its page in Prefect: a bar while it runs, and a summary at its end.

Observability never takes a healthy run down: what Prefect does not take is a line in the log.
"""

import logging
from typing import Any
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from pipelines.loading.summary import Summary
from prefect_api.names import load_page_key

logger = logging.getLogger("prefect.pipelines")


class Bar:
    """A progress artifact of this run, made when there is something to show."""

    def __init__(self, connector_id: int) -> None:
        self._connector_id = connector_id
        self._artifact: UUID | None = None

    def __call__(self, progress: float, sentence: str) -> None:
        """Show how far the run is, from 0 to 100."""
        try:
            if self._artifact is None:
                made: Any = create_progress_artifact(progress, description=sentence, _sync=True)  # type: ignore[call-arg]
                self._artifact = made
            else:
                update_progress_artifact(self._artifact, progress, description=sentence, _sync=True)  # type: ignore[call-arg]
        except Exception as error:  # whatever Prefect raises, the load goes on
            logger.warning("The progress could not be shown: %s.", type(error).__name__)


def show(summary: Summary) -> None:
    """Leave the summary of a run, under a key of its connector's, so that the UI lists one load after another."""
    try:
        create_markdown_artifact(
            summary.markdown,
            key=load_page_key(summary.connector_id),
            description=summary.sentence,
            _sync=True,  # type: ignore[call-arg]
        )
    except Exception as error:  # whatever Prefect raises, the load is done
        logger.warning("The summary could not be shown: %s.", type(error).__name__)
