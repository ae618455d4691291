"""Credentials: which there are, whose they are, where they go and what uses them; new ones are stored or registered."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from connectors.credentials import CredentialKind, host_named
from connectors.errors import ForbiddenError, NoSuchCredentialError, RequestError
from connectors.people import Act, Person, may_anywhere, may_for_all
from connectors.sources.secret_references import Credential, reference_from_text
from use_cases.queries import too_low
from web.refusing import PageRoute
from web.rendering import Changer, Sent, Visitor, go_to, page
from web.typed_secrets import credentials_of, hosts_in, secret_in, why_not_kept

router = APIRouter(route_class=PageRoute)

USES = 5
"""Connectors that are named as users of a credential; of more the page says how many."""

_CREDENTIAL: TypeAdapter[Any] = TypeAdapter(Credential)


@router.get("/credentials")
async def credentials(request: Request, person: Visitor) -> Response:
    """The credentials of the visitor's teams, and everybody's."""
    return await _page(request, person)


async def _page(
    request: Request, person: Person, status: int = 200, refused: str = "", typed: Mapping[str, str] | None = None
) -> Response:
    if not may_anywhere(person, Act.SEE_CREDENTIALS):
        raise ForbiddenError(too_low(Act.SEE_CREDENTIALS))
    kept = credentials_of(request, person)
    named = await kept.named()
    listed = [(each, named.get((each.kind, each.reference), ())) for each in await kept.listed()]
    shown = {name: text for name, text in (typed or {}).items() if name != "value"}
    may_register = may_for_all(person, Act.REGISTER_CREDENTIALS)
    return page(
        request,
        "credentials.html",
        status=status,
        listed=listed,
        refused=refused,
        typed=shown,
        may_register=may_register,
        most=USES,
    )


@router.post("/credentials")
async def make_credential(request: Request, person: Changer, sent: Sent) -> Response:
    """Store a secret as a credential, or register a block or variable that is there already."""
    kept = credentials_of(request, person)
    name, hosts = sent.get("name", "").strip(), hosts_in(sent.get("hosts", ""))
    team = sent.get("team", "").strip() or person.home
    reference = sent.get("reference", "").strip()
    value = secret_in(sent.get("value", ""))
    why = why_not_kept(name, reference or value, hosts, team)
    if why is not None:
        return await _page(request, person, 422, why, sent)
    only = [host_named(host) or "" for host in hosts]
    try:
        if reference:
            await kept.register(name, *_named_by(reference), team, only)
        else:
            await kept.keep(name, value, team, only)
    except ForbiddenError as error:
        return await _page(request, person, 403, str(error), sent)
    except RequestError as error:
        return await _page(request, person, 409, str(error), sent)
    except ValidationError:
        sentence = (
            "The reference must be a block's name (emr-token), a block's type and name (sqlalchemy-connector/emr), or "
            "a variable that starts with CAI_SECRET_."
        )
        return await _page(request, person, 422, sentence, sent)
    return go_to("/credentials", f"The credential {name} can be chosen now.")


def _named_by(text: str) -> tuple[CredentialKind, str]:
    """Kind and name of a block or variable. Raises `ValidationError` for what is neither."""
    reference = reference_from_text(text)
    _CREDENTIAL.validate_python(reference)
    ((kind, name),) = reference.items()
    return CredentialKind(kind), name


@router.post("/credentials/{name}/delete")
async def delete_credential(request: Request, name: str, person: Changer, sent: Sent) -> Response:
    """Forget a credential, and its secret where it was stored here."""
    try:
        await credentials_of(request, person).forget(name)
    except NoSuchCredentialError:
        raise
    except RequestError as error:
        return await _page(request, person, 403, str(error))
    return go_to("/credentials", f"The credential {name} is gone. What names it fails from now on.")
