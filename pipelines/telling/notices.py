"""Notices of connectors, sent: by a notification block of Prefect, or by an Apprise URL that a secret holds."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from connectors.credentials import uses_of_policy
from connectors.sources.secret_references import BlockRef
from connectors.telling.notices import Notify
from database.control.outbox import NotTakenError, Outgoing
from pipelines.access.credential_rules import permitted
from pipelines.access.denied_hosts import DeniedHosts
from pipelines.access.secrets import Secrets
from pipelines.errors import RunError
from settings import Settings


def send(item: Outgoing, settings: Settings) -> None:
    """Send a notice once.

    Raises:
        NotTakenError: no address has taken it.
    """
    notify = Notify.model_validate(item.follow_up)
    subject = f"[{settings.instance}] {item.leader_name}: {item.said['what'].replace('_', ' ')}"
    message = item.said["message"] or subject  # Apprise sends no empty one
    try:
        secrets = _permitted(item, notify, settings)
        if isinstance(notify.to, BlockRef):
            _by_block(notify.to.block, subject, message)
        else:
            _by_url(secrets.text(notify.to), subject, message, DeniedHosts.of(settings))
    except RunError as error:
        raise NotTakenError(str(error)) from None


def _permitted(item: Outgoing, notify: Notify, settings: Settings) -> Secrets:
    """Secrets that give what the connector may name. Raises `RunError`."""
    if isinstance(notify.to, BlockRef) and notify.to.block in settings.owner_blocks.values():
        return Secrets()
    uses = uses_of_policy({"notify": [notify.model_dump(mode="json")]})
    return permitted(settings, item.leader_team, uses)


def _by_block(slug: str, subject: str, message: str) -> None:
    from prefect.blocks import notifications  # noqa: PLC0415, F401  # makes its kinds known
    from prefect.blocks.abstract import NotificationBlock  # noqa: PLC0415
    from prefect.blocks.core import Block  # noqa: PLC0415

    try:
        block = Block.load(slug, _sync=True)  # type: ignore[call-arg]
    except Exception as error:  # Prefect is away, there is no such block, or its kind needs a package
        raise NotTakenError(
            f"The block {slug} could not be loaded ({type(error).__name__}): is it in Prefect, and of a kind that the "
            "controller has a package for?"
        ) from None
    if not isinstance(block, NotificationBlock):
        raise NotTakenError(f"The block {slug} is none that sends notifications.", final=True)
    with _silent(), block.raise_on_failure():
        try:
            block.notify(message, subject, _sync=True)  # type: ignore[call-arg,unused-coroutine]
        except Exception as error:  # what it says may quote its address, which is a secret
            raise NotTakenError(f"The block {slug} could not send it ({type(error).__name__}).") from None


def _by_url(url: str, subject: str, message: str, denied: DeniedHosts) -> None:
    from apprise import Apprise  # noqa: PLC0415

    sender = Apprise()
    with _silent():
        if not sender.add(url):
            raise NotTakenError("What the secret holds is no Apprise URL, such as mailtos://user:password@example.org.")
        for service in sender:
            for host, port in _hosts(service):
                denied.check(host, port)
        if not sender.notify(title=subject, body=message):
            raise NotTakenError("The address has not taken the notice.")


def _hosts(service: Any) -> Iterator[tuple[str, int]]:
    """The hosts that a service of Apprise would connect to. Where others have a host, chats have a token: no name
    server is asked for one."""
    port = service.port or (443 if service.secure else 80)
    host = str(service.host or "").strip("[]")
    if host and ("." in host or any("{host}" in template for template in service.templates)):
        yield host, port
    if mail := getattr(service, "smtp_host", None):
        yield str(mail).strip("[]"), port


@contextmanager
def _silent() -> Iterator[None]:
    """Apprise logs addresses, which hold secrets."""
    logger = logging.getLogger("apprise")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
