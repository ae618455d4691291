"""Random changes of connectors, each through one door, with what the history must say of it."""

import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.connector import InvalidConnectorError
from connectors.errors import RequestError
from connectors.people import EVERYTHING, Actor, Person, Via
from settings import Settings
from tests.support.api_rig import CONNECTORS, DeadPrefect
from tests.support.doors.processes import Api, BackEnd, Transaction
from use_cases.connectors import Service

SOURCE: dict[str, Any] = {"type": "fhir", "base_url": "https://fhir.example.org/r4", "resource_types": ["Patient"],
          "auth": {"type": "bearer", "token": {"secret": "emr-token"}}}  # fmt: skip
ANN = "prefect:ann"


@dataclass(slots=True)
class Known:
    """Connectors as the last look at the table found them, and all that there ever were."""

    names: dict[int, str] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)
    """The newest of each, of the deleted ones too."""


@dataclass(frozen=True, slots=True)
class Said:
    """How an act ended."""

    reason: str
    """By which its entries are found; empty where a door gives none."""
    was_done: bool | None
    """None: its process was killed, so nobody knows."""
    actor: str
    via: str
    must_change: bool
    """Whether it changes a row whenever it is done."""


Act = Callable[[], Awaitable[Said]]


class Doors:
    """All doors to one database."""

    def __init__(self, pick: random.Random, api: Api, back_end: BackEnd, engine: AsyncEngine, known: Known) -> None:
        self._pick = pick
        self._api = api
        self._back_end = back_end
        self._known = known
        self._service = Service.of(Settings(), engine, DeadPrefect())
        self._number = 0

    def next(self, door: str) -> Act:
        """A random act through a door, to be awaited once."""
        self._number += 1
        reason = f"act-{self._number}."
        return {"rest": self._rest, "page": self._page, "form": self._form, "sql": self._sql}[door](reason)

    def _any(self) -> int:
        return self._pick.choice([*self._known.names, 10**9])

    def _restored(self) -> tuple[int, int]:
        number = self._pick.choice([*self._known.generations, 10**9])
        return number, self._pick.randint(1, self._known.generations.get(number, 1))

    def _schedule(self) -> str:
        return f"{self._pick.randint(0, 59)} {self._pick.randint(0, 23)} * * *"

    # --- REST ---------------------------------------------------------------------------------------------------------

    def _rest(self, reason: str) -> Act:
        number, (old, generation) = self._any(), self._restored()
        where = f"{CONNECTORS}/{number}"
        body = {"name": reason, "source": SOURCE, "schedule": self._schedule(), "description": reason}
        method, path, sent, changes = self._pick.choice([
            ("POST", CONNECTORS, body, True),
            ("POST", CONNECTORS, body, True),
            ("PATCH", where, {"description": reason, "schedule": self._schedule()}, True),
            ("PATCH", where, {"description": reason}, True),
            ("PUT", where, body, True),
            ("POST", f"{where}/{self._pick.choice(['activate', 'deactivate'])}", None, False),
            ("DELETE", where, None, True),
            ("POST", f"{CONNECTORS}/{old}/restore", {"generation": generation}, False),
        ])  # fmt: skip

        async def act() -> Said:
            done: bool | None
            try:
                answer = await self._api.rest.request(method, path, json=sent, headers={"X-Reason": reason})
                done = None if answer.status_code >= 500 else answer.is_success
            except httpx.TransportError:
                done = None
            return Said(reason, done, "environment", Via.REST, changes)

        return act

    # --- the page -----------------------------------------------------------------------------------------------------

    def _page(self, reason: str) -> Act:
        number, (old, generation) = self._any(), self._restored()
        where = f"/connectors/{number}"
        draft = json.dumps({"source": SOURCE, "destination": None, "rest": {}})
        edited = {
            "name": reason, "schedule": self._schedule(), "description": reason, "source.auth": "bearer",
            "source.base_url": SOURCE["base_url"], "source.resource_types": "Patient\nVisit",
            "source.auth.bearer.token": "emr-token",
        }  # fmt: skip
        page: list[tuple[str, dict[str, str], bool]] = [
            ("/connectors/new", {"step": "when", "draft": draft, "name": reason, "when.how": "never"}, True),
            (f"{where}/edit", edited, True),
            (f"{where}/{self._pick.choice(['pause', 'resume'])}", {}, False),
            (f"{where}/delete", {"name": self._known.names.get(number, "")}, True),
            (f"/connectors/{old}/restore", {"generation": str(generation)}, False),
        ]  # fmt: skip
        address, sent, changes = self._pick.choice(page)

        async def act() -> Said:
            done: bool | None
            try:
                answer = await self._api.browser.send_form(address, "/access", reason=reason, **sent)
                done = None if answer.status_code >= 500 else answer.status_code == 303
            except httpx.HTTPStatusError:  # the page with the form was not shown: nothing was sent
                done = False
            except httpx.TransportError:
                done = None
            return Said(reason, done, "environment", Via.PAGE, changes)

        return act

    # --- a form in Prefect's UI ---------------------------------------------------------------------------------------

    def _form(self, reason: str) -> Act:
        number = self._any()
        service = self._service.acting_for(Person(Actor(ANN, Via.FORM, reason), EVERYTHING))
        new = {"name": reason, "source": SOURCE, "schedule": self._schedule()}
        is_active = self._pick.random() < 0.5
        forms: list[tuple[Callable[[], Awaitable[object]], bool]] = [
            (lambda: service.create(new), True),
            (lambda: service.update(number, {"description": reason}), True),
            (lambda: service.set_active(number, is_active), False),
            (lambda: service.delete(number), True),
        ]  # fmt: skip
        called, changes = self._pick.choice(forms)

        async def act() -> Said:
            done: bool | None = True
            try:
                await called()
            except (RequestError, InvalidConnectorError):
                done = False
            except Exception:  # the database was killed
                done = None
            return Said(reason, done, ANN, Via.FORM, changes)

        return act

    # --- SQL ----------------------------------------------------------------------------------------------------------

    def _sql(self, reason: str) -> Act:
        number, source = self._any(), json.dumps(SOURCE)
        into = "INSERT INTO cai_connectors (name, source) VALUES (%s, %s)"
        rows = "".join(f"{reason}{n}\t{source}\n" for n in range(self._pick.choice([1, 3, 40])))
        third = "id %% 3 = %s"
        statements: Mapping[str, Transaction] = {
            "insert": [(into, [reason, source], None)],
            "update": [("UPDATE cai_connectors SET description = %s WHERE id = %s", [reason, number], None)],
            "nothing": [("UPDATE cai_connectors SET description = description WHERE id = %s", [number], None)],
            "many": [(f"UPDATE cai_connectors SET schedule = %s WHERE {third}", [self._schedule(), number % 3], None)],
            "copy": [("COPY cai_connectors (name, source) FROM STDIN", [], rows)],
            "again": [
                (f"{into} ON CONFLICT (name) DO UPDATE SET schedule = '1 1 * * *'",
                 [self._known.names.get(number, reason), source], None)
            ],
            "delete": [("DELETE FROM cai_connectors WHERE id = %s", [number], None)],
            "delete many": [(f"DELETE FROM cai_connectors WHERE {third} AND id %% 2 = 0", [number % 3], None)],
            "renumber": [("UPDATE cai_connectors SET id = id + 100000 WHERE id = %s", [number], None)],
            "truncate": [("TRUNCATE cai_connectors", [], None)],
            "undone": [
                ("SAVEPOINT a", [], None), (into, [reason, source], None), ("ROLLBACK TO a", [], None),
                ("UPDATE cai_connectors SET timezone = 'Europe/Berlin' WHERE id = %s", [number], None),
            ],
            "refused": [(into, [reason, source], None), (into, [reason, source], None)],
        }  # fmt: skip
        kinds = [*statements, "insert", "update", "update", "copy"]
        kind = self._pick.choice(kinds)
        if kind == "truncate" and self._pick.random() < 0.7:
            kind = "update"
        transaction = list(statements[kind])
        is_named = self._pick.random() < 0.5
        if is_named:
            said = {"actor": "back-end-user", "via": "portal", "reason": reason}
            named = [(f"SELECT set_config('cai.{name}', %s, true)", [text], None) for name, text in said.items()]
            transaction = [*named, *transaction]

        async def act() -> Said:
            done = await self._back_end.write(transaction)
            return Said(reason if is_named else "", done, "back-end-user", "portal", kind in {"insert", "copy"})

        return act
