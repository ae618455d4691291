"""Values that must be kept from one load to the next and may stand nowhere in clear: the newest of a protected cursor.

The state of a connector's loads stands in the destination, where analysts read, and in files of a run. So a cursor that
`protect` treats is kept there enciphered (JWE, A256GCM, by the library that reads tokens), with a key made of the
installation's own. Without that key, or with another one, nobody can go on from it: the table is read from its
beginning and merged, which changes no row.
"""

import hashlib
import hmac
from typing import Any, TypeGuard

from dlt.common.json import json

_MARK = "sealed:"
_HEADER = {"alg": "dir", "enc": "A256GCM"}


def is_sealed(kept: Any) -> TypeGuard[str]:
    """Whether what the state has is no value, but one that is sealed."""
    return isinstance(kept, str) and kept.startswith(_MARK)


class Seal:
    """Closes and opens values by one installation's key."""

    def __init__(self, key: bytes) -> None:
        """`key`: that of the masks, of which another one is made here."""
        from joserfc.jwk import OctKey  # noqa: PLC0415  # 12 MB, for sealed cursors alone

        self._key = OctKey.import_key(hmac.digest(key, b"cursors", hashlib.sha256))

    def closed(self, value: Any) -> str:
        """A value as it may be kept."""
        from joserfc import jwe  # noqa: PLC0415

        return _MARK + jwe.encrypt_compact(dict(_HEADER), json.typed_dumps(value).encode(), self._key)

    def opened(self, kept: str) -> Any:
        """The value of what `closed` gave; None when another key has closed it."""
        from joserfc import jwe  # noqa: PLC0415
        from joserfc.errors import JoseError  # noqa: PLC0415

        try:
            return json.typed_loads(
                (jwe.decrypt_compact(kept.removeprefix(_MARK), self._key).plaintext or b"").decode()
            )
        except (JoseError, ValueError):
            return None


def kept_value(state: dict[str, Any], seal: Seal | None) -> Any:
    """The newest value in a cursor's state; None too where it is sealed and can't be opened. In clear no longer."""
    kept = state.get("value")
    if is_sealed(kept):
        return None if seal is None else seal.opened(kept)
    if seal is not None and kept is not None:
        keep_value(state, kept, seal)
    return kept


def keep_value(state: dict[str, Any], value: Any, seal: Seal | None) -> None:
    """Keep a newest value in a cursor's state, sealed where there is a seal."""
    state["value"] = value if seal is None else seal.closed(value)
