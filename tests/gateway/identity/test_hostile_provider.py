"""A provider that lies: ID tokens, documents and answers that must lead to no session, and to no 500."""

import base64
import contextlib
import dataclasses
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from litestar import Litestar, Request, Response, get, post
from litestar.response import Redirect

from consent import jws
from consent.database import machine_time
from consent.keys import Vault
from gateway.db import SqlDatabase
from tests.gateway.identity.conftest import CLIENT_ID, Site, listen, running_gateway, serving, session_of

Claims = dict[str, Any]


@dataclasses.dataclass
class Hostile:
    """A provider whose every answer the test may bend."""

    issuer: str
    now: int
    key: ec.EllipticCurvePrivateKey = dataclasses.field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    bend_metadata: Callable[[dict[str, Any]], Any] = lambda document: document
    bend_claims: Callable[[Claims], Claims] = lambda claims: claims
    published: list[ec.EllipticCurvePrivateKey] | None = None
    sign: Callable[[Claims, ec.EllipticCurvePrivateKey], str] = lambda claims, key: jws.sign(
        claims, key, "JWT"
    )
    token_answer: Callable[[str], Response[Any]] = lambda id_token: Response(
        {"id_token": id_token, "access_token": "x", "token_type": "Bearer"}
    )
    jwks_answer: Callable[[dict[str, Any]], Response[Any]] = Response
    redeemed: int = 0
    jwks_read: int = 0
    form: str = ""
    nonce: str = ""

    def metadata(self) -> Any:
        """What it publishes."""
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "authorization_response_iss_parameter_supported": True,
        }
        return self.bend_metadata(document)

    def id_token(self) -> str:
        """A token that would be good, bent."""
        claims = {
            "iss": self.issuer,
            "sub": "somebody",
            "aud": CLIENT_ID,
            "iat": self.now,
            "exp": self.now + 300,
            "auth_time": self.now,
            "nonce": self.nonce,
            "acr": "substantial",
            "amr": ["pwd"],
            "means": "foreign_passport_account",
            "family_name": "SECRETNAME",
        }
        return self.sign(self.bend_claims(claims), self.key)

    def app(self) -> Litestar:
        """The provider as an application."""

        @get("/.well-known/openid-configuration")
        async def discovery() -> Response[Any]:
            document = self.metadata()
            return document if isinstance(document, Response) else Response(document)

        @get("/jwks")
        async def keys() -> Response[Any]:
            self.jwks_read += 1
            published = [self.key] if self.published is None else self.published
            return self.jwks_answer(jws.jwks([key.public_key() for key in published]))

        @get("/authorize")
        async def authorize(request: Request[Any, Any, Any]) -> Redirect:
            query = request.query_params
            self.nonce = query["nonce"]
            answer = {"code": "c", "state": query["state"], "iss": self.issuer}
            return Redirect(query["redirect_uri"], query_params=answer)

        @post("/token", status_code=200)
        async def token(request: Request[Any, Any, Any]) -> Response[Any]:
            self.redeemed += 1
            self.form = (await request.body()).decode()
            return self.token_answer(self.id_token())

        return Litestar(route_handlers=[discovery, keys, authorize, token], openapi_config=None, debug=False)


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclasses.dataclass(frozen=True)
class Stage:
    """A gateway that trusts the hostile provider."""

    site: Site
    hostile: Hostile
    clock: Clock

    async def log_in(self) -> httpx.Response:
        """One login; the gateway's last answer. No session may come of a refusal."""
        async with self.site.browser() as browser:
            begun = await browser.get("/login")
            if begun.status_code != 302:
                return begun
            back = await browser.get(begun.headers["location"])
            answer = await browser.get(back.headers["location"])
            session = await session_of(browser)
        assert session["authenticated"] is (answer.status_code == 303)
        assert "SECRETNAME" not in answer.text
        return answer


@pytest.fixture
async def stage(sqlite: SqlDatabase, vault: Vault) -> AsyncIterator[Stage]:
    """A gateway and a hostile provider that is still behaving."""
    listening, issuer = listen()
    async with sqlite.read() as conn:
        now = int((await machine_time(conn)).timestamp())
    hostile, clock = Hostile(issuer, now), Clock()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(serving(hostile.app(), listening))
        site = await stack.enter_async_context(running_gateway(sqlite, vault, issuer, monotonic=clock))
        yield Stage(site, hostile, clock)


def unsigned(claims: Claims, key: ec.EllipticCurvePrivateKey) -> str:
    """The claims under `alg: none`."""
    header = {"alg": "none", "typ": "JWT"}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    return b".".join([*parts, b""]).decode()


def signed_by_another(claims: Claims, key: ec.EllipticCurvePrivateKey) -> str:
    """The claims under a key that nobody published."""
    return jws.sign(claims, ec.generate_private_key(ec.SECP256R1()), "JWT")


def changed_after_signing(claims: Claims, key: ec.EllipticCurvePrivateKey) -> str:
    """The claims with a signature of others."""
    header, _, signature = jws.sign(claims, key, "JWT").split(".")
    other = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "other"}).encode()).rstrip(b"=").decode()
    return f"{header}.{other}.{signature}"


async def test_well_behaved_provider_leads_to_a_session(stage: Stage) -> None:
    assert (await stage.log_in()).status_code == 303
    assert "code_verifier=" in stage.hostile.form
    assert "client_assertion=" in stage.hostile.form
    assert "client_secret" not in stage.hostile.form


@pytest.mark.parametrize(
    "bend",
    [
        pytest.param(lambda c: c | {"iss": "https://other.example"}, id="of another issuer"),
        pytest.param(lambda c: c | {"iss": c["iss"] + "/"}, id="issuer with a slash"),
        pytest.param(lambda c: c | {"aud": "another-client"}, id="for another client"),
        pytest.param(lambda c: c | {"aud": [CLIENT_ID]}, id="audience as a list"),
        pytest.param(lambda c: c | {"aud": [CLIENT_ID, "another"]}, id="for two clients"),
        pytest.param(lambda c: c | {"aud": CLIENT_ID.upper()}, id="audience in capitals"),
        pytest.param(lambda c: c | {"azp": "another-client"}, id="authorized for another"),
        pytest.param(lambda c: c | {"nonce": "another"}, id="nonce of another login"),
        pytest.param(lambda c: c | {"nonce": ""}, id="empty nonce"),
        pytest.param(lambda c: c | {"exp": c["iat"] - 11}, id="expired"),
        pytest.param(lambda c: c | {"exp": None}, id="exp null"),
        pytest.param(lambda c: c | {"exp": str(c["exp"])}, id="exp a string"),
        pytest.param(lambda c: c | {"exp": 10**30}, id="exp beyond all time"),
        pytest.param(lambda c: c | {"exp": -1}, id="exp negative"),
        pytest.param(lambda c: c | {"iat": c["iat"] + 60}, id="issued in the future"),
        pytest.param(lambda c: c | {"iat": c["iat"] - 3600}, id="issued long ago"),
        pytest.param(lambda c: c | {"auth_time": c["iat"] + 60}, id="authenticated in the future"),
        pytest.param(lambda c: c | {"auth_time": c["iat"] - 13 * 3600}, id="authenticated too long ago"),
        pytest.param(lambda c: c | {"sub": ""}, id="empty subject"),
        pytest.param(lambda c: c | {"sub": "s" * 256}, id="long subject"),
        pytest.param(lambda c: c | {"sub": 7}, id="subject a number"),
        pytest.param(lambda c: c | {"amr": []}, id="no method"),
        pytest.param(lambda c: c | {"amr": "pwd"}, id="method a string"),
        pytest.param(lambda c: c | {"family_name": "N" * 101}, id="long name"),
        pytest.param(lambda c: c | {"birthdate": "29.2.1988"}, id="birthdate of another form"),
        *(
            pytest.param(lambda c, n=name: {k: v for k, v in c.items() if k != n}, id=f"without {name}")
            for name in ("iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "means")
        ),
    ],
)
async def test_id_token_with_wrong_claims_is_refused(stage: Stage, bend: Callable[[Claims], Claims]) -> None:
    stage.hostile.bend_claims = bend

    assert (await stage.log_in()).status_code == 400


@pytest.mark.parametrize("sign", [unsigned, signed_by_another, changed_after_signing])
async def test_id_token_that_the_provider_did_not_sign_is_refused(
    stage: Stage, sign: Callable[[Claims, ec.EllipticCurvePrivateKey], str]
) -> None:
    stage.hostile.sign = sign

    assert (await stage.log_in()).status_code == 400


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "." * 3, "é.é.é", "A" * 20_000])
async def test_id_token_that_is_none_is_refused(stage: Stage, token: str) -> None:
    stage.hostile.sign = lambda claims, key: token

    assert (await stage.log_in()).status_code == 400


async def test_token_of_another_type_is_refused(stage: Stage) -> None:
    stage.hostile.sign = lambda claims, key: jws.sign(claims, key, "at+jwt")

    assert (await stage.log_in()).status_code == 400


async def test_roles_that_mean_nothing_here_are_dropped(stage: Stage) -> None:
    stage.hostile.bend_claims = lambda claims: claims | {"roles": ["operator", "auditor", "*"]}
    async with stage.site.browser() as browser:
        begun = await browser.get("/login")
        back = await browser.get(begun.headers["location"])
        await browser.get(back.headers["location"])

        assert (await session_of(browser))["roles"] == ["auditor"]


@pytest.mark.parametrize(
    "bend",
    [
        pytest.param(lambda d: d | {"issuer": "https://other.example"}, id="another issuer"),
        pytest.param(lambda d: d | {"token_endpoint": "http://127.0.0.1:1/token"}, id="tokens elsewhere"),
        pytest.param(
            lambda d: d | {"authorization_endpoint": "https://evil.example/a"}, id="login elsewhere"
        ),
        pytest.param(lambda d: d | {"authorization_endpoint": "javascript:alert(1)"}, id="login a script"),
        pytest.param(lambda d: d | {"jwks_uri": "http://169.254.169.254/jwks"}, id="keys elsewhere"),
        pytest.param(lambda d: d | {"jwks_uri": "http://["}, id="keys at no address"),
        pytest.param(lambda d: d | {"code_challenge_methods_supported": ["plain"]}, id="plain PKCE"),
        pytest.param(lambda d: d | {"id_token_signing_alg_values_supported": ["none"]}, id="unsigned tokens"),
        pytest.param(lambda d: d | {"token_endpoint_auth_methods_supported": []}, id="no private_key_jwt"),
        pytest.param(
            lambda d: d | {"authorization_response_iss_parameter_supported": False}, id="no iss in responses"
        ),
        pytest.param(lambda d: {}, id="an empty document"),
        pytest.param(lambda d: Response(d, status_code=500), id="an error"),
        pytest.param(lambda d: Redirect("https://evil.example/"), id="a redirect"),
        pytest.param(lambda d: Response(b"[" * 60_000, media_type="application/json"), id="deep nesting"),
        pytest.param(lambda d: Response(b" " * 70_000 + b"{}", media_type="application/json"), id="too long"),
        pytest.param(
            lambda d: Response(gzip.compress(json.dumps(d).encode()), headers={"Content-Encoding": "gzip"}),
            id="compressed",
        ),
    ],
)
async def test_bent_discovery_document_is_not_used(
    stage: Stage, bend: Callable[[dict[str, Any]], Any]
) -> None:
    stage.hostile.bend_metadata = bend

    answer = await stage.log_in()

    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert stage.hostile.redeemed == 0


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(Response({"error": "invalid_grant"}, status_code=400), 400, id="code refused"),
        pytest.param(Response({"error": "invalid_client"}, status_code=401), 503, id="client refused"),
        pytest.param(Response({"error": 7}, status_code=400), 503, id="no error word"),
        pytest.param(Response("down", status_code=500), 503, id="an error"),
        pytest.param(Response("hello", media_type="text/html"), 503, id="no JSON"),
        pytest.param(Response({}), 503, id="no token"),
        pytest.param(Redirect("https://evil.example/"), 503, id="a redirect"),
        pytest.param(Response(b"x" * 1_000_000), 503, id="too long"),
    ],
)
async def test_token_endpoint_that_gives_no_token_leads_to_no_session(
    stage: Stage, answer: Response[Any], status: int
) -> None:
    stage.hostile.token_answer = lambda id_token: answer

    assert (await stage.log_in()).status_code == status
    assert stage.hostile.redeemed == 1


@pytest.mark.parametrize(
    "document", [{}, {"keys": "x"}, {"keys": [{"kty": "oct", "k": "AAAA"}]}, {"keys": [{"kty": "EC"}] * 50}]
)
async def test_bent_key_set_is_not_used(stage: Stage, document: dict[str, Any]) -> None:
    stage.hostile.jwks_answer = lambda keys: Response(document)

    assert (await stage.log_in()).status_code == 503


async def test_keys_are_kept_for_five_minutes(stage: Stage) -> None:
    for moved, reads in ((0, 1), (299, 1), (2, 2)):
        stage.clock.seconds += moved
        await stage.log_in()

        assert stage.hostile.jwks_read == reads


async def test_new_key_of_the_provider_is_read_though_not_more_than_once_in_ten_seconds(stage: Stage) -> None:
    await stage.log_in()
    stage.hostile.key = ec.generate_private_key(ec.SECP256R1())
    too_soon = await stage.log_in()
    reads_too_soon = stage.hostile.jwks_read
    stage.clock.seconds += 10
    in_time = await stage.log_in()

    assert (too_soon.status_code, reads_too_soon) == (400, 1)
    assert (in_time.status_code, stage.hostile.jwks_read) == (303, 2)


async def test_token_by_a_withdrawn_key_is_refused(stage: Stage) -> None:
    await stage.log_in()
    stage.hostile.published = [ec.generate_private_key(ec.SECP256R1())]
    stage.clock.seconds += 300

    assert (await stage.log_in()).status_code == 400


async def test_provider_that_is_away_is_503(sqlite: SqlDatabase, vault: Vault) -> None:
    listening, nobody = listen()
    listening.close()
    async with running_gateway(sqlite, vault, nobody) as site, site.browser() as browser:
        answer = await browser.get("/login")

    assert answer.status_code == 503
    assert nobody not in answer.text
