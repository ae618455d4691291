"""People for tests of access: connectors of teams, and clients that hold a token with a role."""

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute

from connectors.people import Role
from tests.support.api_rig import BODY, CONNECTORS

OWN, OTHER, NOBODYS = "oncology", "cardiology", None
"""The team of whoever asks, another one, and what is everybody's."""

TOKENS = "/api/v1/tokens"
CREDENTIALS = "/api/v1/credentials"


async def made_token(admin: httpx.AsyncClient, role: Role, team: str | None, **more: Any) -> dict[str, Any]:
    """A token as the API answers it."""
    name = more.pop("name", f"{role}-of-{team}")
    answer = await admin.post(TOKENS, json={"name": name, "role": role, "team": team, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def made_connector(admin: httpx.AsyncClient, team: str | None, **changes: Any) -> dict[str, Any]:
    """A connector of a team, named after it."""
    body = {**BODY, "name": f"Secret study of {team}", "team": team, "isActive": False, **changes}
    answer = await admin.post(CONNECTORS, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@asynccontextmanager
async def holding(admin: httpx.AsyncClient, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the same API that sends this token."""
    transport = httpx.ASGITransport(app=admin._transport.app, raise_app_exceptions=False)  # type: ignore[attr-defined]
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url=admin.base_url, headers=headers) as client:
        yield client


def routes_of(routes: Iterable[BaseRoute]) -> set[tuple[str, str]]:
    """Every (method, path) of an app, as its router has them; HEAD is answered as GET."""
    contexts = iter_route_contexts(list(routes))
    named = ((method, context.path or "") for context in contexts for method in context.methods or ())
    return {(method, path) for method, path in named if method != "HEAD"}


class KeptValues:
    """Blocks in memory, for tests that are about who may keep one."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def keep(self, name: str, value: str) -> None:
        """Put a value into a new block."""
        self.values[name] = value

    async def forget(self, name: str) -> None:
        """Delete a block."""
        self.values.pop(name, None)


class Browser(httpx.AsyncClient):
    """A browser without scripts: it keeps cookies, and sends forms with the text that their page was given."""

    async def send_form(self, address: str, shown_on: str = "/", **fields: str) -> httpx.Response:
        """Send a form of a page, as a person fills it in."""
        return await self.post(address, data={"csrf": await self.form_text(shown_on), **fields})

    async def form_text(self, shown_on: str = "/") -> str:
        """The text that the forms of a page send along.

        Raises:
            httpx.HTTPStatusError: the page could not be shown.
        """
        page = await self.get(shown_on)
        if page.is_server_error:
            page.raise_for_status()
        found = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert found, f"{shown_on} has no form"
        return found[1]


@asynccontextmanager
async def browsing(
    api: httpx.AsyncClient, token: str | None = None, base_url: str = "http://127.0.0.1:8080"
) -> AsyncIterator[Browser]:
    """A browser at the page of the same application, logged in by a token where one is given."""
    transport = httpx.ASGITransport(app=api._transport.app, raise_app_exceptions=False)  # type: ignore[attr-defined]
    async with Browser(transport=transport, base_url=base_url) as browser:
        if token is not None:
            answer = await browser.send_form("/login/token", "/login/token", token=token)
            assert answer.status_code == 303, answer.text
        yield browser
