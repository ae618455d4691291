"""Rendering: templates with what every page needs, and who it is for."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote

from fastapi import Depends, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, RedirectResponse, Response

from connectors.people import EVERYTHING, Act, Actor, Person, Via, may, may_anywhere
from connectors.people import Verdict as _Verdict
from use_cases.connectors import Service
from web import presenting

THIS_MACHINE = "this machine"


def _code(text: str) -> Markup:
    """A text in which what stands between two backticks is code."""
    pieces = re.split("`([^`]*)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals.update(presenting=presenting, Act=Act)
_environment.tests["match_start"] = lambda text, start: str(text).startswith(start)
_environment.filters.update(code=_code, number=presenting.number, shown=presenting.shown)


def person_of(request: Request) -> Person:
    """Whoever looks at the page. The door (`web.app`) has let nobody in whom it does not know."""
    known: Person | None = getattr(request.state, "person", None)
    if known is None:
        grants = () if request.app.state.asks_for_names else EVERYTHING
        return Person(Actor("nobody" if request.app.state.asks_for_names else THIS_MACHINE, Via.PAGE), grants)
    return replace(known, actor=replace(known.actor, via=Via.PAGE))


Visitor = Annotated[Person, Depends(person_of)]


async def sent_by(request: Request) -> dict[str, str]:
    """What a form says: the last text of each name. What is no text, which no browser sends, is shown as such."""
    body = (await request.body()).decode("utf-8", "replace").replace("%00", "\ufffd")
    return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=20_000))


Sent = Annotated[dict[str, str], Depends(sent_by)]


def with_reason(person: Visitor, sent: Sent) -> Person:
    """The visitor with the reason that the form gives, if it does."""
    return replace(person, actor=replace(person.actor, reason=sent.get("reason", "").strip() or None))


Changer = Annotated[Person, Depends(with_reason)]


def use_cases(request: Request, person: Changer) -> Service:
    """The use cases in the name of the visitor."""
    service: Service = request.app.state.service
    return service.acting_for(person)


UseCases = Annotated[Service, Depends(use_cases)]


def now() -> datetime:
    """This moment, as pages tell how long ago something was."""
    return datetime.now(UTC)


def page(request: Request, name: str, *, status: int = 200, **values: Any) -> Response:
    """An HTML page made of a template."""
    person = person_of(request)
    template = _environment.get_template(name)
    text = template.render(
        request=request,
        person=person,
        now=now(),
        can=lambda act, team=None: may(person, act, team) is _Verdict.ALLOWED,
        can_anywhere=lambda act: may_anywhere(person, act),
        csrf=getattr(request.state, "csrf", ""),
        known=hasattr(request.state, "person") or not request.app.state.asks_for_names,
        logged_in=hasattr(request.state, "session"),
        said=request.query_params.get("said", ""),
        reason_required=request.app.state.service.reason_required,
        prefect_ui=getattr(request.app.state, "prefect_ui", None),
        **values,
    )
    return HTMLResponse(text, status)


def go_to(address: str, said: str = "") -> Response:
    """Send the browser on after a change, so that reloading the page changes nothing twice."""
    if said:
        address += f"{'&' if '?' in address else '?'}said={quote(said)}"
    return RedirectResponse(address, 303)
