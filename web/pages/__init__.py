"""The pages: each module has one subject and a router."""

from web.pages import (
    connector,
    credentials,
    editing,
    inbox,
    limits,
    listing,
    oversight,
    protections,
    taking_in,
    wizard,
)

ROUTERS = (
    listing.router,
    wizard.router,
    taking_in.router,
    editing.router,
    connector.router,
    inbox.router,
    oversight.router,
    credentials.router,
    limits.router,
    protections.router,
)
"""In the order in which they are asked: `/connectors/new` is no number, and `/connectors/7/edit` no button."""
