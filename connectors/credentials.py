"""Credentials: what a connector may name as a secret, and to which hosts it may be sent. Pure.

A registered credential is of one team or everybody's, and may be held to some hosts. Judged by the same rule when a
connector is saved and when it runs: a back end writes rows by SQL, and a credential may change hands in between.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from connectors.connector import InvalidConnectorError, why_no_team
from connectors.limits.jsonb import is_text
from connectors.refusals import Refusal


class CredentialKind(StrEnum):
    """Where a secret is: a Prefect Secret block, a block of another type, or a variable of the worker."""

    SECRET = "secret"  # noqa: S105  # a kind
    BLOCK = "block"
    ENV = "env"


NOBODYS = ("CAI_SECRET_MASK_KEY", "CAI_SECRET_API_TOKEN", "CAI_SECRET_DATABASE_URL", "CAI_SECRET_OIDC_CLIENT_SECRET")
"""Variables that are the platform's own, in whatever mode: a connector could send them to a host of its choice."""

UNKNOWN = ""
"""The host of what names none that we could hold a credential to."""

_ADDRESSES = ("base_url", "api_url", "url")
_WORDS = {
    CredentialKind.SECRET: "the Secret block '{}'",
    CredentialKind.BLOCK: "the block '{}'",
    CredentialKind.ENV: "the worker's variable {}",
}


@dataclass(frozen=True, slots=True)
class Registered:
    """One registered credential, without its value."""

    name: str
    team: str | None
    """None: everybody's."""
    kind: CredentialKind
    reference: str
    """The block's or variable's name."""
    hosts: tuple[str, ...] = ()
    """The only hosts that it may be sent to; empty: any."""


@dataclass(frozen=True, slots=True)
class Use:
    """One reference in a connector."""

    kind: CredentialKind
    reference: str
    pointer: str
    host: str | None
    """The host that it is sent to; None where the secret itself is the address: judged when it is resolved."""

    @property
    def key(self) -> tuple[CredentialKind, str]:
        """By which the same secret is found again."""
        return self.kind, self.reference


@dataclass(frozen=True, slots=True)
class CredentialRules:
    """What connectors of one team may name."""

    registered: tuple[Registered, ...] = ()
    team: str | None = None
    is_open: bool = True
    """What nobody has registered may be named by anybody: the rule before there were credentials."""
    platforms: frozenset[tuple[CredentialKind, str]] = field(default_factory=frozenset)
    """What operations name themselves, in the platform's default destination."""

    def why_not(self, use: Use) -> str | None:
        """Why a connector may not name this, as a sentence about `{field}`; None when it may."""
        what = _WORDS[use.kind].format(use.reference)
        if is_nobodys(use.kind, use.reference):
            return f"{{field}} names {what}, which is the platform's own: no connector may have it."
        known = [each for each in self.registered if (each.kind, each.reference) == use.key]
        if not known and (self.is_open or use.key in self.platforms):
            return None
        theirs = [each for each in known if each.team in {None, self.team}]
        if not theirs:
            return (
                f"{{field}} names {what}, which is no credential of this connector's team, nor everybody's: name one "
                "that is, or make one (POST /api/v1/credentials)."
            )
        return None if use.host is None or self._goes_to(theirs, use.host) else _elsewhere(what, theirs)

    def may_go_to(self, kind: CredentialKind, reference: str, host: str | None) -> str | None:
        """Why what was resolved may not be sent to this host, as a sentence; None when it may."""
        theirs = [each for each in self.registered if (each.kind, each.reference) == (kind, reference)]
        theirs = [each for each in theirs if each.team in {None, self.team}]
        if not theirs or self._goes_to(theirs, host):
            return None
        return _elsewhere(_WORDS[kind].format(reference), theirs).replace("{field} names t", "T")

    @staticmethod
    def _goes_to(credentials: Iterable[Registered], host: str | None) -> bool:
        return any(not each.hosts or (host or "").lower() in each.hosts for each in credentials)


def _elsewhere(what: str, credentials: Iterable[Registered]) -> str:
    hosts = ", ".join(sorted({host for each in credentials for host in each.hosts}))
    return (
        f"{{field}} names {what}, which may be sent to {hosts} alone, and not to where this connector would send it: "
        "correct the address, or name a credential for that host."
    )


def why_no_name(name: str) -> str | None:
    """Why a credential can't have this name, as the end of a sentence; None when it can."""
    if not is_text(name):
        return "holds a character that cannot be stored: remove it."
    return "must hold no slash." if "/" in name else why_no_team(name)


def host_named(text: str) -> str | None:
    """A host as credentials keep it; None for what is no host's name alone."""
    host = text.strip().lower()
    return host if re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:]+", host) else None


NO_HOST = "must be a host's name alone, such as 'emr.example.org': without https://, port or path."


def is_nobodys(kind: CredentialKind, reference: str) -> bool:
    """Whether a reference names what is the platform's own."""
    return kind is CredentialKind.ENV and reference in NOBODYS


def refuse_uses(uses: Iterable[Use], rules: CredentialRules) -> None:
    """Return when a connector may name all of these.

    Raises:
        InvalidConnectorError: with a refusal for each that it may not.
    """
    refusals = []
    for use in uses:
        if (sentence := rules.why_not(use)) is not None:
            path = use.pointer.strip("/").replace("/", ".")
            refusals.append(Refusal(use.pointer, sentence.replace("{field}", path)))
    if refusals:
        raise InvalidConnectorError(tuple(refusals))


def uses_of(source: Any, destination: Any) -> list[Use]:
    """Every reference in a connector's JSON, as it stands in the table."""
    others = source.get("next_hosts") if isinstance(source, Mapping) else None
    hosts = [host_of(source), *(map(_without_port, others) if isinstance(others, list | tuple) else ())]
    of_source = [use for host in hosts for use in _uses(source, "/source", host)]
    return [*of_source, *_uses(destination, "/destination", host_of(destination))]


def uses_of_policy(run_policy: Any) -> list[Use]:
    """Every reference in what follows a connector's loads and whom it tells, as it stands in the table."""
    found: list[Use] = []
    for name, key in (("then", "secret"), ("notify", "to")):
        said = run_policy.get(name) if isinstance(run_policy, Mapping) else None
        for place, each in enumerate(said if isinstance(said, list | tuple) else ()):
            if isinstance(each, Mapping) and (name == "notify" or "webhook" in each):
                host = None if name == "notify" else hostname(each["webhook"]) or UNKNOWN
                found += _uses(each.get(key), f"/run_policy/{name}/{place}/{key}", host)
    return found


def _without_port(host: object) -> str:
    return str(host).partition(":")[0].strip().lower()


def _uses(value: Any, pointer: str, host: str | None) -> Iterator[Use]:
    if isinstance(value, Mapping):
        for kind in CredentialKind:
            if len(value) == 1 and isinstance(name := value.get(kind.value), str):
                yield Use(kind, name.strip(), pointer, host)
                return
        # What gets a token is sent to where tokens are given, and the token to the source.
        below = hostname(value.get("access_token_url")) or host
        for key, item in value.items():
            escaped = str(key).replace("~", "~0").replace("/", "~1")
            # The key of a tunnel opens the SSH server, and not the database behind it.
            tunnel = item.get("host") if key == "ssh" and isinstance(item, Mapping) else None
            yield from _uses(item, f"{pointer}/{escaped}", tunnel.strip() if isinstance(tunnel, str) else below)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _uses(item, f"{pointer}/{place}", host)


def host_of(part: Any) -> str | None:
    """The host that a source's or destination's JSON names; None where only the secret does."""
    if not isinstance(part, Mapping) or part.get("type") in {"sql_database", "postgres"}:
        return None
    return next((host for name in _ADDRESSES if (host := hostname(part.get(name)))), UNKNOWN)


def hostname(address: Any) -> str | None:
    """The host of an address in lower case; of a bucket's, the bucket; None when it has none."""
    if not isinstance(address, str):
        return None
    try:
        return urlsplit(address.strip()).hostname
    except ValueError:
        return None
