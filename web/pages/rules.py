"""Limits of sources and profiles of what may land: which there are, and, for those who may, new and changed ones."""

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from connectors.credentials import NO_HOST, host_named
from connectors.errors import ForbiddenError, RequestError
from connectors.judging.source_limits import limits_nothing
from connectors.limits.jsonb import unstorable
from connectors.people import Act, Person, may_anywhere
from connectors.refusals import from_pydantic
from connectors.sources.asking.quiet_hours import AllQuietHours
from connectors.sources.protection.rules import Profile
from connectors.sources.secret_references import Credential, reference_from_text
from use_cases.protections import Protections
from use_cases.queries import too_low
from use_cases.rules.source_limits import SourceLimits
from web.refusing import PageRoute
from web.rendering import Changer, Sent, Visitor, go_to, page
from web.typed_secrets import hosts_in

router = APIRouter(route_class=PageRoute)

MOST_LOADS = 1000

_NAME = re.compile("[a-z0-9]+([._-][a-z0-9]+)*")
_UNFIT_NAME = "The name must have small letters and digits, with ., _ or - between them, and at most 100 of them."
_WINDOW = re.compile(r"(?:([a-z, ]+?) +)?(\d\S*?) *(?:-|to) *(\d\S*)(?: +(\S+))?")
_QUIET: TypeAdapter[Any] = TypeAdapter(AllQuietHours)
_CREDENTIAL: TypeAdapter[Any] = TypeAdapter(Credential)


class _RefusedError(Exception):
    """What was typed can't be kept; the message is a sentence."""


def _limits(request: Request, person: Person) -> SourceLimits:
    return SourceLimits(request.app.state.engine, person, reason_required=request.app.state.service.reason_required)


def _protections(request: Request, person: Person) -> Protections:
    return Protections(request.app.state.engine, person, reason_required=request.app.state.service.reason_required)


def _require_reader(person: Person) -> None:
    if not may_anywhere(person, Act.READ):
        raise ForbiddenError(too_low(Act.READ))


@router.get("/limits")
async def limits(request: Request, person: Visitor, change: str = "") -> Response:
    """The limits of sources; with `change` the form has what that one says."""
    return await _limits_page(request, person, change=change)


async def _limits_page(
    request: Request,
    person: Person,
    status: int = 200,
    refused: str = "",
    typed: Mapping[str, str] | None = None,
    change: str = "",
) -> Response:
    _require_reader(person)
    listed = await _limits(request, person).listed()
    shown = dict(typed or {})
    for each in listed if not typed else ():
        if each.name == change:
            shown = {
                "name": each.name,
                "hosts": ", ".join(each.hosts),
                "credentials": ", ".join(map(reference_text, each.credentials)),
                "loads": str(each.loads or ""),
                "quiet_hours": "\n".join(map(window_text, each.quiet_hours)),
            }
    return page(
        request,
        "limits.html",
        status=status,
        listed=listed,
        refused=refused,
        typed=shown,
        window_text=window_text,
        reference_text=reference_text,
    )


@router.post("/limits")
async def keep_limit(request: Request, person: Changer, sent: Sent) -> Response:
    """Keep a limit, in place of the one that has its name."""
    try:
        name, values = _name(sent), _limit_in(sent)
        await _limits(request, person).put(name, values)
    except ForbiddenError as error:
        return await _limits_page(request, person, 403, str(error), sent)
    except (_RefusedError, RequestError) as error:
        return await _limits_page(request, person, 422, str(error), sent)
    return go_to("/limits", f"The limit {name} holds from the next run on.")


@router.post("/limits/{name}/delete")
async def delete_limit(request: Request, name: str, person: Changer, sent: Sent) -> Response:
    """Delete a limit. Runs that wait for it load the next time that they look."""
    await _limits(request, person).delete(name)
    return go_to("/limits", f"The limit {name} is gone.")


@router.get("/protections")
async def protections(request: Request, person: Visitor, change: str = "") -> Response:
    """The profiles of what may land; with `change` the form has what that one says."""
    return await _protections_page(request, person, change=change)


async def _protections_page(
    request: Request,
    person: Person,
    status: int = 200,
    refused: str = "",
    typed: Mapping[str, str] | None = None,
    change: str = "",
) -> Response:
    _require_reader(person)
    listed = await _protections(request, person).listed()
    shown = dict(typed or {})
    for each in listed if not typed else ():
        if each.name == change:
            own = each.changed_at is not None
            name = each.name if own else f"own_{each.name}"
            shown = {"name": name, "team": each.team or "", "rules": json.dumps(each.rules, indent=2)}
    return page(request, "protections.html", status=status, listed=listed, refused=refused, typed=shown)


@router.post("/protections")
async def keep_protection(request: Request, person: Changer, sent: Sent) -> Response:
    """Keep a profile, in place of the one that has its name."""
    try:
        name, profile = _name(sent), _profile_in(sent.get("rules", ""))
        await _protections(request, person).put(name, profile, sent.get("team", "").strip() or person.home)
    except ForbiddenError as error:
        return await _protections_page(request, person, 403, str(error), sent)
    except (_RefusedError, RequestError) as error:
        return await _protections_page(request, person, 422, str(error), sent)
    return go_to("/protections", f"Connectors that name {name} load by it from their next run on.")


@router.post("/protections/{name}/delete")
async def delete_protection(request: Request, name: str, person: Changer, sent: Sent) -> Response:
    """Delete a profile. Connectors that name it fail from then on, and load nothing."""
    await _protections(request, person).delete(name)
    return go_to("/protections", f"The profile {name} is gone. What names it loads nothing from now on.")


def _name(sent: Mapping[str, str]) -> str:
    name = sent.get("name", "").strip()
    if len(name) > 100 or not _NAME.fullmatch(name):
        raise _RefusedError(_UNFIT_NAME)
    return name


def _limit_in(sent: Mapping[str, str]) -> dict[str, Any]:
    """What a form says of a limit, as it is stored."""
    typed = hosts_in(sent.get("hosts", ""))
    hosts = [host_named(host) for host in typed]
    if None in hosts:
        raise _RefusedError(f"Of the hosts, {typed[hosts.index(None)]} {NO_HOST}")
    loads = sent.get("loads", "").strip()
    if loads and not (loads.isdecimal() and 1 <= int(loads) <= MOST_LOADS):
        raise _RefusedError(f"Loads at once must be a number from 1 to {MOST_LOADS}, or nothing.")
    values: dict[str, Any] = {
        "hosts": hosts,
        "credentials": [_reference(each.strip()) for each in sent.get("credentials", "").split(",") if each.strip()],
        "loads": int(loads) if loads else None,
        "quiet_hours": _windows(sent.get("quiet_hours", "")),
    }
    if (nothing := limits_nothing(**values)) is not None:
        raise _RefusedError(nothing.sentence)
    return values


def _reference(text: str) -> Any:
    try:
        return _CREDENTIAL.validate_python(reference_from_text(text)).model_dump(mode="json")
    except ValidationError:
        raise _RefusedError(
            f"Of the credentials, {text} is none: name a stored one (emr-token), a block as type/name, or a variable "
            "that starts with CAI_SECRET_."
        ) from None


def _windows(text: str) -> list[dict[str, Any]]:
    """Windows of quiet hours, of which each line is one: `fri, sat 22:00-06:00 Europe/Berlin`."""
    said = []
    for line in filter(None, map(str.strip, text.splitlines())):
        found = _WINDOW.fullmatch(line)
        if found is None:
            raise _RefusedError(f"Of the quiet hours, “{line}” must look like fri, sat 22:00-06:00 Europe/Berlin.")
        days, start, end, zone = found.groups()
        said.append({"start": start, "end": end, "days": re.findall("[a-z]+", days or ""), "timezone": zone})
    return list(_checked(_QUIET, said, "quiet hours", lambda kept: _QUIET.dump_python(kept, mode="json")))


def _profile_in(text: str) -> Profile:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise _RefusedError(
            'The rules must be JSON, such as {"rules": [{"names": ["ssn"], "method": "drop"}]}.'
        ) from None
    profile: Profile = _checked(TypeAdapter(Profile), said, "rules", lambda kept: kept)
    for refusal in unstorable(profile.model_dump(mode="json"), "rules"):
        raise _RefusedError(refusal.message)
    return profile


def _checked(adapter: TypeAdapter[Any], said: Any, field: str, kept: Any) -> Any:
    try:
        return kept(adapter.validate_python(said))
    except ValidationError as error:
        raise _RefusedError(" ".join(refusal.message for refusal in from_pydantic(error, field))) from None


def window_text(window: Mapping[str, Any]) -> str:
    """A window of quiet hours as it is typed."""
    days = ", ".join(window.get("days") or ())
    return " ".join(filter(None, [days, f"{window['start']}-{window['end']}", window.get("timezone") or ""]))


def reference_text(reference: Mapping[str, str]) -> str:
    """A reference as it is typed."""
    return next(iter(reference.values()))
