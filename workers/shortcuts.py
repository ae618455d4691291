"""Short cuts of a forked run: what it need not ask Prefect's server, since its worker knows it, or nothing uses it.

They replace private parts of Prefect's engine in the run's own process, and in no other; a test holds that these parts
are there. A run without them would do the same, later.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC
from types import SimpleNamespace
from typing import Any

from prefect import flow_engine, results
from prefect.events import related
from prefect.types._datetime import DateTime

from workers.messages import Order


def take_shortcuts(order: Order) -> None:
    """Take all of them, in this process, for good."""
    _know_related(order)
    _end_without_the_heartbeats_nap()
    _watch_for_no_suspension()
    _keep_no_results()


def _know_related(order: Order) -> None:
    """Events name the flow, the deployment, the pool and the queue of a run: the worker has just read them."""
    for key, found in order.related.items():
        kind = key.partition(".")[0]
        known: Any = {"kind": kind, "object": SimpleNamespace(**found)}
        related.RESOURCE_CACHE[key] = (known, DateTime.now(UTC))


def _end_without_the_heartbeats_nap() -> None:
    """After its last state a run would wait up to a second for a sleeping thread, which ends with it anyhow."""
    original = flow_engine._send_heartbeats

    @contextlib.contextmanager
    def beating(engine: Any, join_on_exit: bool = True) -> Iterator[None]:
        del join_on_exit
        with original(engine, join_on_exit=False):
            yield

    flow_engine._send_heartbeats = beating


def _watch_for_no_suspension() -> None:
    """A load that is suspended has nothing to go on from: it is cancelled instead (docs/production.md).

    Prefect's watch opens a websocket of its own and keeps the run from starting until it stands.
    """
    engine: Any = flow_engine
    engine.observe_flow_run_suspension = lambda *_, **__: contextlib.nullcontext()


def _keep_no_results() -> None:
    """Our flows and steps store no results, so the server's default place for them is of no use."""

    async def none() -> None:
        return None

    results._aread_server_default_result_storage_block_id = none
    results._read_server_default_result_storage_block_id = lambda: None
