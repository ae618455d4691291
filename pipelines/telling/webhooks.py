"""Webhooks: a message of a load, signed and posted to the address that a connector names.

The receiver is asked as a source is: no host that is denied, by the address that the connection really has, and a
secret goes only where its credential may. A redirect is not followed: it would take the message where nobody has looked
at. What the receiver answers is not read.
"""

from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

import orjson

from connectors.credentials import uses_of_policy
from connectors.follow_ups import FollowUp
from database.control.outbox import NotTakenError, Outgoing
from pipelines.access.credential_rules import permitted
from pipelines.access.denied_hosts import DeniedHosts, check_proxied, guard
from pipelines.errors import RunError
from pipelines.telling.signing import keys_of, signed
from settings import Settings

TIMEOUT_SECONDS = (10, 15)
"""To connect, and to answer."""

GONE = 410
"""The receiver wants no more of it, as the specification says."""


def post(item: Outgoing, settings: Settings) -> None:
    """Deliver a message once. Blocks for as long as the receiver takes, at most half a minute.

    Raises:
        NotTakenError: the receiver has not said that it took it.
    """
    follow_up = FollowUp.model_validate(item.follow_up)
    said = {"instance": settings.instance, **item.said}
    event = {"type": "connector.loaded", "timestamp": item.said["load"]["ended_at"], "data": said}
    body = orjson.dumps(event)
    try:
        keys = _keys(item, follow_up, settings)
        status = _status(str(follow_up.webhook), f"msg_{item.key.hex}", keys, body, DeniedHosts.of(settings))
    except RunError as error:
        raise NotTakenError(str(error)) from None
    if not 200 <= status < 300:
        elsewhere = (
            ", a redirect, which is not followed: name the address that it leads to" if status // 100 == 3 else ""
        )
        raise NotTakenError(f"{_place(follow_up)} answered {status}{elsewhere}.", final=status == GONE)


def _keys(item: Outgoing, follow_up: FollowUp, settings: Settings) -> list[bytes]:
    """What the message is signed with. Raises `RunError`, `NotTakenError`."""
    uses = uses_of_policy({"then": [follow_up.model_dump(mode="json")]})
    secrets = permitted(settings, item.leader_team, uses)
    try:
        return [] if follow_up.secret is None else keys_of(secrets.text(follow_up.secret))
    except ValueError as error:
        raise NotTakenError(f"What {_place(follow_up)} is signed with {error}") from None


def _status(url: str, message_id: str, keys: list[bytes], body: bytes, denied: DeniedHosts) -> int:
    """What the receiver answers. Raises `RunError`, `NotTakenError`."""
    import requests  # noqa: PLC0415  # a controller without webhooks does without

    with requests.Session() as session:
        guard(session, denied)
        check_proxied(url, session.merge_environment_settings(url, {}, None, None, None)["proxies"], denied)
        headers = {"Content-Type": "application/json", "User-Agent": "clinical-ai-prefect"}
        headers |= signed(keys, message_id, datetime.now(UTC), body)
        send = partial(session.post, allow_redirects=False, stream=True, timeout=TIMEOUT_SECONDS)
        try:
            with send(url, data=body, headers=headers) as response:
                return int(response.status_code)
        except requests.RequestException as error:
            # What it says may quote the address, which may have a part that only the two know.
            raise NotTakenError(f"{urlsplit(url).hostname} could not be reached ({type(error).__name__}).") from None


def _place(follow_up: FollowUp) -> str:
    return f"The webhook at {urlsplit(str(follow_up.webhook)).hostname}"
