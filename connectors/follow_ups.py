"""Follow-ups: what comes when a connector has loaded: another one, a deployment of Prefect, or a signed webhook. Pure.

Who follows whom is judged by name, on the connectors as they stand: when a connector is saved, and again when a load
has ended, for rows are also written by SQL.
"""

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from connectors.refusals import Refusal
from connectors.sources.secret_references import Credential, HttpUrl, Name, Strict, refused


def _deployment(value: str) -> str:
    flow, separator, name = value.partition("/")
    if not separator or not flow or not name or "/" in name:
        raise refused("{field} must be a flow's name and a deployment's, as in 'dbt/nightly'.")
    return value


class FollowUp(Strict):
    """What comes when the connector has loaded: another connector, a deployment of Prefect, or a webhook."""

    connector: Annotated[Name | None, Field(description="The name of a connector.")] = None
    deployment: Annotated[
        Annotated[Name, AfterValidator(_deployment)] | None,
        Field(description="A deployment in Prefect, as `flow/deployment`: one that CAI_FOLLOW_DEPLOYMENTS allows."),
    ] = None
    webhook: Annotated[
        HttpUrl | None,
        Field(description="An address that is told of each load, signed as Standard Webhooks says."),
    ] = None
    secret: Annotated[
        Credential | None, Field(description="What the webhook is signed with: `whsec_` and 24 to 64 bytes as base64.")
    ] = None
    parameters: Annotated[
        dict[str, Any], Field(default_factory=dict, description="Of the deployment's run, beside its own.")
    ]
    with_all: Annotated[
        tuple[Name, ...],
        Field(description="Connectors that must have loaded as well since it was started last, by their names."),
    ] = ()

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if sum(each is not None for each in (self.connector, self.deployment, self.webhook)) != 1:
            raise refused("{field} must name a connector, a deployment or a webhook, and one of them only.")
        if self.parameters and self.deployment is None:
            raise refused("{field} are a deployment's: leave them out.", "parameters")
        if self.webhook is not None and self.secret is None:
            raise refused(
                '{field} must refer to what the webhook is signed with, such as {"secret": "its-name"}.', "secret"
            )
        if self.secret is not None and self.webhook is None:
            raise refused("{field} is a webhook's: leave it out.", "secret")
        return self

    @property
    def key(self) -> str:
        """What tells one follow-up of a connector from its others."""
        if self.webhook is not None:
            return f"webhook:{self.webhook}"
        return f"connector:{self.connector}" if self.deployment is None else f"deployment:{self.deployment}"


_FOLLOW_UPS: TypeAdapter[tuple[FollowUp, ...]] = TypeAdapter(tuple[FollowUp, ...])


@dataclass(frozen=True, slots=True)
class Leader:
    """A connector that others follow."""

    connector_id: int
    name: str
    team: str | None
    then: tuple[FollowUp, ...]

    @classmethod
    def of(cls, connector_id: int, name: str, team: str | None, said: Any) -> "Leader":
        """By what its row says; of a row that says what nobody understands, nothing follows."""
        try:
            then = _FOLLOW_UPS.validate_python(said)
        except ValidationError:
            then = ()
        return cls(connector_id, name, team, then)


Started = Mapping[tuple[int, str], datetime]
"""By leader and key, the end of the newest load for which a follow-up was started."""


def due(
    leaders: Iterable[Leader], loaded: str, completed: Mapping[str, datetime], started: Started
) -> list[tuple[Leader, FollowUp]]:
    """What follows the load of a connector.

    Args:
        leaders: the connectors that others follow.
        loaded: the name of the one that has loaded.
        completed: the end of the last load of each connector, by name.
        started: what was started before.
    """
    found = []
    for leader in leaders:
        for follow_up in leader.then:
            names = (leader.name, *follow_up.with_all)
            since = started.get((leader.connector_id, follow_up.key))
            if loaded not in names:
                continue
            if not follow_up.with_all or all(_is_after(completed.get(name), since) for name in names):
                found.append((leader, follow_up))
    return found


def _is_after(moment: datetime | None, since: datetime | None) -> bool:
    return moment is not None and (since is None or moment > since)


def refused_follow_ups(
    own: Leader, others: Sequence[Leader], known: Collection[str], allowed: Sequence[str]
) -> list[Refusal]:
    """Why a connector may not be saved with what follows it.

    Args:
        own: the connector, by what it is to say.
        others: the other connectors that are followed.
        known: the names of connectors that may follow it: its team's, and everybody's.
        allowed: patterns of deployments that may be started.
    """
    refusals = []
    keys: set[str] = set()
    for place, each in enumerate(own.then):
        if each.key in keys:
            refusals.append(_refusal(place, "", "is there twice: once is enough."))
        keys.add(each.key)
        named = {"connector": each.connector, **{f"with_all.{n}": name for n, name in enumerate(each.with_all)}}
        for field, name in named.items():
            if name is not None and name != own.name and name not in known:
                refusals.append(_refusal(place, field, "names no connector of this team, nor one of everybody's."))
        if each.deployment is not None and not may_start(each.deployment, allowed):
            why = "is none that connectors may start here: have operations add it to CAI_FOLLOW_DEPLOYMENTS."
            refusals.append(_refusal(place, "deployment", why))
    if not refusals and (way := circle(own.name, [own, *others])) is not None:
        sentence = f"run_policy.then leads in a circle, {' -> '.join(way)}, which would never end: leave one out."
        refusals.append(Refusal("/run_policy/then", sentence))
    return refusals


def _refusal(place: int, field: str, why: str) -> Refusal:
    name = f"run_policy.then.{place}" + (f".{field}" if field else "")
    return Refusal(f"/{name.replace('.', '/')}", f"{name} {why}")


def may_start(deployment: str, allowed: Iterable[str]) -> bool:
    """Whether a deployment is one that connectors may start, by patterns such as `dbt/*`."""
    return any(fnmatch.fnmatchcase(deployment, pattern) for pattern in allowed)


def circle(name: str, leaders: Iterable[Leader]) -> list[str] | None:
    """The way from a connector back to itself, by name; None: nothing that follows it leads there."""
    followers: dict[str, list[str]] = {}
    for leader in leaders:
        for each in leader.then:
            if each.connector is not None:
                for one in (leader.name, *each.with_all):
                    followers.setdefault(one, []).append(each.connector)
    seen, ways = {name}, [[name]]
    while ways:
        way = ways.pop()
        for follower in followers.get(way[-1], ()):
            if follower == name:
                return [*way, follower]
            if follower not in seen:
                seen.add(follower)
                ways.append([*way, follower])
    return None
