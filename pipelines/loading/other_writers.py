"""Other connectors that write a run's tables: looked for before anything is read.

The API refuses such connectors when they are saved; rows that a back end writes, and two that are saved in the same
moment, are only seen here.
"""

from connectors.connector import Connector, ConnectorRow
from connectors.destinations.places import places_of
from connectors.shared_tables import clash, sharing, writer_of, writers_of
from database import runs
from pipelines.connector_lock import Locks
from pipelines.errors import ConfigurationError
from pipelines.wording import quoted
from settings import Settings


def refuse_other_writers(locks: Locks, connector: Connector, settings: Settings, *, full_refresh: bool) -> None:
    """Make sure that no other connector writes a table of this one, unless both say that it is meant.

    Raises:
        ConfigurationError: one does; or a full refresh would drop a table that is shared on purpose.
    """
    places = places_of(settings)
    mine = writer_of(connector, places)
    if mine is None:
        return
    found = runs.others_of_dataset(locks.query, connector.id, connector.dataset)
    others = list(writers_of((_row(each) for each in found), places))
    if (refusal := clash(mine, others)) is not None:
        raise ConfigurationError(refusal.message)
    if full_refresh and (shared := sharing(mine, others)):
        raise ConfigurationError(
            f"A full refresh would drop {quoted(shared)}, where other connectors have rows too: delete this "
            f"connector's "
            "rows there by hand, or give it a dataset_name of its own."
        )


def _row(found: dict[str, object]) -> ConnectorRow:
    """A row as far as it says what is written."""
    return ConnectorRow(
        **found,  # type: ignore[arg-type]  # the keys are fields
        description=None,
        schedule=None,
        timezone="UTC",
        work_pool_name=None,
        work_queue_name=None,
        prefect_deployment_id=None,
        generation=1,
    )
