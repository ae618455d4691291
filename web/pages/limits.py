"""Limits of sources: which there are, and, for those who may, new and changed ones."""

import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from connectors.credentials import NO_HOST, host_named
from connectors.judging.source_limits import limits_nothing
from connectors.people import Person
from connectors.sources.asking.quiet_hours import AllQuietHours
from connectors.sources.secret_references import Credential, reference_from_text
from database.access.source_limits import StoredLimit
from use_cases.rules.source_limits import SourceLimits
from web.refusing import PageRoute
from web.rendering import Changer, Sent, Visitor, go_to
from web.rules_page import RefusedError, RulesPage, checked, name_in
from web.typed_secrets import hosts_in

router = APIRouter(route_class=PageRoute)

MOST_LOADS = 1000

_WINDOW = re.compile(r"(?:([a-z, ]+?) +)?(\d\S*?) *(?:-|to) *(\d\S*)(?: +(\S+))?")
_QUIET: TypeAdapter[Any] = TypeAdapter(AllQuietHours)
_CREDENTIAL: TypeAdapter[Any] = TypeAdapter(Credential)


def _limits(request: Request, person: Person) -> SourceLimits:
    return SourceLimits(request.app.state.engine, person, reason_required=request.app.state.service.reason_required)


@router.get("/limits")
async def limits(request: Request, person: Visitor, change: str = "") -> Response:
    """The limits of sources; with `change` the form has what that one says."""
    return await _PAGE.show(request, person, change)


@router.post("/limits")
async def keep_limit(request: Request, person: Changer, sent: Sent) -> Response:
    """Keep a limit, in place of the one that has its name."""

    async def keep() -> Response:
        name, values = name_in(sent), _limit_in(sent)
        await _limits(request, person).put(name, values)
        return go_to("/limits", f"The limit {name} holds from the next run on.")

    return await _PAGE.kept(request, person, sent, keep)


@router.post("/limits/{name}/delete")
async def delete_limit(request: Request, name: str, person: Changer, sent: Sent) -> Response:
    """Delete a limit. Runs that wait for it load the next time that they look."""
    await _limits(request, person).delete(name)
    return go_to("/limits", f"The limit {name} is gone.")


def _limit_in(sent: Mapping[str, str]) -> dict[str, Any]:
    """What a form says of a limit, as it is stored."""
    typed = hosts_in(sent.get("hosts", ""))
    hosts = [host_named(host) for host in typed]
    if None in hosts:
        raise RefusedError(f"Of the hosts, {typed[hosts.index(None)]} {NO_HOST}")
    loads = sent.get("loads", "").strip()
    if loads and not (loads.isdecimal() and 1 <= int(loads) <= MOST_LOADS):
        raise RefusedError(f"Loads at once must be a number from 1 to {MOST_LOADS}, or nothing.")
    values: dict[str, Any] = {
        "hosts": hosts,
        "credentials": [_reference(each.strip()) for each in sent.get("credentials", "").split(",") if each.strip()],
        "loads": int(loads) if loads else None,
        "quiet_hours": _windows(sent.get("quiet_hours", "")),
    }
    if (nothing := limits_nothing(**values)) is not None:
        raise RefusedError(nothing.sentence)
    return values


def _reference(text: str) -> Any:
    try:
        return _CREDENTIAL.validate_python(reference_from_text(text)).model_dump(mode="json")
    except ValidationError:
        raise RefusedError(
            f"Of the credentials, {text} is none: name a stored one (emr-token), a block as type/name, or a variable "
            "that starts with CAI_SECRET_."
        ) from None


def _windows(text: str) -> list[dict[str, Any]]:
    """Windows of quiet hours, of which each line is one: `fri, sat 22:00-06:00 Europe/Berlin`."""
    said = []
    for line in filter(None, map(str.strip, text.splitlines())):
        found = _WINDOW.fullmatch(line)
        if found is None:
            raise RefusedError(f"Of the quiet hours, “{line}” must look like fri, sat 22:00-06:00 Europe/Berlin.")
        days, start, end, zone = found.groups()
        said.append({"start": start, "end": end, "days": re.findall("[a-z]+", days or ""), "timezone": zone})
    return list(_QUIET.dump_python(checked(_QUIET, said, "quiet hours"), mode="json"))


def window_text(window: Mapping[str, Any]) -> str:
    """A window of quiet hours as it is typed."""
    days = ", ".join(window.get("days") or ())
    return " ".join(filter(None, [days, f"{window['start']}-{window['end']}", window.get("timezone") or ""]))


def reference_text(reference: Mapping[str, str]) -> str:
    """A reference as it is typed."""
    return next(iter(reference.values()))


def _as_typed(limit: StoredLimit) -> dict[str, str]:
    return {
        "name": limit.name,
        "hosts": ", ".join(limit.hosts),
        "credentials": ", ".join(map(reference_text, limit.credentials)),
        "loads": str(limit.loads or ""),
        "quiet_hours": "\n".join(map(window_text, limit.quiet_hours)),
    }


_PAGE = RulesPage(
    "limits.html",
    lambda request, person: _limits(request, person).listed(),
    _as_typed,
    {"window_text": window_text, "reference_text": reference_text},
)
