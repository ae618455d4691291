"""The pages: each module has one subject and a router."""

from web.pages import connector, editing, inbox, listing, oversight, wizard

ROUTERS = (listing.router, wizard.router, connector.router, editing.router, inbox.router, oversight.router)
"""In the order in which they are asked whether an address is theirs: `/connectors/new` is no number."""
