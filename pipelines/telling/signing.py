"""Signatures of webhooks, as the Standard Webhooks specification has them (HMAC-SHA256, `v1`). Pure."""

import base64
import binascii
import hmac
from collections.abc import Sequence
from datetime import datetime

PREFIX = "whsec_"
SHORTEST_KEY, LONGEST_KEY = 24, 64
"""Bytes of a key, as the specification has them."""


def keys_of(secret: str) -> list[bytes]:
    """The keys in a secret: one, or several with blanks between them while a receiver changes to another.

    Raises:
        ValueError: with the end of a sentence that says what it must be, and not what it is.
    """
    keys = []
    for each in secret.split():
        try:
            key = base64.b64decode(each.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
            raise ValueError(
                f"must be {PREFIX} and {SHORTEST_KEY} to {LONGEST_KEY} random bytes as base64: "
                f'`echo "{PREFIX}$(openssl rand -base64 32)"` makes one.'
            )
        keys.append(key)
    return keys


def signed(keys: Sequence[bytes], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of a message: its id, the time of this try, and a signature of both and the body with each key."""
    timestamp = str(int(at.timestamp()))
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
