"""The wizard: from a kind of source to a saved connector, with a look at the source before anything is saved.

Each step is one form that is sent to one address and answered with the next step, or with the same one and a sentence
at the field. It works without JavaScript. Nothing is kept on the server but credentials that are stored on the way: the
draft is in the page, and has their references alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from connectors.connector import InvalidConnectorError
from connectors.destinations import Destination
from connectors.discovery import Item
from connectors.discovery.files import gathered
from connectors.errors import RequestError
from connectors.limits.ids import parse_id
from connectors.people import Act, Person
from connectors.sources import Source
from connectors.sources.unions import models_of
from use_cases.connectors import Service
from use_cases.protections import Protections
from use_cases.queries import Preview
from use_cases.sources import Sources
from web import presenting
from web.draft import COLUMNS, TITLES, Draft, Step, offers, picked
from web.fields import Control, Field, fields_of, said
from web.pages.editing import by_field, model_of
from web.refusing import PageRoute
from web.rendering import Changer, Sent, UseCases, Visitor, go_to, page
from web.typed_secrets import choices, credentials_of, store_typed
from web.when import SAID, form_of

router = APIRouter(route_class=PageRoute)

LATER = ("tables", "resources", "resource_types", "forms", "mask", "protect", "schema_contract", "types")
"""Fields of a source that the step of what to load is about."""

DISCOVERED = ("sql_database", "fhir", "redcap", "files")
"""Kinds whose items are ticked; of the others the fields say it all."""

LOOKED_AT = "rest_api"
"""The kind whose items the fields say, and which is asked for their columns on demand."""

OFFERED = "offered"
"""The control that says that the items of the source were there to be ticked."""

ORDER = tuple(Step)


@router.get("/connectors/new")
async def begin(request: Request, service: UseCases, person: Visitor, kind: str = "") -> Response:
    """The first step, or the second one of a kind."""
    if kind:
        return await _show(request, service, person, Step.LOGIN, Draft({"type": kind}))
    return await _show(request, service, person, Step.KIND, Draft())


@router.get("/connectors/{number}/duplicate")
async def duplicate(request: Request, number: str, service: UseCases, person: Visitor) -> Response:
    """The last step with all that a connector says, but for its name and its dataset: those are its own."""
    row = (await service.get(parse_id(number) or 0, Act.CHANGE)).row
    said = {name: getattr(row, name) for name in COLUMNS if name != "dataset_name"}
    copy = {**{name: each for name, each in said.items() if each is not None}, "name": f"Copy of {row.name}"[:200]}
    draft = Draft(gathered(row.source or {}), row.destination, {**copy, "schedule": row.schedule})
    return await _show(request, service, person, Step.WHEN, draft)


@router.post("/connectors/new")
async def go_on(request: Request, service: UseCases, person: Changer, sent: Sent) -> Response:
    """Take over what a step says, and show the next one, the one before, or the same with what is wrong."""
    step, go = _step(sent), sent.get("go", "next")
    begun = Draft.read(sent.get("draft", ""))
    sent, unkept = await _stored(request, person, step, begun, sent)
    draft = _taken(step, begun, sent)
    if go == "back" and not unkept:
        return await _show(request, service, person, ORDER[max(0, ORDER.index(step) - 1)], draft)
    if go == "preview":
        return await _show(request, service, person, step, draft, sent=sent, previewed=True)
    refused = {**_refused(service, step, draft), **unkept}
    if refused:
        return await _show(request, service, person, step, draft, refused, sent=sent, status=422)
    if go == "try" and step is Step.DESTINATION:
        return await _show(request, service, person, step, draft, sent=sent, tried=await _tried(request, person, draft))
    if go == "look" and step is Step.TABLES:
        return await _show(request, service, person, step, draft, sent=sent, looked=True)
    if step is not Step.WHEN:
        return await _show(request, service, person, ORDER[ORDER.index(step) + 1], draft)
    try:
        entry = await service.create(draft.columns())
    except InvalidConnectorError as error:
        return await _show(request, service, person, step, draft, _here(by_field(error)), sent=sent, status=422)
    except RequestError as error:
        return await _show(request, service, person, step, draft, {"": [str(error)]}, sent=sent, status=409)
    return go_to(f"/connectors/{entry.row.id}", "Saved. Its first load begins as its schedule says, or now by a click.")


async def _stored(
    request: Request, person: Person, step: Step, draft: Draft, sent: dict[str, str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What was sent once its secrets are stored, and by field why one could not be."""
    if step is Step.LOGIN:
        fields = _login_fields(draft)
    elif step is Step.DESTINATION and sent.get("destination"):
        fields = _destination_fields(replace(draft, destination={"type": sent["destination"]}))
    else:
        return sent, {}
    return await store_typed(
        credentials_of(request, person),
        _team(person, draft),
        fields,
        sent,
        lambda said: _taken(step, draft, said).columns(),
    )


def _team(person: Person, draft: Draft) -> str | None:
    """Whose the connector will be, as far as it is known."""
    return draft.rest.get("team") or person.home


def _step(sent: Mapping[str, str]) -> Step:
    return Step(sent["step"]) if sent.get("step") in set(Step) else Step.KIND


def _taken(step: Step, draft: Draft, sent: Mapping[str, str]) -> Draft:
    """The draft with what this step's form says."""
    match step:
        case Step.KIND:
            return Draft({"type": sent.get("kind", "")}) if sent.get("kind") else draft
        case Step.LOGIN:
            kept = {key: draft.source[key] for key in (*LATER, "type") if key in draft.source}
            return replace(draft, source={**kept, **said(_login_fields(draft), sent)})
        case Step.TABLES:
            return _with_tables(draft, sent).with_profile(sent.get("source.protect.profile", draft.profile))
        case Step.DESTINATION:
            kind = sent.get("destination", "")
            if not kind:
                return replace(draft, destination=None)
            chosen = replace(draft, destination={"type": kind})
            return replace(draft, destination={"type": kind, **said(_destination_fields(chosen), sent)})
        case _:
            return draft.with_schedule(sent)


def _with_tables(draft: Draft, sent: Mapping[str, str]) -> Draft:
    # Where the source could not be asked, the fields have said what is to be loaded.
    ticked = OFFERED in sent
    fields = _table_fields(draft, beside=ticked)
    kept = {key: value for key, value in draft.source.items() if key not in _names(fields)}
    taken = replace(draft, source={**kept, **said(fields, sent)})
    return taken.with_items(*picked(sent)) if ticked else taken


def _names(fields: Sequence[Field]) -> set[str]:
    return {field.name.rpartition(".")[2] for field in fields}


def _source_fields(draft: Draft) -> list[Field]:
    model = model_of(Source, draft.source)
    return [] if model is None else fields_of(model, "source", draft.source)


def _login_fields(draft: Draft) -> list[Field]:
    return [each for each in _source_fields(draft) if each.name.rpartition(".")[2] not in LATER]


def _table_fields(draft: Draft, *, beside: bool) -> list[Field]:
    """The fields of what to load: all of them, or those `beside` items that are ticked.

    What may land is chosen by the name of its profile.
    """
    names = {*LATER} - {"protect"}
    if beside and draft.kind == LOOKED_AT:
        names -= {"mask"}
    fields = [each for each in _source_fields(draft) if each.name.rpartition(".")[2] in names]
    if draft.kind == LOOKED_AT:
        return fields
    return [each for each in fields if each.control is Control.CHOICE] if beside else fields


def _destination_fields(draft: Draft) -> list[Field]:
    model = model_of(Destination, draft.destination)
    return [] if model is None else fields_of(model, "destination", draft.destination or {})


BELONGS = {
    Step.KIND: ("source.type",),
    Step.TABLES: ("source",),
    Step.DESTINATION: ("destination",),
    Step.WHEN: ("name", "schedule", "timezone", "description", "dataset_name", "team", "owner"),
}
"""Where the refusals that a step is about begin."""


def _here(refused: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Refusals for the last step: what is not one of its fields is said above them all."""
    own = {name: said for name, said in refused.items() if name.startswith(BELONGS[Step.WHEN])}
    others = [sentence for name, said in refused.items() if name not in own for sentence in said]
    return {**own, **({"": others} if others else {})}


def _refused(service: Service, step: Step, draft: Draft) -> dict[str, list[str]]:
    """What is wrong with what this step says; what later steps will say is not missed yet."""
    columns = draft.columns()
    if step is Step.LOGIN and draft.kind == "files":
        # How files are read is asked here, and said by each table later.
        columns["source"] = {key: value for key, value in draft.source.items() if key != "tables"}
    found = by_field(error) if (error := service.judged(columns)) is not None else {}
    if step is Step.LOGIN:
        later = tuple(f"source.{name}" for name in LATER)
        return {name: said for name, said in found.items() if name.startswith("source") and not name.startswith(later)}
    return {name: said for name, said in found.items() if name.startswith(BELONGS[step])}


async def _show(
    request: Request,
    service: Service,
    person: Person,
    step: Step,
    draft: Draft,
    refused: Mapping[str, list[str]] | None = None,
    *,
    sent: Mapping[str, str] | None = None,
    previewed: bool = False,
    looked: bool = False,
    tried: Any = None,
    status: int = 200,
) -> Response:
    """The page of one step."""
    values: dict[str, Any] = {
        "offers": None,
        "trouble": "",
        "fields": [],
        "preview": None,
        "tried": tried,
        "profiles": {},
    }
    match step:
        case Step.LOGIN:
            values["fields"] = _login_fields(draft)
        case Step.TABLES:
            asks = draft.kind in DISCOVERED or looked or (draft.kind == LOOKED_AT and OFFERED in (sent or {}))
            items, values["trouble"] = await _discovered(request, person, draft) if asks else (None, "")
            values["offers"] = None if items is None else offers(items, draft)
            values["fields"] = _table_fields(draft, beside=items is not None)
            kept = await Protections(request.app.state.engine, person).listed()
            values["profiles"] = {each.name: presenting.PROFILES.get(each.name, each.name) for each in kept}
        case Step.DESTINATION:
            values["fields"] = _destination_fields(draft)
        case Step.WHEN if previewed or draft.rest:
            values["preview"], wrong = await _previewed(service, draft)
            refused = {**wrong, **(refused or {})}
        case _:
            pass
    schedule = draft.rest.get("schedule", "H * * * *")
    return page(
        request,
        "wizard.html",
        status=status,
        step=step,
        steps=TITLES,
        draft=draft,
        kinds=[(model.kinds()[0], model.__doc__ or "") for model in models_of(Source)],
        destinations=[kind for model in models_of(Destination) for kind in model.kinds()],
        refused=refused or {},
        when={**form_of(schedule), **{key: text for key, text in (sent or {}).items() if key.startswith("when.")}},
        hows=SAID,
        reason=person.actor.reason or "",
        credentials=await choices(request, person, _team(person, draft), sent, asks_team=True),
        **values,
    )


async def _discovered(request: Request, person: Person, draft: Draft) -> tuple[Sequence[Item] | None, str]:
    """What the source has, and what went wrong in asking; None where it could not be asked."""
    sources: Sources = request.app.state.sources
    items: list[Item] = []
    later = ("mask", "protect") if draft.kind == LOOKED_AT else LATER
    source = {key: value for key, value in draft.source.items() if key not in later}
    cursor: str | None = None
    try:
        while True:
            found = await sources.discover(source, person, cursor)
            items += found.items
            cursor = found.cursor
            if cursor is None:
                return items, ""
    except (RequestError, InvalidConnectorError) as error:
        return None, str(error)


async def _tried(request: Request, person: Person, draft: Draft) -> Any:
    """What a test of the source and the destination says; nothing is loaded, and nothing saved."""
    sources: Sources = request.app.state.sources
    row = await sources.to_test(draft.columns()["source"], person, draft.rest.get("team"), draft.destination)
    return await request.app.state.tester(row, both=True)


async def _previewed(service: Service, draft: Draft) -> tuple[Preview | None, dict[str, list[str]]]:
    """What the schedule means, or what is wrong with it."""
    schedule = draft.rest.get("schedule")
    if schedule is None:
        return None, {}
    try:
        return await service.preview(schedule, str(draft.rest.get("timezone", "UTC"))), {}
    except InvalidConnectorError as error:
        return None, by_field(error)
