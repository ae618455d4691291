"""People and programs that act on connectors, as the history names them.

Each door (REST, a form, the page, the controller) makes one `Actor` of whoever stands before it and hands it to the use
cases, which write it into the transaction of the change: the trigger of `cai_connectors` reads it there.

A connector, a credential and a token belong to a team or, with none, to everybody. A role is granted for one team or
for all. What is everybody's asks for the role in any team; what is another team's does not exist for whoever has no
role there, so that not even its name is learned. One table says which role each act needs; every door asks `may`.
This module is pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from connectors.limits.closed_sets import ClosedSet


class Via(StrEnum):
    """Doors through which a connector is changed."""

    REST = "rest"
    FORM = "form"
    PAGE = "page"
    SQL = "sql"
    CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class Actor:
    """One who acts, for the time of one request, form or cycle."""

    name: str
    """Such as `alice`, `prefect:bob`, `environment` (the token of CAI_API_TOKEN), `controller`."""
    via: Via
    reason: str | None = None
    """In the actor's own words, such as those of the header `X-Reason`."""
    request_id: str | None = None
    """By which the entries of one request are found together, and its lines in the log."""


class Role(StrEnum):
    """What somebody may do, the least first: each role includes those before it."""

    READER = "reader"
    RUNNER = "runner"
    EDITOR = "editor"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Whether this role may do all that the other may."""
        return _ORDER.index(self) >= _ORDER.index(other)


_ORDER = tuple(Role)


class NameableSecrets(ClosedSet):
    """What connectors may name as a secret: what is registered for their team, or also what nobody has registered."""

    REGISTERED = "registered"
    OPEN = "open"


class Act(StrEnum):
    """What can be done, as far as roles tell it apart. The value completes the sentence "You may not ..."."""

    READ = "see connectors"
    RUN = "start or stop runs"
    TEST = "read a source's first rows"
    CHANGE = "change connectors"
    SEE_CREDENTIALS = "see credentials"
    KEEP_CREDENTIALS = "change credentials"
    REGISTER_CREDENTIALS = "register what is there already as a credential"
    KEEP_PROTECTIONS = "change profiles of what may land"
    KEEP_LIMITS = "change limits of sources"
    MANAGE_TOKENS = "manage tokens"
    READ_AUDIT = "read the audit trail"


LEAST_ROLE: Mapping[Act, Role] = {
    Act.READ: Role.READER,
    Act.RUN: Role.RUNNER,
    Act.TEST: Role.RUNNER,
    Act.CHANGE: Role.EDITOR,
    Act.SEE_CREDENTIALS: Role.EDITOR,
    Act.KEEP_CREDENTIALS: Role.EDITOR,
    Act.REGISTER_CREDENTIALS: Role.ADMIN,
    Act.KEEP_PROTECTIONS: Role.EDITOR,
    Act.KEEP_LIMITS: Role.ADMIN,
    Act.MANAGE_TOKENS: Role.ADMIN,
    Act.READ_AUDIT: Role.ADMIN,
}
"""The role that each act needs, for the team that it is about."""


class Verdict(StrEnum):
    """The answer to whether somebody may do something."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    """The role is too low: 403."""
    HIDDEN = "hidden"
    """For this person there is no such thing: 404."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A role for one team, or for all of them (None)."""

    role: Role
    team: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with roles. Without a grant one may do nothing and sees nothing."""

    actor: Actor
    grants: tuple[Grant, ...]

    @property
    def teams(self) -> frozenset[str] | None:
        """The teams whose connectors this person sees, besides what is everybody's; None: all of them."""
        teams = {grant.team for grant in self.grants}
        return None if None in teams else frozenset(team for team in teams if team is not None)

    @property
    def home(self) -> str | None:
        """The team that something new belongs to when none is named: the only one that this person has a role in."""
        teams = self.teams
        return next(iter(teams)) if teams is not None and len(teams) == 1 else None


EVERYTHING = (Grant(Role.ADMIN),)
"""The grants of the platform itself, and of whoever holds CAI_API_TOKEN."""

CONTROLLER = Actor("controller", Via.CONTROLLER)
"""Who does what the controller does by itself."""

PLATFORM = Person(Actor("platform", Via.FORM), EVERYTHING)
"""Whoever comes through a door that asks for no name: a form in the Prefect UI, a program on this machine."""


def may(person: Person, act: Act, team: str | None) -> Verdict:
    """Whether a person may do something to what belongs to `team`, or to everybody (None)."""
    held = [grant.role for grant in person.grants if team is None or grant.team in {None, team}]
    if not held:
        return Verdict.HIDDEN
    return Verdict.ALLOWED if any(role.includes(LEAST_ROLE[act]) for role in held) else Verdict.REFUSED


def may_for_all(person: Person, act: Act) -> bool:
    """Whether a person may do something that reaches every team: the role must be granted for all."""
    return any(grant.team is None and grant.role.includes(LEAST_ROLE[act]) for grant in person.grants)


def may_anywhere(person: Person, act: Act) -> bool:
    """Whether there is any team for which a person may do something."""
    return any(grant.role.includes(LEAST_ROLE[act]) for grant in person.grants)


def may_grant(person: Person, role: Role, team: str | None) -> bool:
    """Whether a person may hand out this role for that team, or for all (None): never more than their own."""
    return any(
        grant.role.includes(LEAST_ROLE[Act.MANAGE_TOKENS]) and grant.role.includes(role) and grant.team in {None, team}
        for grant in person.grants
        if team is not None or grant.team is None
    )
