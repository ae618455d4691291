"""Sign-in at the page, added to the application: its routes, its door, and how a provider is asked."""

from fastapi import FastAPI
from starlette.routing import Match
from starlette.types import Scope

from api.sign_in import routes
from api.sign_in.bearer import Provider
from api.sign_in.code_flow import CodeFlow
from api.sign_in.door import PageDoor
from api.sign_in.proxy import TrustedProxy
from settings import SignInSettings
from web.app import Headed, is_page


def install(app: FastAPI, settings: SignInSettings, provider: Provider | None, proxy: TrustedProxy | None) -> None:
    """Add it to the application; what reads bodies before it must be added after it."""
    app.state.page_url = settings.page_url
    app.state.code_flow = None
    if provider is not None and settings.oidc_client_id is not None:
        secret = settings.oidc_client_secret
        value = None if secret is None else secret.get_secret_value()
        app.state.code_flow = CodeFlow(provider, settings.oidc_client_id, value, settings.oidc_scopes)
    app.include_router(routes.router, include_in_schema=False)
    app.add_middleware(PageDoor, is_page=_is_page_or_log_in, proxy=proxy, page_url=settings.page_url)
    app.add_middleware(Headed)


def _is_page_or_log_in(scope: Scope) -> bool:
    return is_page(scope) or any(route.matches(scope)[0] is Match.FULL for route in routes.router.routes)
