"""The sandbox identity provider over a real socket: it is a strict OpenID provider in all but its people."""

import base64
import contextlib
import dataclasses
import datetime as dt
import hashlib
import re
import secrets
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import msgspec
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from litestar import Litestar, get
from litestar.params import FromPath

from adapters.sandbox_idp import Client, IdpConfig, create_app
from consent import jws

REDIRECT_URI = "http://127.0.0.1:9/login/callback"
VERIFIER = secrets.token_urlsafe(32)
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REQUEST = {
    "response_type": "code",
    "client_id": "onestop",
    "redirect_uri": REDIRECT_URI,
    "scope": "openid profile",
    "state": "the-state",
    "nonce": "the-nonce",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


class IdToken(msgspec.Struct, frozen=True):
    """The claims that a test looks at."""

    iss: str
    sub: str
    aud: str
    nonce: str
    exp: int
    iat: int
    auth_time: int
    acr: str
    amr: list[str]
    means: str
    family_name: str
    passport_number: str = ""
    nationality: str = ""
    birthdate: str = ""
    sex: str = ""
    roles: list[str] = []


@contextlib.asynccontextmanager
async def serving(app: Litestar, listening: socket.socket) -> AsyncIterator[None]:
    """Serve the application on the socket, in the test's own loop."""
    config = uvicorn.Config(app, log_level="critical", access_log=False)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listening])
    try:
        yield
    finally:
        server.force_exit = True
        await server.shutdown(sockets=[listening])


@dataclasses.dataclass(frozen=True)
class World:
    """The provider, a browser, and the keys of its two clients."""

    issuer: str
    browser: httpx.AsyncClient
    keys: dict[str, ec.EllipticCurvePrivateKey]

    async def page(self, **changes: str | None) -> httpx.Response:
        """Answer to an authorization request; None leaves a parameter out."""
        parameters = {name: value for name, value in (REQUEST | changes).items() if value is not None}
        return await self.browser.get("/authorize", params=parameters)

    async def choose(self, page: httpx.Response, persona: str = "ada", **headers: str) -> httpx.Response:
        """Answer to a choice on a login page."""
        found = re.search(r'name="request" value="([\w-]+)"', page.text)
        assert found is not None
        form = {"request": found[1], "persona": persona}
        return await self.browser.post("/login", data=form, headers=headers)

    async def code(self, persona: str = "ada", **changes: str) -> str:
        """A good code."""
        answer = await self.choose(await self.page(**changes), persona)
        return parameters_of(answer)["code"]

    def assertion(self, client_id: str = "onestop", **changes: Any) -> str:
        """A client assertion, bent."""
        now = int(dt.datetime.now(dt.UTC).timestamp())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": self.issuer,
            "jti": secrets.token_urlsafe(),
            "iat": now,
            "exp": now + 60,
        }
        return jws.sign(claims | changes, self.keys[client_id], "JWT")

    async def redeem(self, code: str, /, *, client_id: str = "onestop", **changes: str) -> httpx.Response:
        """Answer of the token endpoint."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "client_id": client_id,
            "code_verifier": VERIFIER,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self.assertion(client_id),
        }
        return await self.browser.post("/token", data=form | changes)


def parameters_of(answer: httpx.Response) -> dict[str, str]:
    """Parameters of a redirect to the client."""
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(f"{REDIRECT_URI}?")
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The provider with two clients, which publish their keys."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("onestop", "another")}

    @get("/{name:str}/jwks")
    async def client_keys(name: FromPath[str]) -> dict[str, Any]:
        return jws.jwks([keys[name].public_key()])

    of_clients, of_idp = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    clients, issuer = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in (of_clients, of_idp))
    config = IdpConfig(
        issuer=issuer,
        clients=tuple(
            Client(client_id=name, redirect_uris=(REDIRECT_URI,), jwks_url=f"{clients}/{name}/jwks")
            for name in keys
        ),
        folder=tmp_path,
    )
    async with (
        serving(Litestar([client_keys], openapi_config=None), of_clients),
        serving(create_app(config), of_idp),
        httpx.AsyncClient(base_url=issuer, trust_env=False, follow_redirects=False, verify=False) as browser,
    ):
        yield World(issuer, browser, keys)


async def test_whole_flow_gives_a_signed_id_token_of_the_persona(world: World) -> None:
    answer = await world.redeem(await world.code("ada"))
    tokens = answer.json()
    published = await world.browser.get("/jwks")
    claims = jws.verify(tokens["id_token"], jws.KeySet.from_jwks(published.content), None, IdToken)

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert tokens["token_type"] == "Bearer"
    assert (claims.iss, claims.aud, claims.nonce) == (world.issuer, "onestop", "the-nonce")
    assert (claims.family_name, claims.nationality, claims.passport_number) == ("EXAMPLE", "GBR", "X12345678")
    assert (claims.birthdate, claims.sex) == ("1988-02-29", "F")
    assert claims.means == "foreign_passport_account"
    assert claims.iat <= claims.exp <= claims.iat + 300
    assert "d" not in published.json()["keys"][0]


@pytest.mark.parametrize(("persona", "roles"), [("ada", []), ("bruno", []), ("auditor", ["auditor"])])
async def test_only_the_auditor_has_a_role(world: World, persona: str, roles: list[str]) -> None:
    tokens = (await world.redeem(await world.code(persona))).json()
    keys = jws.KeySet.from_jwks((await world.browser.get("/jwks")).content)

    assert jws.verify(tokens["id_token"], keys, None, IdToken).roles == roles


async def test_discovery_document_says_what_the_provider_does(world: World) -> None:
    document = (await world.browser.get("/.well-known/openid-configuration")).json()

    assert document["issuer"] == world.issuer
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["authorization_response_iss_parameter_supported"] is True
    for endpoint in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        assert document[endpoint].startswith(f"{world.issuer}/")


async def test_login_page_says_that_it_is_a_sample_in_both_languages(world: World) -> None:
    page = await world.page()

    assert page.status_code == 200
    for text in ('lang="zh-Hant-TW"', "範例", "SAMPLE", "ADA EXAMPLE", "<legend>", 'value="auditor"'):
        assert text in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:9;" in policy
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "nobody"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": REDIRECT_URI + "/"},
        {"redirect_uri": REDIRECT_URI + "?x=1"},
        {"redirect_uri": REDIRECT_URI.replace("127.0.0.1", "localhost")},
        {"redirect_uri": "https://evil.example/login/callback"},
        {"redirect_uri": f"{REDIRECT_URI}@evil.example"},
        {"state": "x" * 5000},
    ],
)
async def test_request_without_a_safe_way_back_is_answered_on_a_page(
    world: World, changes: dict[str, str | None]
) -> None:
    answer = await world.page(**changes)

    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "evil.example" not in answer.text


async def test_parameter_that_comes_twice_is_answered_on_a_page(world: World) -> None:
    answer = await world.browser.get(f"/authorize?{urlencode(REQUEST)}&redirect_uri=https://evil.example")

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"nonce": None}, "invalid_request"),
        ({"state": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain", "code_challenge": VERIFIER}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"request": "e30.e30."}, "request_not_supported"),
        ({"request_uri": "https://evil.example/r"}, "request_uri_not_supported"),
        ({"prompt": "none"}, "login_required"),
    ],
)
async def test_faulty_request_goes_back_to_the_client_with_an_error(
    world: World, changes: dict[str, str | None], error: str
) -> None:
    parameters = parameters_of(await world.page(**changes))

    assert (parameters["error"], parameters["iss"]) == (error, world.issuer)
    assert "code" not in parameters


async def test_choice_from_another_browser_is_refused(world: World) -> None:
    page = await world.page()
    world.browser.cookies.clear()

    assert (await world.choose(page)).status_code == 400


async def test_choice_from_another_site_is_refused(world: World) -> None:
    assert (await world.choose(await world.page(), Origin="https://evil.example")).status_code == 400


async def test_page_is_good_for_one_choice(world: World) -> None:
    page = await world.page()

    assert (await world.choose(page)).status_code == 303
    assert (await world.choose(page)).status_code == 400


async def test_unknown_persona_is_refused(world: World) -> None:
    assert (await world.choose(await world.page(), "mallory")).status_code == 400


async def test_code_is_good_once(world: World) -> None:
    code = await world.code()

    assert (await world.redeem(code)).status_code == 200
    again = await world.redeem(code)
    assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "x" * 43},
        {"code": ""},
        {"redirect_uri": REDIRECT_URI + "/"},
        {"redirect_uri": ""},
        {"code_verifier": secrets.token_urlsafe(32)},
        {"code_verifier": ""},
        {"code_verifier": "short"},
        {"code_verifier": CHALLENGE},
    ],
)
async def test_code_that_does_not_fit_is_refused_and_spent(world: World, changes: dict[str, str]) -> None:
    code = await world.code()
    refused = await world.redeem(code, **changes)

    assert (refused.status_code, refused.json()) == (400, {"error": "invalid_grant"})
    if "code" not in changes:
        assert (await world.redeem(code)).status_code == 400


async def test_code_of_another_client_is_refused(world: World) -> None:
    answer = await world.redeem(await world.code(), client_id="another")

    assert answer.json() == {"error": "invalid_grant"}


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "another"},
        {"sub": "another"},
        {"aud": "https://other.example"},
        {"exp": 1},
        {"exp": 10**10},
        {"exp": None},
        {"jti": None},
    ],
)
async def test_client_with_a_bad_assertion_is_refused(world: World, changes: dict[str, Any]) -> None:
    answer = await world.redeem(await world.code(), client_assertion=world.assertion(**changes))

    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})


async def test_client_by_another_clients_key_is_refused(world: World) -> None:
    forged = world.assertion("another", iss="onestop", sub="onestop")
    answer = await world.redeem(await world.code(), client_assertion=forged)

    assert answer.status_code == 401


async def test_unknown_client_is_refused(world: World) -> None:
    answer = await world.browser.post("/token", data={"client_id": "nobody"})

    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})


async def test_assertion_is_good_once(world: World) -> None:
    assertion = world.assertion()

    assert (await world.redeem(await world.code(), client_assertion=assertion)).status_code == 200
    assert (await world.redeem(await world.code(), client_assertion=assertion)).status_code == 401


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"client_assertion_type": "x"}, "invalid_client"),
        ({"client_assertion": ""}, "invalid_client"),
    ],
)
async def test_token_request_of_another_kind_is_refused(
    world: World, changes: dict[str, str], error: str
) -> None:
    answer = await world.redeem(await world.code(), **changes)

    assert answer.json() == {"error": error}


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"{}", "application/json"),
        (b"\xff", "application/x-www-form-urlencoded"),
        (b"a=1&a=2", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(100)), "application/x-www-form-urlencoded"),
    ],
)
async def test_token_request_that_is_no_form_is_refused(world: World, body: bytes, media_type: str) -> None:
    answer = await world.browser.post("/token", content=body, headers={"Content-Type": media_type})

    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})


async def test_long_body_is_refused(world: World) -> None:
    answer = await world.browser.post("/token", data={"code": "x" * 20_000})

    assert answer.status_code == 413
