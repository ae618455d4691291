"""Secrets in forms: stored credentials to choose from, and new ones, which are stored before the form is read.

What is typed goes into a credential at once and the form goes on with its reference, so the draft of a connector, its
row and every page that is shown again have the reference alone. If the process dies in between, the credential is there
and can be chosen.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from connectors.connector import InvalidConnectorError, why_no_team
from connectors.credentials import NO_HOST, Registered, host_named, hostname, uses_of, why_no_name
from connectors.errors import RequestError
from connectors.limits.jsonb import is_text
from connectors.people import Act, Person, Verdict, may
from connectors.sources.secret_references import reference_in_text
from use_cases.credentials import Credentials
from web.fields import Field, Sent, secrets

ANY_HOST = "*"
LONGEST_VALUE = 100_000
"""Characters of a secret: as at the REST API."""

_PENDING = "cai-not-stored-yet"


@dataclass(frozen=True, slots=True)
class Choices:
    """What a form offers where a secret is asked for."""

    options: tuple[tuple[str, str], ...] = ()
    """Each credential as the form sends it, with what is shown of it."""
    may_store: bool = False
    """Whether the visitor may store a new one."""
    asks_team: bool = False
    """Whether it is asked whose a new one is to be: where nobody knows yet whose the connector will be."""
    typed: Mapping[str, str] = field(default_factory=dict)
    """What was typed about new ones, but for the secrets themselves."""

    def holds(self, reference: str) -> bool:
        """Whether a reference is one of the options."""
        return any(reference == each for each, _ in self.options)


def credentials_of(request: Request, person: Person) -> Credentials:
    """The use cases of credentials in the name of the visitor."""
    state = request.app.state
    return Credentials(state.engine, state.blocks, person, reason_required=state.service.reason_required)


TYPED = (".new.name", ".new.hosts", ".new.team", ".other")
"""Endings of the fields that are shown again as they were typed: all but the secrets."""


async def choices(
    request: Request, person: Person, team: str | None, sent: Sent | None = None, *, asks_team: bool = False
) -> Choices:
    """The credentials that a connector of this team may name; of a visitor for all teams, those of each besides."""
    listed = await credentials_of(request, person).listed()
    every = team is None and person.teams is None
    typed = {name: text for name, text in (sent or {}).items() if name.endswith(TYPED)}
    return Choices(
        tuple(
            (reference_in_text({each.kind.value: each.reference}), described(each))
            for each in listed
            if every or each.team in {None, team}
        ),
        may(person, Act.KEEP_CREDENTIALS, team) is Verdict.ALLOWED,
        asks_team and team is None,
        typed,
    )


def described(credential: Registered) -> str:
    """A credential's name, whose it is and where it may go."""
    hosts = f", only to {', '.join(credential.hosts)}" if credential.hosts else ""
    return f"{credential.name} ({credential.team or 'everybody'}{hosts})"


def hosts_in(text: str) -> list[str]:
    """The hosts in a text, with commas or spaces between them."""
    return [each for each in re.split(r"[,\s]+", text) if each]


def secret_in(text: str) -> str:
    """A secret as it was typed or pasted: with its lines, as of a private key, and without an empty one around it."""
    return text.replace("\r\n", "\n").strip("\n")


def why_not_kept(name: str, value: str, hosts: Sequence[str], team: str | None) -> str | None:
    """What is wrong with a credential that is about to be stored, as a sentence; None when nothing is."""
    if not value.strip():
        return "The secret itself is missing: type it, or leave its name empty."
    if not is_text(value) or len(value) > LONGEST_VALUE:
        return f"The secret cannot be stored: it holds a null character, or more than {LONGEST_VALUE:,} characters."
    if not name:
        return "Give the secret a name, by which it is found again."
    if (why := why_no_name(name)) is not None:
        return f"The name {why}"
    if team is not None and (why := why_no_team(team)) is not None:
        return f"The team {why}"
    return next((f"Each host {NO_HOST}" for each in hosts if host_named(each) is None), None)


async def store_typed(
    credentials: Credentials,
    team: str | None,
    fields: Sequence[Field],
    sent: Sent,
    columns: Callable[[Sent], Mapping[str, Any]],
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Store each secret that was typed into a form.

    Args:
        credentials: the use cases, for whoever sent the form.
        team: whose the connector is, and so the credential; None: everybody's, or as the form says.
        fields: the form's.
        sent: what the browser sent.
        columns: what the form says of a connector, of which the host that each secret goes to is read.

    Returns:
        What was sent with references in the place of secrets, and by field why one could not be stored.
    """
    known = {name: text for name, text in sent.items() if not name.endswith(".new.value")}
    typed = {each.name: each for each in secrets(fields, sent) if _is_typed(each, sent)}
    pending = {f"{_PENDING}-{number}": name for number, name in enumerate(typed)}
    said = columns({**known, **{name: text for text, name in pending.items()}, **{f"{n}.other": "" for n in typed}})
    goes_to = {pending[use.reference]: use.host for use in _uses(said) if use.reference in pending}
    refused: dict[str, list[str]] = {}
    for name, each in typed.items():
        called, value = sent.get(f"{name}.new.name", "").strip(), secret_in(sent.get(f"{name}.new.value", ""))
        hosts = hosts_in(sent.get(f"{name}.new.hosts", ""))
        if not hosts:
            hosts = hosts_in(goes_to.get(name) or hostname(value) or "")
        hosts = [] if hosts == [ANY_HOST] else hosts
        whose = team or sent.get(f"{name}.new.team", "").strip() or None
        why = why_not_kept(called, value, hosts, whose)
        if why is None:
            try:
                kept = await credentials.keep(called, value, whose, [host_named(host) or "" for host in hosts])
            except (RequestError, InvalidConnectorError) as error:
                why = str(error)
            else:
                known |= {name: reference_in_text({kept.kind.value: kept.reference})}
                known |= {f"{name}.{part}": "" for part in ("other", "new.name", "new.hosts", "new.team")}
        if why is not None:
            refused[each.place] = [why]
    return known, refused


def _is_typed(field: Field, sent: Sent) -> bool:
    return any(sent.get(f"{field.name}.new.{part}", "").strip() for part in ("name", "value"))


def _uses(said: Mapping[str, Any]) -> Sequence[Any]:
    return uses_of(said.get("source"), said.get("destination"))
