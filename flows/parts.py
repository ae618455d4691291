"""`load-parts`: copies parts of a large table for the run of a connector that loads it.

That run starts it, and writes into `cai_load_parts` what is to be copied: the load's number is all that Prefect learns.
If the process dies, somebody else takes its part.
"""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from prefect_api.names import PARTS_FLOW


@flow(name=PARTS_FLOW, flow_run_name="parts of load {load_id}", persist_result=False)
def load_parts(load_id: int) -> State[Any]:
    """Help a load that copies a large table in parts. Started by its run alone.

    Args:
        load_id: The load's number in cai_loads.
    """
    from pipelines.errors import RunError  # noqa: PLC0415  # what copies costs seconds, and the controller imports us
    from pipelines.helping import help_load  # noqa: PLC0415
    from settings import Settings  # noqa: PLC0415

    try:
        return Completed(message=help_load(load_id, Settings(), flow_run.get_id()))
    except RunError as error:
        return Failed(message=f"{error} The load does the part itself.")
