"""A gateway and the sandbox identity provider on real sockets, and a browser that goes between them."""

import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator, Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
import uvicorn
from litestar import Litestar, get, post
from litestar.di import NamedDependency, Provide
from sqlalchemy import select

from adapters.sandbox_idp import Client, IdpConfig
from adapters.sandbox_idp import create_app as create_idp
from consent import jws
from consent import store as consent_store
from consent.keys import Vault
from gateway.db import SqlDatabase
from gateway.identity import store
from gateway.identity.oidc import RelyingParty
from gateway.identity.sessions import Session, guard_csrf, provide_session, require_role
from gateway.problems import respond
from gateway.routes.identity import router
from gateway.settings import Settings

CLIENT_ID = "onestop"


def listen() -> tuple[socket.socket, str]:
    """A socket on a free port, and its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextlib.asynccontextmanager
async def serving(app: Litestar, listening: socket.socket) -> AsyncIterator[None]:
    """Serve the application on the socket."""
    config = uvicorn.Config(app, log_level="critical", access_log=False)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # Without its main loop, which is about signals and would only make each test wait for its next turn.
    await server.startup(sockets=[listening])
    try:
        yield
    finally:
        server.force_exit = True
        await server.shutdown(sockets=[listening])


@get("/probe", dependencies={"session": Provide(provide_session)})
async def read_probe(session: NamedDependency[Session]) -> str:
    """Whose session it is."""
    return session.subject


@post("/probe", dependencies={"session": Provide(provide_session)}, status_code=200)
async def act_probe(session: NamedDependency[Session]) -> str:
    """A route that acts for a person and has no guard of its own."""
    return session.subject


@post("/guarded", guards=[guard_csrf], status_code=200)
async def act_guarded() -> str:
    """A route with the guard alone."""
    return "done"


@get("/audit-probe", dependencies={"session": Provide(require_role("auditor"))})
async def read_audit_probe(session: NamedDependency[Session]) -> str:
    """A route for auditors."""
    return session.subject


@dataclasses.dataclass(frozen=True)
class Site:
    """A gateway that runs, and what stands behind it."""

    url: str
    database: SqlDatabase
    vault: Vault
    relying_party: RelyingParty
    idp: str

    def browser(self) -> httpx.AsyncClient:
        """A browser of its own, which follows no redirect by itself."""
        return httpx.AsyncClient(base_url=self.url, trust_env=False, follow_redirects=False, verify=False)

    async def rows(self, table: Any) -> list[Any]:
        """All rows of a table."""
        async with self.database.read() as conn:
            return list((await conn.execute(select(table))).all())


def create_gateway(
    settings: Settings, database: SqlDatabase, vault: Vault, relying_party: RelyingParty
) -> Litestar:
    """The routes of identity with what they need, and probes beside them."""
    values = {
        "settings": settings,
        "database": database,
        "vault": vault,
        "relying_party": relying_party,
    }

    @get("/oauth/jwks")
    async def jwks() -> dict[str, Any]:
        return jws.jwks([vault.key_store.signing_key("oidc-client").public_key()])

    return Litestar(
        route_handlers=[router, jwks, read_probe, act_probe, act_guarded, read_audit_probe],
        dependencies={
            name: Provide(_constant(value), sync_to_thread=False) for name, value in values.items()
        },
        exception_handlers={Exception: respond},
        openapi_config=None,
    )


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


@contextlib.asynccontextmanager
async def running_gateway(
    database: SqlDatabase,
    vault: Vault,
    idp: str,
    *,
    at: tuple[socket.socket, str] | None = None,
    public_url: str = "",
    monotonic: Callable[[], float] | None = None,
) -> AsyncIterator[Site]:
    """A gateway whose provider is at `idp`."""
    listening, url = at or listen()
    settings = Settings(public_url=public_url or url, oidc_issuer=idp, oidc_client_id=CLIENT_ID)
    relying_party = RelyingParty(
        issuer=idp,
        client_id=CLIENT_ID,
        public_url=settings.public_url,
        key_store=vault.key_store,
        **({"monotonic": monotonic} if monotonic else {}),
    )
    async with database.write() as conn:
        await conn.run_sync(store.metadata.create_all)
    try:
        async with serving(create_gateway(settings, database, vault, relying_party), listening):
            yield Site(url, database, vault, relying_party, idp)
    finally:
        await relying_party.aclose()


@pytest.fixture
async def site(database: SqlDatabase, vault: Vault, tmp_path: Any) -> AsyncIterator[Site]:
    """A gateway and the sandbox identity provider, which know each other."""
    gateway = listen()
    idp_listening, idp = listen()
    client = Client(
        client_id=CLIENT_ID,
        redirect_uris=(f"{gateway[1]}/login/callback",),
        jwks_url=f"{gateway[1]}/oauth/jwks",
    )
    config = IdpConfig(issuer=idp, clients=(client,), folder=tmp_path / "idp")
    async with (
        serving(create_idp(config), idp_listening),
        running_gateway(database, vault, idp, at=gateway) as running,
    ):
        yield running


@pytest.fixture
async def sqlite(tmp_path: Any) -> AsyncIterator[SqlDatabase]:
    """A SQLite database, for tests in which the tables play no part."""
    database = SqlDatabase(f"sqlite:///{tmp_path}/plain.sqlite")
    async with database.write() as conn:
        await conn.run_sync(consent_store.metadata.create_all)
    yield database
    await database.aclose()


class Form(HTMLParser):
    """The form of a login page: where it goes, what it hides, and whom one can choose."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.hidden: dict[str, str] = {}
        self.choices: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = values["action"]
        elif tag == "input" and values.get("type") == "hidden":
            self.hidden[values["name"]] = values["value"]
        elif tag == "button":
            self.choices.append(values["value"])


async def to_provider(browser: httpx.AsyncClient, return_to: str = "/") -> str:
    """Begin a login; the address at the provider that the browser is sent to."""
    begun = await browser.get("/login", params={"return_to": return_to})
    assert begun.status_code == 302, begun.text
    return begun.headers["location"]


async def choose(browser: httpx.AsyncClient, authorize: str, persona: str = "ada") -> str:
    """Choose a persona on the provider's page; the address that the browser is sent back to."""
    page = await browser.get(authorize)
    form = Form(page.text)
    answer = await browser.post(urljoin(authorize, form.action), data={**form.hidden, "persona": persona})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def log_in(browser: httpx.AsyncClient, persona: str = "ada", return_to: str = "/") -> httpx.Response:
    """A whole login; the gateway's last answer."""
    return await browser.get(await choose(browser, await to_provider(browser, return_to), persona))


async def session_of(browser: httpx.AsyncClient) -> dict[str, Any]:
    """What the gateway says of the browser's session."""
    answer = await browser.get("/api/v1/session")
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return] # JSON is what it is


def plant(browser: httpx.AsyncClient, name: str, value: str) -> None:
    """Give the browser a cookie as if the gateway had set it."""
    browser.cookies.set(name, value, domain="127.0.0.1", path="/")
