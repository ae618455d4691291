"""A proxy that authenticates: it names the user in a header, which counts from its own addresses alone."""

import ipaddress
from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers
from starlette.types import Scope

from api.sign_in.bearer import person_of
from connectors.people import Grant, Person

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_OUR_PAGES = frozenset({"same-origin", "none"})


class TrustedProxy:
    """The header of a user, and of his groups, and from where both are believed."""

    def __init__(
        self, user_header: str, groups_header: str, proxies: Sequence[str], roles: Mapping[str, Grant]
    ) -> None:
        self._user = user_header
        self._groups = groups_header
        self._networks = [ipaddress.ip_network(each) for each in proxies]
        self._roles = roles

    def person(self, scope: Scope, request_id: str) -> Person | None:
        """Whom the proxy names; None when it names nobody, or is none of ours.

        A browser adds the proxy's cookie to what pages of other sites send, so those may not change anything.
        """
        headers = Headers(scope=scope)
        names = headers.getlist(self._user)
        if len(names) != 1 or not names[0].strip() or not self._believed(scope):
            return None
        if scope["method"] not in _READS and headers.get("sec-fetch-site", "none") not in _OUR_PAGES:
            return None
        groups = [group.strip() for group in headers.get(self._groups, "").split(",")]
        return person_of(names[0].strip(), groups, self._roles, request_id)

    def _believed(self, scope: Scope) -> bool:
        try:
            peer = ipaddress.ip_address((scope.get("client") or ("", 0))[0])
        except ValueError:
            return False
        return any(peer in network for network in self._networks)
