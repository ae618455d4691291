"""Denied hosts: addresses that no connector may reach, however its source or its destination is spelled.

Whoever may write a connector makes a worker ask a host of their choice and sees the first rows of the answer. So the
cloud's metadata services (which hand out the machine's own credentials), link-local addresses, Prefect's API and the
platform's own database are refused. A name is judged by the addresses it resolves to: over HTTP by the address that the
connection really has, before a byte is sent; drivers of databases resolve for themselves, so there the names are
resolved and judged just before the driver connects. So they are before a request goes to a proxy, which connects
wherever it is asked to; the proxy itself is operations' choice and not judged.
"""

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from pipelines.errors import ConfigurationError
from settings import MissingDatabaseError, Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432}


@dataclass(frozen=True, slots=True)
class DeniedHosts:
    """What is denied: networks, names (lower case), and the services of the platform itself.

    `services` are pairs of host and port; `database` is host, port and name of the platform's database, whose server
    may well hold a clinic's database too.
    """

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()
    services: frozenset[tuple[str, int]] = frozenset()
    database: tuple[str, int, str] | None = None

    @classmethod
    def of(cls, settings: Settings) -> "DeniedHosts":
        """What an installation denies: CAI_DENIED_HOSTS, Prefect's API and the platform's database."""
        networks, names = [], set()
        for item in settings.denied_hosts:
            try:
                networks.append(ipaddress.ip_network(item, strict=False))
            except ValueError:
                names.add(item.lower().rstrip("."))
        prefect = _service(os.environ.get("PREFECT_API_URL"))
        database = None
        with contextlib.suppress(MissingDatabaseError):  # whoever tests a source needs none
            platform = urlsplit(settings.resolved_database_url())
            if (own := _service(platform.geturl())) is not None:
                database = (*own, unquote(platform.path.lstrip("/")))
        return cls(tuple(networks), frozenset(names), frozenset([prefect] if prefect else []), database)

    def check_address(self, host: str, address: str, port: int) -> None:
        """Judge one address that a name stands for.

        Raises:
            ConfigurationError: when it is denied; the sentence names the host as the connector spells it.
        """
        found = _plain(ipaddress.ip_address(address.partition("%")[0]))
        if any(found in network for network in self.networks if network.version == found.version):
            raise _refusal(host)
        for own, own_port in self.services:
            if port == own_port and _one(found) in set(map(_one, _addresses(own, own_port))):
                raise _refusal(host)

    def check(self, host: str | None, port: int | None, database: str | None = None) -> None:
        """Judge a host before a driver connects to it, by its name and by every address that the name has now.

        Raises:
            ConfigurationError: when one of them is denied. A name that is not known is the driver's to report.
        """
        local = not host or host.startswith(
            ("/", "@")
        )  # a socket of this machine: drivers take one where none is named
        addresses = [_HERE] if local else list(_addresses(host or "", port or 0))
        if (host or "").lower().rstrip(".") in self.names:
            raise _refusal(host or "")
        for address in [] if local else addresses:
            self.check_address(host or "", str(address), port or 0)
        if self.database is not None and database == self.database[2] and port == self.database[1]:
            own = set(map(_one, _addresses(self.database[0], self.database[1])))
            if own & set(map(_one, addresses)):
                raise _refusal(host or "of this machine")


def address_of(denied: DeniedHosts, host: str, port: int) -> str:
    """An address of a host that has been judged, for whoever connects by it and by nothing else.

    Raises:
        ConfigurationError: it is denied.
        OSError: the name is not known.
    """
    if host.lower().rstrip(".") in denied.names:
        raise _refusal(host)
    addresses = list(_addresses(host, port))
    for address in addresses:
        denied.check_address(host, str(address), port)
    if not addresses:
        raise OSError
    return str(addresses[0])


def _refusal(host: str) -> ConfigurationError:
    return ConfigurationError(
        f"The host {host} is one that no connector may reach here (the platform's own, or one of CAI_DENIED_HOSTS): "
        "name another address, or ask operations."
    )


def _service(url: str | None) -> tuple[str, int] | None:
    parts = urlsplit(url or "")
    try:
        port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def _addresses(host: str, port: int) -> Iterable[Address]:
    """The addresses of a name; none for one that is not known."""
    try:
        found = socket.getaddrinfo(host, port or None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [_plain(ipaddress.ip_address(str(each[4][0]).partition("%")[0])) for each in found]


_HERE: Address = ipaddress.IPv4Address("127.0.0.1")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _plain(address: Address) -> Address:
    """An IPv4 address that is written as IPv6, or that a gateway makes of it (NAT64, 6to4), is that IPv4 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _one(address: Address) -> Address:
    """One address for all that this machine has: what listens on one of them mostly listens on the others."""
    if address.is_loopback or address.is_unspecified:
        return _HERE
    try:
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:  # another machine's, or a family that this one has not
        return address
    return _HERE


def check_credentials(credentials: Any, denied: DeniedHosts) -> None:
    """Judge every host in what a destination of any kind is opened with: its addresses, and its fields `host`.

    Raises:
        ConfigurationError: when one of them is denied.
    """
    if isinstance(credentials, dict):
        host, port = credentials.get("host"), credentials.get("port")
        if isinstance(host, str) and host:
            denied.check(host, int(str(port)) if str(port).isdigit() else None, credentials.get("database"))
        for item in credentials.values():
            check_credentials(item, denied)
    elif isinstance(credentials, str) and "://" in credentials:
        try:
            parts = urlsplit(credentials.strip())
            port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
        except ValueError:  # the driver says what is wrong with it
            return
        if parts.hostname:
            denied.check(parts.hostname, port, unquote(parts.path.lstrip("/")))


def check_proxied(url: str, proxies: Any, denied: DeniedHosts) -> None:
    """Judge a request's host where a proxy would connect to it, whose own address is all that a connection shows.

    Raises:
        ConfigurationError: when it is denied.
    """
    from requests.utils import select_proxy  # noqa: PLC0415  # only where a run speaks HTTP

    if select_proxy(url, proxies):
        host, port = _service(url) or (None, None)
        denied.check(host, port)


def guard(session: Any, denied: DeniedHosts) -> None:
    """Make every connection of a `requests` session one that is judged before anything is sent on it.

    Redirects, tokens and next pages go through the same session, so they are judged likewise.
    """
    from urllib3.connection import HTTPConnection, HTTPSConnection  # noqa: PLC0415  # only where a run speaks HTTP
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool  # noqa: PLC0415

    def judged(connection: Any, opened: Any) -> Any:
        address, port = opened.getpeername()[:2]
        try:
            if connection.host.lower().rstrip(".") in denied.names:
                raise _refusal(connection.host)
            denied.check_address(connection.host, address, port)
        except ConfigurationError:
            opened.close()
            raise
        return opened

    class Plain(HTTPConnection):
        def _new_conn(self) -> Any:
            return judged(self, super()._new_conn())

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> Any:
            return judged(self, super()._new_conn())

    plain = type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": Plain})
    encrypted = type("EncryptedPool", (HTTPSConnectionPool,), {"ConnectionCls": Encrypted})
    for adapter in session.adapters.values():
        adapter.poolmanager.pool_classes_by_scheme = {"http": plain, "https": encrypted}
