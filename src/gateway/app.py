"""The application: all wiring on one screen.

`create_app` does no I/O. The parts are opened by the lifespan (`gateway.parts`) and reach the routes as
dependencies of the same names. `state.draining` is set by the server when it is asked to stop.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders, State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import BeforeMessageSendHookHandler, Message, Scope

from gateway import parts
from gateway.problems import EXCEPTION_HANDLERS
from gateway.requests import GatewayRequest
from gateway.routes import agency, health, identity, landing, tokens, verify
from gateway.routes.citizen import cases, consents, documents, services
from gateway.settings import Settings
from gateway.telemetry import Requests

BODY_BYTES_MAX = 256 * 1024
OPENAPI_VERSION = "0.1.0"
ROUTERS = (
    identity.router,
    services.router,
    cases.router,
    documents.router,
    consents.router,
    agency.router,
    tokens.router,
    health.router,
    landing.router,
    verify.router,
)
DEPENDENCIES = ("settings", "database", "vault", "minter", "registry", "relying_party", "flow")

# Sent with every answer that does not say otherwise itself. Nothing here is a page, so that the policy of
# a page (its own scripts and styles) is left to the route that serves one.
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
STRICT_TRANSPORT = {"Strict-Transport-Security": "max-age=63072000; includeSubDomains"}


def create_app(settings: Settings) -> Litestar:
    """The gateway with these settings. Its lifespan raises StartRefused."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with parts.opened(settings) as opened:
            app.state.parts = opened
            stop = asyncio.Event()
            working = asyncio.create_task(parts.work(opened, stop)) if settings.runs_worker else None
            yield
            stop.set()
            if working is not None:
                # A fault of it was logged when it came; readiness has told of it since.
                await asyncio.gather(working, return_exceptions=True)

    app = Litestar(
        route_handlers=ROUTERS,
        dependencies={name: Provide(_part(name), sync_to_thread=False) for name in DEPENDENCIES},
        lifespan=[lifespan],
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=GatewayRequest,
        request_max_body_size=BODY_BYTES_MAX,
        before_send=[_security_headers(settings)],
        openapi_config=OpenAPIConfig(
            title="onestop",
            version=OPENAPI_VERSION,
            path="/schema",
            render_plugins=[JsonRenderPlugin()],
            use_handler_docstrings=True,
        ),
        state=State({"draining": False, "status_lists": tokens.StatusLists()}),
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )
    # Outside everything, so that errors of routing have their line and their trace too.
    app.asgi_handler = Requests(app.asgi_handler)
    return app


def _part(name: str) -> Any:
    def provide(state: State) -> Any:
        return getattr(state.parts, name)

    return provide


def _security_headers(settings: Settings) -> BeforeMessageSendHookHandler:
    headers = SECURITY_HEADERS | (STRICT_TRANSPORT if settings.public_url.startswith("https:") else {})

    async def add(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start":
            sent = MutableScopeHeaders.from_message(message)
            for name, value in headers.items():
                sent.setdefault(name, value)

    return add
