"""A run is forked whatever happens to fork servers between the worker's question and its order."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from settings import ROOT
from workers.keeper import Keeper, Wear
from workers.messages import Order

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks by descriptors of Linux")


@contextlib.asynccontextmanager
async def keeping(wear: Wear) -> AsyncIterator[Keeper]:
    """A keeper, and the end of every fork server of it."""
    keeper = Keeper(ROOT, wear)
    try:
        yield keeper
    finally:
        keeper.close()


def an_order(directory: Path) -> Order:
    """An order that ends as soon as its process reads it: there is no such flow run."""
    return Order(flow_run={}, entrypoint="flows/nothing.py:nothing", environment={}, directory=str(directory))


async def test_an_order_goes_to_the_server_of_now_and_not_to_one_that_was_looked_up(tmp_path: Path) -> None:
    async with keeping(Wear(max_age_seconds=0.0, max_bytes=2**40)) as keeper:
        looked_up = await keeper.server()
        # Worn at once: its successor is made meanwhile, and it is wanted no more.
        while (await keeper.server()) is looked_up:
            await asyncio.sleep(0.05)
        run = await asyncio.wait_for(keeper.fork(an_order(tmp_path), looked_up), 60)
        await asyncio.wait_for(run.wait(), 60)
        assert run.returncode == 1, "its process lived, and found nothing to do"


@pytest.mark.parametrize("how", ["wants no more", "dies unseen"])
async def test_a_server_that_takes_no_order_is_replaced_and_the_order_given_again(tmp_path: Path, how: str) -> None:
    async with keeping(Wear(max_age_seconds=3600.0, max_bytes=2**40)) as keeper:
        first = await keeper.server()
        if how == "wants no more":
            first.retire()
        else:
            first.kill()
            os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # before the loop may notice
        run = await asyncio.wait_for(keeper.fork(an_order(tmp_path), first), 120)
        await asyncio.wait_for(run.wait(), 60)
        assert run.returncode == 1
        assert (await keeper.server()).pid != first.pid
