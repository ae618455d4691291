"""The pages: each module has one subject and a router."""

from web.pages import connector, credentials, editing, inbox, listing, oversight, rules, taking_in, wizard

ROUTERS = (
    listing.router,
    wizard.router,
    taking_in.router,
    editing.router,
    connector.router,
    inbox.router,
    oversight.router,
    credentials.router,
    rules.router,
)
"""In the order in which they are asked: `/connectors/new` is no number, and `/connectors/7/edit` no button."""
