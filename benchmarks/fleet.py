"""A large fleet that stands: an audit with nothing to do, changes of schedules, deletes."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import sqlalchemy as sa

from benchmarks.rig.figures import LONG_ROUNDS, Figure, in_turns_async, median_ratio, rate, shown
from benchmarks.rig.parts import by_hand, parts, send_all
from benchmarks.rig.stage import SCHEDULE, Server, Stage, wanted
from database.tables import connectors
from deployments.reconciling.observing import FULL_LISTING_EVERY
from prefect_api.calls import BULK_SIZE, OUR_FLOW, PAGE_SIZE, chunks
from prefect_api.deployment import FieldChange, patch
from prefect_api.names import deployment_name

FLEET = 10_000
CHANGES = 500
EXTRA = "the reading before it and its event included, which the other side does without"


def audit(stage: Stage) -> list[Figure]:
    """Audits with nothing to do beside a bare listing: as many as have one full listing among them, and that alone."""
    fleet = stage.size(FLEET)
    database = stage.connectors(fleet)
    with stage.server(fleet, services=False) as server:

        async def measure() -> tuple[dict[str, list[float]], dict[str, list[float]], int, str]:
            cpu: dict[str, list[float]] = {"audit": [], "full": [], "bare": []}
            seconds: dict[str, list[float]] = {"audit": [], "full": [], "bare": []}
            async with parts(server, database) as (controller, gateway), by_hand(server) as client:
                await controller.cycle(audit=True)  # adopts: the rows did not know their deployments
                await controller.cycle(audit=True)
                gateway.calls.clear()

                async def timed(kind: str, work: Callable[[], Awaitable[None]], times: int = 1) -> None:
                    began, used = time.perf_counter(), server.cpu_seconds()
                    for _ in range(times):
                        await work()
                    seconds[kind].append((time.perf_counter() - began) / times)
                    cpu[kind].append((server.cpu_seconds() - used) / times)

                async def audited() -> None:
                    assert (await controller.cycle(audit=True)).audited

                async def listed_and_audited() -> None:
                    assert (await controller.cycle(audit=True, whole=True)).audited

                async def listed() -> None:
                    rows = 0
                    for page in range(1, -(-fleet // PAGE_SIZE) + 1):
                        body = {"limit": PAGE_SIZE, "page": page, "sort": "NAME_ASC", "flows": OUR_FLOW}
                        answer = await client.post("/deployments/paginate", json=body)
                        rows += len(orjson.loads(answer.content)["results"])
                    assert rows == fleet

                for _ in range(LONG_ROUNDS):
                    await timed("audit", audited, FULL_LISTING_EVERY)
                    await timed("bare", listed)
                calls = ", ".join(f"{count // LONG_ROUNDS} {kind}" for kind, count in gateway.calls.items())
                for _ in range(LONG_ROUNDS):
                    await timed("full", listed_and_audited)
                return seconds, cpu, gateway.writes, calls

        seconds, cpu, writes, calls = asyncio.run(measure())
    name = f"audit with nothing to do, {fleet:,} deployments"
    note = f"Calls of {FULL_LISTING_EVERY} audits, one of which lists everything: {calls}."

    def figure(what: str, of: dict[str, list[float]], kind: str, most: float) -> Figure:
        ratio = median_ratio(of[kind], of["bare"])
        words = f"bare listing {shown(of['bare'])}"
        return Figure(f"{name}: {what}", shown(of[kind]), words, ratio, f"at most {most:g}", ratio <= most)

    return [
        Figure(f"{name}: writes", str(writes), "", None, "0", writes == 0, note),
        figure(f"time, mean of {FULL_LISTING_EVERY}", seconds, "audit", 1.05),
        figure("time, everything listed", seconds, "full", 1.05),
        figure(f"the server's CPU, mean of {FULL_LISTING_EVERY}", cpu, "audit", 0.3),
    ]


def changes(stage: Stage) -> list[Figure]:
    """Changed schedules beside the same patches by hand, then deletes beside bulk deletes by hand."""
    fleet, count = stage.size(FLEET), stage.size(CHANGES)
    database = stage.connectors(fleet)
    with stage.server(fleet, services=False) as server:
        return asyncio.run(_changes(server, database, fleet, count))


async def _changes(server: Server, database: str, fleet: int, count: int) -> list[Figure]:
    ids = {row["name"]: str(row["id"]) for row in await server.query("SELECT id, name FROM deployment")}
    # Another hour than they begin with, so that each of them changes.
    crons = (f"{minute} {(int(SCHEDULE.split()[1]) + 1) % 24} * * *" for minute in range(60))
    changed = list(range(fleet - count + 1, fleet + 1))
    doomed = chunks(range(1, fleet - count + 1), count)
    cpu: dict[str, list[float]] = {"patch": [], "delete": [], "raw patch": [], "raw delete": []}
    async with parts(server, database) as (controller, _), by_hand(server) as client:
        await controller.cycle(audit=True)

        async def timed(kind: str, change: sa.Update | sa.Delete) -> float:
            async with controller.store.engine.begin() as connection:
                await connection.execute(change)
            began, used = time.perf_counter(), server.cpu_seconds()
            report = await controller.cycle()
            seconds = time.perf_counter() - began
            cpu[kind].append((server.cpu_seconds() - used) / count)
            assert report.applied == count, report.lines
            return seconds

        async def by_hand_timed(kind: str, requests: list[tuple[str, str, Any]]) -> float:
            used = server.cpu_seconds()
            seconds = await send_all(client, requests)
            cpu[f"raw {kind}"].append((server.cpu_seconds() - used) / count)
            return seconds

        async def rescheduled() -> float:
            these = sa.update(connectors).where(connectors.c.id.in_(changed))
            return await timed("patch", these.values(schedule=next(crons)))

        async def patched() -> float:
            specs = list(map(wanted, changed, itertools.repeat(next(crons))))
            # A schedule is in the description in words, and the version is the spec's hash.
            differs = tuple(FieldChange(name, None, None) for name in ("schedules", "version", "description"))
            return await by_hand_timed(
                "patch", [("PATCH", f"/deployments/{ids[spec.name]}", patch(spec, differs)) for spec in specs]
            )

        async def deleted() -> float:
            return await timed("delete", sa.delete(connectors).where(connectors.c.id.in_(next(doomed))))

        async def bulk_deleted() -> float:
            gone = [ids[deployment_name(number)] for number in next(doomed)]
            bodies = [{"deployments": {"id": {"any_": chunk}}, "limit": BULK_SIZE} for chunk in chunks(gone, BULK_SIZE)]
            return await by_hand_timed("delete", [("POST", "/deployments/bulk_delete", body) for body in bodies])

        sides = {
            "patch": (f"{count} schedule changes", "raw PATCH", 0.95, rescheduled, patched),
            "delete": (f"{count} deletes", "raw bulk delete", 0.9, deleted, bulk_deleted),
        }
        figures = []
        for kind, (name, by, least, ours, baseline) in sides.items():
            seconds = await in_turns_async(ours, baseline)
            mine, theirs = ([count / each for each in side] for side in seconds)
            ratio = median_ratio(mine, theirs)
            used, bare = (statistics.median(cpu[side]) * 1000 for side in (kind, f"raw {kind}"))
            note = f"{used:.1f} ms of the server's CPU each, {EXTRA} ({bare:.1f} ms)."
            shows = rate(mine), f"{by} {rate(theirs)}", ratio, f"at least {least:g}", ratio >= least
            figures.append(Figure(f"{name}, fleet of {fleet:,}", *shows, note))
        return figures
