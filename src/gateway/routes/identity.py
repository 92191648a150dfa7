"""Login, logout, and who is logged in.

`GET /login` sends the browser to the identity provider, `GET /login/callback` takes it back and begins the
session, `POST /logout` ends it. `GET /api/v1/session` answers everybody: with the person, or with
`{"authenticated": false}`. No answer of these routes is kept by a cache.
"""

import datetime as dt
from typing import Any, Literal

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery
from litestar.response import Redirect

from consent.database import machine_time
from consent.errors import KeyMissing
from consent.keys import Vault
from gateway.db import SqlDatabase
from gateway.identity import login, persons, session_store, sessions
from gateway.identity.errors import LoginRefused, NotAuthenticated
from gateway.identity.oidc import CALLBACK_PATH, RelyingParty
from gateway.identity.session_store import Session
from gateway.settings import Settings


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who is logged in, and how they showed it.

    `expires_at` is the session's end in any case, `idle_expires_at` its end if it is not used again.
    `mandates` lists for whom the person may act.
    """

    display_name: str
    roles: list[str]
    mandates: list[str]
    means: str
    acr: str
    amr: tuple[str, ...]
    auth_time: dt.datetime
    expires_at: dt.datetime
    idle_expires_at: dt.datetime
    csrf_token: str
    authenticated: Literal[True] = True


class Nobody(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody is logged in."""

    authenticated: Literal[False] = False


@get("/login", summary="Begin a login", status_code=302)
async def begin_login(
    relying_party: NamedDependency[RelyingParty],
    database: NamedDependency[SqlDatabase],
    vault: NamedDependency[Vault],
    settings: NamedDependency[Settings],
    return_to: FromQuery[str] = "/",
) -> Redirect:
    """Send the browser to the identity provider; it ends at the local path `return_to`."""
    async with database.read() as conn:
        now = await machine_time(conn)
    begun = login.begin(return_to, now)
    return Redirect(
        await relying_party.authorization_url(begun),
        status_code=302,
        cookies=[sessions.login_cookie(settings, login.to_cookie(vault, begun))],
    )


@get(CALLBACK_PATH, summary="End a login", status_code=303)
async def finish_login(
    request: Request[Any, Any, Any],
    relying_party: NamedDependency[RelyingParty],
    database: NamedDependency[SqlDatabase],
    vault: NamedDependency[Vault],
    settings: NamedDependency[Settings],
) -> Redirect:
    """Take the browser back from the provider, begin its session and send it where it wanted to go."""
    begun, token = await _session_of_response(request, relying_party, database, vault, settings)
    return Redirect(
        login.local_path(begun.return_to),
        status_code=303,
        cookies=[sessions.session_cookie(settings, token), sessions.cleared(settings, sessions.LOGIN)],
    )


async def _session_of_response(
    request: Request[Any, Any, Any],
    relying_party: RelyingParty,
    database: SqlDatabase,
    vault: Vault,
    settings: Settings,
) -> tuple[login.Login, str]:
    """The login that ended, and the token of the session that it began."""
    async with database.read() as conn:
        now = await machine_time(conn)
    begun = login.from_cookie(vault, sessions.read_cookie(request, settings, sessions.LOGIN), now)
    claims = await relying_party.identify(begun, list(request.query_params.multi_items()), now)
    former = sessions.read_cookie(request, settings, sessions.SESSION)
    async with database.write() as conn:
        now = await machine_time(conn)
        await login.use(conn, begun, now)
        try:
            person_id = await persons.register(
                conn, vault, issuer=claims.iss, sub=claims.sub, profile=claims.profile, now=now
            )
        except KeyMissing as error:
            raise LoginRefused("the person was erased") from error
        if former is not None:
            await session_store.end_of_token(conn, former)
        token = await session_store.start(conn, vault, person_id=person_id, content=claims.content, now=now)
    return begun, token


@post(
    "/logout",
    summary="End the session",
    status_code=204,
    dependencies={"session": Provide(sessions.provide_session)},
)
async def logout(
    session: NamedDependency[Session],
    database: NamedDependency[SqlDatabase],
    settings: NamedDependency[Settings],
) -> Response[None]:
    """End the session here and at once; needs the header `X-CSRF-Token`."""
    async with database.write() as conn:
        await session_store.end(conn, session.session_id)
    return Response(None, status_code=204, cookies=[sessions.cleared(settings, sessions.SESSION)])


@get("/api/v1/session", summary="Who is logged in")
async def show_session(
    request: Request[Any, Any, Any],
    database: NamedDependency[SqlDatabase],
    vault: NamedDependency[Vault],
    settings: NamedDependency[Settings],
) -> Person | Nobody:
    """The person of this browser's session, or that there is none."""
    try:
        session = await sessions.provide_session(request, database, vault, settings)
    except NotAuthenticated:
        return Nobody()
    return Person(
        display_name=session.display_name,
        roles=sorted(session.roles),
        mandates=[],
        means=session.means,
        acr=session.acr,
        amr=session.amr,
        auth_time=session.auth_time,
        expires_at=session.expires_at,
        idle_expires_at=session.idle_expires_at,
        csrf_token=session.csrf_token,
    )


router = Router(
    path="/",
    route_handlers=[begin_login, finish_login, logout, show_session],
    cache_control=CacheControlHeader(no_store=True),
    tags=["identity"],
)
