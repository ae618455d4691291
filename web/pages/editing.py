"""Editing: the whole of a connector in one form, made from the models, with every refusal at its field."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from connectors.connector import InvalidConnectorError, RunPolicy
from connectors.destinations import Destination
from connectors.errors import RequestError
from connectors.limits.ids import parse_id
from connectors.people import Act, Person
from connectors.sources import Source
from connectors.sources.unions import models_of
from use_cases.queries import Entry
from web.fields import Field, fields_of, said
from web.refusing import PageRoute
from web.rendering import Changer, Sent, UseCases, Visitor, go_to, page
from web.typed_secrets import choices, credentials_of, store_typed

router = APIRouter(route_class=PageRoute)

PLAIN = ("name", "description", "schedule", "timezone", "dataset_name", "work_pool_name", "work_queue_name", "owner")
"""Columns that are filled in as text."""


def model_of(union: Any, value: Any) -> type[BaseModel] | None:
    """The model of a source or destination by its `type`; None where that is none."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    return next((model for model in models_of(union) if kind in model.kinds()), None)


def sections(values: Mapping[str, Any]) -> list[tuple[str, list[Field]]]:
    """The fields of a connector's source, destination and run policy, with what it says so far."""
    parts: list[tuple[str, Any, str]] = [
        ("Where it comes from", model_of(Source, values.get("source")), "source"),
        ("Where it goes", model_of(Destination, values.get("destination")), "destination"),
        ("How it runs", RunPolicy, "run_policy"),
    ]
    return [(title, fields_of(model, name, values.get(name) or {})) for title, model, name in parts if model]


def filled_in(values: Mapping[str, Any], sent: Mapping[str, str]) -> dict[str, Any]:
    """The columns that a form says, on what the connector said before."""
    changed: dict[str, Any] = {name: sent[name].strip() or None for name in PLAIN if name in sent}
    for name in ("timezone", "name"):
        if name in changed and changed[name] is None:
            changed[name] = "UTC" if name == "timezone" else ""
    for _, fields in sections(values):
        name = fields[0].name.partition(".")[0]
        kind = {"type": values[name]["type"]} if name != "run_policy" else {}
        changed[name] = {**kind, **said(fields, sent)}
    return changed


def values_of(entry: Entry) -> dict[str, Any]:
    """What a connector says, by column."""
    row = entry.row
    return {
        **{name: getattr(row, name) for name in PLAIN},
        "source": row.source,
        "destination": row.destination,
        "run_policy": row.run_policy,
    }


@router.get("/connectors/{number}/edit")
async def edit(request: Request, number: str, service: UseCases, person: Visitor) -> Response:
    """The form, with what stands in the table."""
    entry = await service.get(parse_id(number) or 0, Act.CHANGE)
    return await _form(request, person, entry, values_of(entry), {})


@router.post("/connectors/{number}/edit")
async def save(request: Request, number: str, service: UseCases, person: Changer, sent: Sent) -> Response:
    """Save it, or show each refusal at its field with all that was typed but secrets."""
    entry = await service.get(parse_id(number) or 0, Act.CHANGE)
    values = values_of(entry)
    fields = [field for _, each in sections(values) for field in each]
    sent, refused = await store_typed(
        credentials_of(request, person), entry.row.team, fields, sent, lambda said: filled_in(values, said)
    )
    changed = filled_in(values, sent)
    if refused:
        return await _form(request, person, entry, {**values, **changed}, refused, 422, sent)
    try:
        await service.update(entry.row.id, changed, [sent["version"]] if sent.get("version") else None)
    except InvalidConnectorError as error:
        return await _form(request, person, entry, {**values, **changed}, by_field(error), 422, sent)
    except RequestError as error:
        return await _form(request, person, entry, {**values, **changed}, {"": [str(error)]}, 409, sent)
    return go_to(f"/connectors/{entry.row.id}", "Saved.")


def by_field(error: InvalidConnectorError) -> dict[str, list[str]]:
    """The sentences of a refusal, by the name of the field at which each is shown."""
    found: dict[str, list[str]] = {}
    for refusal in error.refusals:
        found.setdefault(refusal.pointer.lstrip("/").replace("/", "."), []).append(refusal.message)
    return found


async def _form(
    request: Request,
    person: Person,
    entry: Entry,
    values: Mapping[str, Any],
    refused: Mapping[str, list[str]],
    status: int = 200,
    sent: Mapping[str, str] | None = None,
) -> Response:
    return page(
        request,
        "edit.html",
        status=status,
        entry=entry,
        values=values,
        sections=sections(values),
        refused=refused,
        reason=(sent or {}).get("reason", ""),
        credentials=await choices(request, person, entry.row.team, sent),
    )
