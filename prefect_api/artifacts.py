"""Artifacts in Prefect, kept equal to what operations are to be shown, with as few writes as there are changes.

Prefect's own `create_artifact` adds a row each time; here an artifact is made once and then patched in place, which
changes its row and that of its collection, and adds none (measured on 3.8.8). What another installation on the same
server wrote under one of our keys is left alone, as its deployments are; what our own forms once wrote there is not.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import httpx

from prefect_api.calls import PAGE_SIZE, CallKind, PrefectCalls, whole
from prefect_api.errors import RefusedError
from prefect_api.names import ALL_OF_OURS, FLEET_KEY, is_fleet_page

logger = logging.getLogger(__name__)

MOST_WRITES = 300
"""Of one round, so that a new release's new pages are no herd: a server takes some 25 ms for each."""

FORM_WROTE = re.compile(r"Connector \d+, (created|changed|activated|deactivated)\.")
"""The description of a form's page, which had the key of ours before it got one of its own. It does not say of which
installation, so it is written over where a page of ours belongs, and never deleted."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """The content of one artifact, as Prefect takes it."""

    type: str
    data: str
    description: str


@dataclass(frozen=True, slots=True)
class _Held:
    """One artifact as Prefect was last seen, or made, to hold it."""

    id: UUID
    artifact: Artifact


class Artifacts:
    """The artifacts of one installation. Every method may raise what `prefect_api.errors` draws."""

    def __init__(self, prefect: PrefectCalls, tag: str) -> None:
        """By `tag`, ours differ from another installation's."""
        self._prefect = prefect
        self._tag = tag
        self._held: dict[str, _Held] | None = None
        self._foreign: set[str] = set()

    async def show(self, wanted: Mapping[str, Artifact]) -> bool:
        """Make Prefect hold these and no others of ours; False when more is left to do than one round may write.

        If the process dies in between, the rest differs still, and the next controller sees it.
        """
        held = self._held if self._held is not None else await self._list()
        self._held = held
        changes = [key for key, artifact in wanted.items() if key not in held or held[key].artifact != artifact]
        changes = [key for key in changes if key not in self._foreign]
        # What shows all of it comes first.
        changes.sort(key=lambda key: key != FLEET_KEY)
        surplus = [
            key for key in held if key not in wanted and not FORM_WROTE.fullmatch(held[key].artifact.description)
        ]
        for key in changes[:MOST_WRITES]:
            held[key] = await self._write(key, wanted[key], held.get(key))
        for key in surplus[:MOST_WRITES]:
            await self._prefect.request(CallKind.ARTIFACT, "DELETE", f"/artifacts/{held[key].id}", gone_is_fine=True)
            del held[key]
        return max(len(changes), len(surplus)) <= MOST_WRITES

    def forget(self) -> None:
        """Look anew at what Prefect holds before the next write."""
        self._held = None

    async def _list(self) -> dict[str, _Held]:
        found: dict[str, _Held] = {}
        known, self._foreign = self._foreign, set()
        offset = count = 0
        while count == offset:  # every page so far was full
            only = {"key": {"like_": f"{ALL_OF_OURS}%"}, "type": {"any_": ["table", "markdown"]}}
            body = {"artifacts": only, "sort": "KEY_ASC", "limit": PAGE_SIZE, "offset": offset}
            rows = await self._prefect.request(CallKind.LIST, "POST", "/artifacts/latest/filter", body)
            with whole():
                for row in rows:
                    if not is_fleet_page(row["key"]):
                        continue
                    description = row["description"] or ""
                    if f"({self._tag})" in description or FORM_WROTE.fullmatch(description):
                        artifact = Artifact(row["type"], row["data"], description)
                        found[row["key"]] = _Held(UUID(row["latest_id"]), artifact)
                    else:
                        self._foreign.add(row["key"])
            offset += PAGE_SIZE
            count += len(rows)
        if self._foreign - known:
            logger.warning(
                "Prefect has artifacts of others under our keys; they are left alone: %s", len(self._foreign)
            )
        return found

    async def _write(self, key: str, artifact: Artifact, held: _Held | None) -> _Held:
        content = {"data": artifact.data, "description": artifact.description}
        if held is not None and held.artifact.type == artifact.type:
            try:
                await self._prefect.request(CallKind.ARTIFACT, "PATCH", f"/artifacts/{held.id}", content)
                return _Held(held.id, artifact)
            except RefusedError as error:
                if error.status_code != httpx.codes.NOT_FOUND:
                    raise
                # Somebody deleted it: it is made again.
        made = await self._prefect.request(
            CallKind.ARTIFACT, "POST", "/artifacts/", {"key": key, "type": artifact.type, **content}
        )
        with whole():
            return _Held(UUID(made["id"]), artifact)
