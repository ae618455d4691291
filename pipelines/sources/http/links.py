"""Addresses that a server names: followed on the connector's own host and scheme, refused anywhere else.

Credentials stay with the host that the connector names. What a server behind a proxy gets wrong about itself (plain
http, a port twice) is put right, since the connector says better. Everything here is pure.
"""

import re
from collections.abc import Collection
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from pipelines.errors import ConfigurationError, Fields

_PORT_TWICE = re.compile(r"^([a-z]+://[^/?#]*?:(\d+)):\2(?=[/?#]|$)", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}

Host = tuple[str, str, int | None]
"""Scheme, name and port."""


def followed(home: str, there: str, fields: Fields, seen_from: str = "", also: Collection[str] = ()) -> str:
    """An address that a server names, as it may be asked. One that is relative is read as seen from the answer's own.

    `also` are the server's other hosts, by name or `name:port`, over https wherever the connector's own is.

    Raises:
        ConfigurationError: when it is on another host than the connector's.
    """
    absolute = urljoin(seen_from or home, _PORT_TWICE.sub(r"\1", there.strip()))
    parts, own = urlsplit(absolute), host_of(home)
    target = host_of(absolute)
    # Never a login of the server's choice.
    netloc = parts.netloc.rpartition("@")[2]
    if target == own or _more_secret(own, target) or _is_one_of(also, own, target):
        return urlunsplit(parts._replace(netloc=netloc))
    if _less_secret(own, target):
        # Behind a proxy that ends TLS a server thinks that it speaks plain http.
        return urlunsplit(parts._replace(scheme="https", netloc=urlsplit(home).netloc.rpartition("@")[2]))
    raise _refusal(parts, target, fields)


def next_address(asked: str, there: str) -> str:
    """The address of a next page, as seen from the one that was asked.

    Some servers write it as seen from where their API begins: "/visits?page=2" behind /api/v2/visits. Where its path is
    the end of the one that was asked, that one is meant.
    """
    absolute = urljoin(asked, there)
    own, parts = urlsplit(asked), urlsplit(there)
    path = parts.path.strip("/")
    if not parts.scheme and not parts.netloc and path and own.path.rstrip("/").endswith(f"/{path}"):
        return urlunsplit(own._replace(query=parts.query, fragment=""))
    return absolute


_LINK = re.compile(r"<([^>]*)>((?:\s*;\s*[^\s,;=\"]+\s*(?:=\s*(?:\"[^\"]*\"|[^\s,;\"]*))?)*)")
_RELATION = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s,;\"]*))", re.IGNORECASE)


def related(header: str) -> dict[str, str]:
    """The addresses of a Link header, by their relations in lower case: of two with one relation, the first.

    One address may have several relations, and be named in any case and with any sign in it (RFC 8288).
    """
    found: dict[str, str] = {}
    for address, parameters in _LINK.findall(header):
        if relation := _RELATION.search(parameters):
            for name in (relation[1] or relation[2] or "").lower().split():
                found.setdefault(name, address)
    return found


def host_of(url: str) -> Host:
    """The host of an address, whatever way it is written. An address that can't be read is of no host."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return parts.scheme, "", None
    name = (parts.hostname or "").rstrip(".")
    return parts.scheme, name, port or _PORTS.get(parts.scheme)


def bare(url: str) -> str:
    """An address without its query, which may hold a key, and without a login."""
    parts = urlsplit(url.partition("?")[0].partition("#")[0])
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _is_one_of(also: Collection[str], own: Host, target: Host) -> bool:
    """Whether it is another host of the server, as the connector says, and no less secret."""
    scheme, name, port = target
    if scheme not in _PORTS or (own[0], scheme) == ("https", "http"):
        return False
    return f"{name}:{port}" in also or (name in also and port in {_PORTS[scheme], own[2]})


def _more_secret(own: Host, target: Host) -> bool:
    """Whether it is the connector's host by https, on the port that belongs to that or on its own."""
    same = (own[0], target[0]) == ("http", "https") and own[1] == target[1]
    return same and target[2] in {443 if own[2] == 80 else own[2]}


def _less_secret(own: Host, target: Host) -> bool:
    """Whether it is the connector's host, which speaks https, by plain http and a port that proxies get wrong."""
    same = (own[0], target[0]) == ("https", "http") and own[1] == target[1]
    return same and target[2] in {80, 443, own[2]}


def _refusal(parts: SplitResult, target: Host, fields: Fields) -> ConfigurationError:
    scheme, name, port = target
    where = f"{scheme}://{name}:{port}" if name and port else "an address that can't be read"
    return ConfigurationError(
        f"The source sends us to {where}, which is not the host of {fields.url}: credentials are not sent there. "
        "Use the address that the server calls itself by, or have the server told its public address."
    )
