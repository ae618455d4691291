"""The REST API as an application, and its server: one process, until SIGTERM.

This is the composition: settings, database, Prefect and the source test come together here. Starting it needs the
database's address and nothing else; Prefect may be down, now or at any time.
"""

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

from api import credential_routes, problems, token_routes
from api import routes as api_routes
from api.answers import Health, PublicKeys
from api.authentication import Authenticated
from api.decisions import routes as decision_routes
from api.exchange import routes as exchange_routes
from api.history import routes as history_routes
from api.middleware import Heads, LimitedBody, LoopbackOnly, Measured, is_loopback
from api.protections import routes as protection_routes
from api.runs import routes as run_routes
from api.sign_in.at_the_page import install as install_sign_in
from api.sign_in.bearer import Provider
from api.sign_in.proxy import TrustedProxy
from api.source_limits import routes as source_limit_routes
from api.sources import routes as source_routes
from api.sources.offered import Offers
from connectors.people import NameableSecrets
from connectors.runs import PrefectRuns
from database.connection.engine import open_engine
from prefect_api.blocks import PrefectBlocks
from settings import MissingDatabaseError, Settings, asks_for_names
from use_cases.connectors import Service
from use_cases.sessions import Sessions
from use_cases.sources import Asker, Sources
from web.app import install as install_page

logger = logging.getLogger(__name__)

POOL_SIZE = 20
"""Connections to the database: each request uses one at a time, for milliseconds."""

GRACE_SECONDS = 20
"""How long requests in flight may take to end after SIGTERM."""

KEYS_KEPT_SECONDS = 300
"""How long a server may go on with the public keys that it has read."""

OpenRuns = Callable[[], AbstractAsyncContextManager[PrefectRuns]]


def create_app(
    settings: Settings,
    open_runs: OpenRuns,
    tester: api_routes.Tester,
    asker: Asker,
) -> FastAPI:
    """The API as an ASGI app.

    Args:
        settings: of this installation.
        open_runs: how Prefect is asked; entered when the app starts.
        tester: how a source is reached.
        asker: how one that is not saved is asked what it has.
    """

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    app = FastAPI(
        title="Connectors",
        version="1",
        summary="Connectors in a table, deployments in Prefect.",
        lifespan=lambda app: _opened(app, settings, open_runs, tester, asker),
        redirect_slashes=False,
        docs_url=None,  # its page needs a content delivery network, and a clinic has none
        redoc_url=None,
    )
    problems.install(app)
    app.include_router(api_routes.router)
    app.include_router(exchange_routes.router)
    app.include_router(run_routes.router)
    app.include_router(decision_routes.router)
    app.include_router(history_routes.router)
    app.include_router(token_routes.router)
    app.include_router(credential_routes.router)
    app.include_router(protection_routes.router)
    app.include_router(source_limit_routes.router)
    app.include_router(source_routes.router)
    _add_operations(app, registry, settings.public_keys)
    install_page(app, asks_for_names=asks_for_names(settings))
    provider, proxy = _provider(settings), _proxy(settings)
    install_sign_in(app, settings, provider, proxy)
    tokens = [token.get_secret_value() for token in settings.api_token]
    # The last one added is the first that a request meets.
    app.add_middleware(Heads)
    app.add_middleware(LimitedBody)
    app.add_middleware(Authenticated, tokens=tokens, provider=provider, proxy=proxy)
    app.add_middleware(Measured, registry=registry)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's own way to change it
    return app


@asynccontextmanager
async def _opened(
    app: FastAPI, settings: Settings, open_runs: OpenRuns, tester: api_routes.Tester, asker: Asker
) -> AsyncIterator[None]:
    """What the routes use, as long as the application runs: it stands in `app.state`."""
    engine = open_engine(settings.resolved_database_url(), pool_size=POOL_SIZE)
    try:
        app.state.engine = engine
        app.state.blocks = PrefectBlocks()
        async with open_runs() as runs:
            app.state.service = Service.of(settings, engine, runs, Offers(settings))
            app.state.sessions = Sessions(engine, [token.get_secret_value() for token in settings.api_token])
            app.state.tester = tester
            app.state.documents_of = exchange_routes.documents_of
            app.state.sources = Sources(engine, asker)
            yield
    finally:
        await engine.dispose()


def _provider(settings: Settings) -> Provider | None:
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    return Provider(
        settings.oidc_issuer,
        settings.oidc_client_id,
        audience=settings.oidc_audience,
        roles=settings.oidc_roles,
        groups_claim=settings.oidc_groups_claim,
    )


def _proxy(settings: Settings) -> TrustedProxy | None:
    if settings.trusted_user_header is None:
        return None
    return TrustedProxy(
        settings.trusted_user_header, settings.trusted_groups_header, settings.trusted_proxies, settings.oidc_roles
    )


def _add_operations(app: FastAPI, registry: CollectorRegistry, public_keys: list[dict[str, Any]]) -> None:
    """What operations ask for, without a token."""

    @app.get("/health", tags=["operations"])
    async def health() -> Health:
        """The process lives."""
        return Health()

    @app.get("/ready", tags=["operations"], responses=api_routes.problems(503))
    async def ready() -> Health:
        """Connectors can be read and saved: the database answers. Prefect isn't needed for that."""
        await app.state.service.ready()
        return Health()

    @app.get("/.well-known/jwks.json", tags=["operations"])
    async def jwks(response: Response) -> PublicKeys:
        """The public keys (CAI_PUBLIC_KEYS) by which FHIR servers check this installation's signatures."""
        response.headers["Cache-Control"] = f"max-age={KEYS_KEPT_SECONDS}"
        return PublicKeys(keys=public_keys)

    @app.get("/metrics", tags=["operations"], response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """What this process has counted, for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        model = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schema["components"]["schemas"] |= {**model.pop("$defs"), "Problem": model}
        for unused in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema


def serve(settings: Settings, open_runs: OpenRuns, tester: api_routes.Tester, asker: Asker) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are finished.

    Raises:
        SystemExit: with a sentence, when it may not or cannot start.
    """
    asks = asks_for_names(settings)
    _require_a_token(settings.api_host, asks=asks)
    try:
        settings.resolved_database_url()
    except MissingDatabaseError as error:
        sys.exit(str(error))
    if settings.credentials is NameableSecrets.OPEN:
        logger.warning(
            "CAI_CREDENTIALS=open: whoever may write a connector may name any secret that nobody has registered, and "
            "send it anywhere."
        )
    app = create_app(settings, open_runs, tester, asker)
    if not asks:
        app.add_middleware(LoopbackOnly)
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        timeout_graceful_shutdown=GRACE_SECONDS,
        access_log=False,  # `Measured` tells of each request, with its connector
        server_header=False,
        proxy_headers=False,  # who has connected decides whether a proxy is believed, and not what it says of itself
        log_config=None,
    )


def _require_a_token(host: str, *, asks: bool) -> None:
    if not asks and not is_loopback(host):
        sys.exit(
            f"The API does not bind {host} without a token, for then anybody could change connectors: "
            "set CAI_API_TOKEN, or CAI_API_HOST=127.0.0.1."
        )
