"""A REDCap project by its API: forms posted with the project's token, answered as JSON lists.

Records come with `dateRangeBegin` set to the start of the last complete load (less a margin for clocks and zones), so
REDCap sends only what changed; metadata and the rest are small and replaced each time. The token is part of every
request's body and of no message: errors name the status alone.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dlt
from dlt.extract import DltResource
from requests import Response

from connectors.sources.redcap import Content, RedcapSource
from pipelines.errors import ConfigurationError, Fields, TransientError
from pipelines.sources import Context
from pipelines.sources.cursors.asked import Asked, place_of
from pipelines.sources.http.answers import complaint, complaint_in
from pipelines.sources.http.client import Client, source_client
from pipelines.sources.http.error_words import safe_words
from pipelines.sources.paging.statements import error_in, is_passing_error
from pipelines.sources.redcap_keys import RECORD_KEYS, KeyShape
from pipelines.sources.rest_api import as_tables

FIELDS = Fields(
    url="source.api_url",
    place="source.api_url",
    login="source.token",
    request="source.content and source.forms",
)

CLOCKS = timedelta(hours=1)
"""By how much REDCap's clock may differ from ours."""
WESTERNMOST, EASTERNMOST = timedelta(hours=-12), timedelta(hours=14)
"""REDCap compares with times of its own zone, which it does not tell. So the moments of all zones are asked for: a row
that comes again is merged."""

_FORMAT = "%Y-%m-%d %H:%M:%S"

_NO_COLUMN = {"checkbox", "descriptive"}
"""Types of fields whose name is no column: a mask of it would hide nothing."""

TABLES = {Content.FORM_EVENT_MAPPING: "form_event_mapping"}


def resources(source: RedcapSource, context: Context) -> list[DltResource]:
    """One resource for each content."""
    client = source_client(source.api_url, {}, None, context, FIELDS)
    token = context.secrets.text(source.token)
    return [_resource(client, source, content, token, context) for content in source.content]


def _resource(client: Client, source: RedcapSource, content: Content, token: str, context: Context) -> DltResource:
    table = TABLES.get(content, content.value)
    if content is not Content.RECORD:

        def small() -> Iterator[Any]:
            rows = ask(client, token, content)
            yield rows if context.row_limit is None else rows[: context.row_limit]

        return as_tables(dlt.resource(small, name=table, write_disposition="replace"), table)

    fields = ask(client, token, Content.METADATA)
    if not fields:
        raise ConfigurationError("The REDCap project has no fields: check that source.token belongs to it.")
    if not all(field.get("field_name") for field in fields):
        raise ConfigurationError("REDCap answered metadata with fields that have no field_name: check source.api_url.")
    identity = str(fields[0]["field_name"])
    # A record has a column of this name, or of one for each choice, or none.
    context.declare(str(field["field_name"]) for field in fields if field.get("field_type") not in _NO_COLUMN)

    asked = Asked(same={"api_url": place_of(source.api_url)}, chosen={"forms": source.forms})

    def records() -> Iterator[Any]:
        resource, state = dlt.current.resource(), dlt.current.resource_state()
        form = {f"forms[{index}]": name for index, name in enumerate(source.forms)}
        if source.forms:
            # Without its own form the record's id would be missing, and with it the key.
            form["fields[0]"] = identity
        started = datetime.now(UTC)
        limit = context.row_limit
        part = bool(context.window) or limit is not None
        dates = {}
        if context.window:
            start, end = context.window.bounds()
            dates = {"dateRangeBegin": _not_after(start), "dateRangeEnd": _not_before(end)}
        elif source.date_range and limit is None and (since := _since(state, asked, table, context)):
            dates = {"dateRangeBegin": _not_after(datetime.strptime(since, _FORMAT).replace(tzinfo=UTC))}
        rows = ask(client, token, Content.RECORD, **form, **dates)
        before = KeyShape.of_state(state)
        if before.turned(KeyShape.of_rows(rows)) and resource.write_disposition == "merge":
            if part:
                raise ConfigurationError(f"{_TURNED} first run it once as a whole, for rows have other keys now.")
            context.remarks.add(
                f"{_TURNED} {table} was read anew as a whole and replaced, for rows have other keys now."
            )
            # Rows of the keys before would stand beside the same ones. If the process dies here, the next run sees
            # the same state and does the same.
            resource.apply_hints(write_disposition="replace")
            rows = ask(client, token, Content.RECORD, **form) if dates else rows
            before = KeyShape()
        yield [_keyed(row) for row in (rows if limit is None else rows[:limit])]
        if not part:
            # Kept with the rows in the same load: if the process dies, neither is there.
            state |= {"since": started.strftime(_FORMAT), "asked": asked.kept(state.get("asked"))}
            if rows:
                state |= before.with_more(KeyShape.of_rows(rows)).kept()

    key = [identity, *RECORD_KEYS]
    resource = dlt.resource(records, name=table, primary_key=key, write_disposition="merge")
    return as_tables(resource, table, types=source.types)


_TURNED = "The REDCap project was set up otherwise in the loads before (which events it has, or what of it repeats):"


def _since(state: dict[str, Any], asked: Asked, table: str, context: Context) -> str | None:
    """The start of the last complete load; None when it asked for less than this one does."""
    if changed := asked.widened(state.get("asked", {})):
        context.remarks.add(
            f"Other rows of {table} are asked for than in the loads before ({' and '.join(changed)} changed), so the "
            "table was read anew from the beginning; rows that are no longer asked for stay until a full refresh."
        )
        return None
    return state.get("since")


def _not_after(moment: datetime) -> str:
    """A moment (in UTC) by the clock of the server that lags most: nothing from it on is missed."""
    return (moment + WESTERNMOST - CLOCKS).strftime(_FORMAT)


def _not_before(moment: datetime) -> str:
    """A moment (in UTC) by the clock of the server that is most ahead: nothing before it is missed."""
    return (moment + EASTERNMOST + CLOCKS).strftime(_FORMAT)


def _keyed(row: dict[str, Any]) -> dict[str, Any]:
    """A classic project has neither events nor repeats; a key must not be empty."""
    return {**row, **{name: str(row.get(name) or "") for name in RECORD_KEYS}}


def ask(client: Client, token: str, content: str, **form: str) -> list[Any]:
    """What REDCap answers to one request.

    Raises:
        RunError: when it answers with an error.
    """
    body = {"token": token, "content": content, "format": "json", "returnFormat": "json", **form}
    if content == "record":
        body["type"] = "flat"
    known = (content, *body, *(value for key, value in form.items() if key.startswith(("forms", "fields"))))
    request = client.request("", "POST", data=body)
    response = client.answer(request, ends=(400, 403), known=known)
    if response.status_code in {400, 403}:
        raise _refused(response, content, known)
    answer = response.json()
    if isinstance(answer, list) and all(isinstance(row, dict) for row in answer):
        return answer
    if error := error_in(answer, has_rows=False, is_row=False):
        words = safe_words(complaint_in(answer), known)
        told = f" It says: {words}." if words else ""
        if is_passing_error(complaint_in(answer)):
            raise TransientError(f"REDCap can't answer {content} now, and says so at '{error}'.{told}")
        raise ConfigurationError(
            f"REDCap answered {content} with an error, at '{error}': check source.content and source.forms.{told}"
        )
    raise ConfigurationError(f"REDCap did not answer {content} with a list of rows: check source.api_url.")


def _refused(response: Response, content: str, known: Iterable[str]) -> ConfigurationError:
    reason = {400: "refused the request", 403: "did not accept the token"}[response.status_code]
    words = safe_words(complaint(response.content, response.headers.get("Content-Type", "")), known)
    return ConfigurationError(
        f"REDCap {reason} ({content}): check source.token and its rights to export, source.content and source.forms."
        + (f" It says: {words}." if words else "")
    )
