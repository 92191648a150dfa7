"""What the routes ask of a browser's request: its cookies, its session, and proof that our page made it.

Cookies are HttpOnly, SameSite=Lax, Path=/ and, where the gateway is reached by https, Secure and named with
the prefix `__Host-`, which no other host and no plain connection can set (RFC 6265bis, section 4.1.3.2).

`provide_session` is the one way for a route to a session, and it checks every unsafe method for cross-site
request forgery itself: a route that acts for a person cannot forget it. `guard_csrf` is the same check for
routes that take a large body, which it refuses before the body is read. Three signs must agree: the header
`X-CSRF-Token`, which another site can neither know nor set; `Origin` and `Sec-Fetch-Site`, where the browser
sends them.
"""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler

from consent.database import machine_time
from consent.keys import Vault
from gateway.db import SqlDatabase
from gateway.identity import login, session_store
from gateway.identity.errors import CsrfRefused, NotAuthenticated, RoleRequired
from gateway.identity.session_store import Session
from gateway.settings import Settings

__all__ = ["Session", "guard_csrf", "provide_session", "require_role"]

SESSION = "onestop_session"
LOGIN = "onestop_login"
HOST_PREFIX = "__Host-"
CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

AnyRequest = Request[Any, Any, Any]
AnyConnection = ASGIConnection[Any, Any, Any, Any]


def session_cookie(settings: Settings, token: str) -> Cookie:
    """The cookie that carries a session; the browser drops it when it closes, the server by its own rules."""
    return _cookie(settings, SESSION, token, None)


def login_cookie(settings: Settings, value: str) -> Cookie:
    """The cookie that carries one login."""
    return _cookie(settings, LOGIN, value, int(login.LIFETIME.total_seconds()))


def cleared(settings: Settings, name: str) -> Cookie:
    """A cookie that makes the browser forget the one of this name."""
    return _cookie(settings, name, "", 0)


def read_cookie(request: AnyRequest, settings: Settings, name: str) -> str | None:
    """The value of one of our cookies, read under its full name alone."""
    return request.cookies.get(_full_name(settings, name))


async def provide_session(
    request: AnyRequest,
    database: NamedDependency[SqlDatabase],
    vault: NamedDependency[Vault],
    settings: NamedDependency[Settings],
) -> Session:
    """The live session of the browser. Raises NotAuthenticated, or CsrfRefused for an unsafe method."""
    token = read_cookie(request, settings, SESSION)
    if token is None:
        raise NotAuthenticated("the request carries no session")
    async with database.read() as conn:
        now = await machine_time(conn)
        session, due = await session_store.load(conn, vault, token, now)
    _check_made_by_our_page(request, token)
    if due:
        async with database.write() as conn:
            await session_store.seen(conn, session.session_id, now)
    return session


def require_role(role: str) -> Callable[..., Awaitable[Session]]:
    """A provider of the session, like `provide_session`, that refuses one without the role.

    Raises RoleRequired besides what `provide_session` raises.
    """

    async def provide(
        request: AnyRequest,
        database: NamedDependency[SqlDatabase],
        vault: NamedDependency[Vault],
        settings: NamedDependency[Settings],
    ) -> Session:
        session = await provide_session(request, database, vault, settings)
        if role not in session.roles:
            raise RoleRequired(role)
        return session

    return provide


def guard_csrf(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """A route's guard: refuse an unsafe method that our own page did not make, before reading its body.

    Raises NotAuthenticated where there is no session cookie at all, else CsrfRefused.
    """
    cookies = connection.cookies
    token = cookies.get(f"{HOST_PREFIX}{SESSION}", cookies.get(SESSION))
    if token is None:
        raise NotAuthenticated("the request carries no session")
    _check_made_by_our_page(connection, token)


def _check_made_by_our_page(connection: AnyConnection, token: str) -> None:
    if connection.scope.get("method") in SAFE_METHODS:
        return
    headers = connection.headers
    expected = session_store.csrf_token_of(token)
    if not hmac.compare_digest(headers.get(CSRF_HEADER, "").encode(), expected.encode()):
        raise CsrfRefused("the CSRF token is missing or not this session's")
    # The server has checked Host against the public address.
    if "origin" in headers and headers["origin"].partition("://")[2] != headers.get("host"):
        raise CsrfRefused("the request comes from another origin")
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise CsrfRefused("the request comes from another site")


def _full_name(settings: Settings, name: str) -> str:
    return f"{HOST_PREFIX}{name}" if _is_secure(settings) else name


def _is_secure(settings: Settings) -> bool:
    """Plain http is allowed on loopback only: `gateway.settings` refuses it elsewhere."""
    return settings.public_url.startswith("https:")


def _cookie(settings: Settings, name: str, value: str, max_age_seconds: int | None) -> Cookie:
    return Cookie(
        key=_full_name(settings, name),
        value=value,
        max_age=max_age_seconds,
        path="/",
        secure=_is_secure(settings),
        httponly=True,
        samesite="lax",
    )
