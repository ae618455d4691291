"""Profiles of what may land: which there are, and, for those who may, new and changed ones."""

import json

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from connectors.limits.jsonb import unstorable
from connectors.people import Person
from connectors.sources.protection.rules import Profile
from database.access.protections import StoredProtection
from use_cases.protections import Protections
from web.refusing import PageRoute
from web.rendering import Changer, Sent, Visitor, go_to
from web.rules_page import RefusedError, RulesPage, checked, name_in

router = APIRouter(route_class=PageRoute)


def _protections(request: Request, person: Person) -> Protections:
    return Protections(request.app.state.engine, person, reason_required=request.app.state.service.reason_required)


@router.get("/protections")
async def protections(request: Request, person: Visitor, change: str = "") -> Response:
    """The profiles of what may land; with `change` the form has what that one says."""
    return await _PAGE.show(request, person, change)


@router.post("/protections")
async def keep_protection(request: Request, person: Changer, sent: Sent) -> Response:
    """Keep a profile, in place of the one that has its name."""

    async def keep() -> Response:
        name, profile = name_in(sent), _profile_in(sent.get("rules", ""))
        await _protections(request, person).put(name, profile, sent.get("team", "").strip() or person.home)
        return go_to("/protections", f"Connectors that name {name} load by it from their next run on.")

    return await _PAGE.kept(request, person, sent, keep)


@router.post("/protections/{name}/delete")
async def delete_protection(request: Request, name: str, person: Changer, sent: Sent) -> Response:
    """Delete a profile. Connectors that name it fail from then on, and load nothing."""
    await _protections(request, person).delete(name)
    return go_to("/protections", f"The profile {name} is gone. What names it loads nothing from now on.")


def _profile_in(text: str) -> Profile:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError(
            'The rules must be JSON, such as {"rules": [{"names": ["ssn"], "method": "drop"}]}.'
        ) from None
    profile: Profile = checked(TypeAdapter(Profile), said, "rules")
    for refusal in unstorable(profile.model_dump(mode="json"), "rules"):
        raise RefusedError(refusal.message)
    return profile


def _as_typed(profile: StoredProtection) -> dict[str, str]:
    own = profile.changed_at is not None
    name = profile.name if own else f"own_{profile.name}"
    return {"name": name, "team": profile.team or "", "rules": json.dumps(profile.rules, indent=2)}


_PAGE = RulesPage("protections.html", lambda request, person: _protections(request, person).listed(), _as_typed)
