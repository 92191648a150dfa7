"""The provider's HTTP surface: discovery, keys, the authorization and token endpoints, and the login page."""

import datetime as dt
import hmac
import importlib.resources
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jinja2
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import CacheControlHeader, Cookie
from litestar.di import NamedDependency, Provide
from litestar.response import Redirect

from adapters.sandbox_idp.clients import ClientRefused, Clients, IdpConfig
from adapters.sandbox_idp.flow import (
    CODE_SECONDS,
    WAITING_SECONDS,
    AuthorizationError,
    AuthorizationRequest,
    Code,
    PageError,
    TakenOnce,
    once,
    parse_request,
    proves,
    response_url,
)
from adapters.sandbox_idp.personas import PERSONAS
from consent import jws
from consent.keys import FileKeyStore

BODY_BYTES_MAX = 16 * 1024
FIELDS_MAX = 32
ID_TOKEN_SECONDS = 300
BROWSER_COOKIE = "sandbox_idp_browser"
TEMPLATE = jinja2.Environment(autoescape=True).from_string(
    importlib.resources.files("adapters.sandbox_idp").joinpath("login.html").read_text("utf-8")
)

AnyRequest = Request[Any, Any, Any]


class Idp:
    """What one provider keeps: its key, its clients, and the logins and codes that are under way."""

    def __init__(self, config: IdpConfig) -> None:
        self.issuer = config.issuer
        self.clients = Clients(config)
        self.key = FileKeyStore(config.folder).signing_key("sandbox-idp")
        self.waiting: TakenOnce[tuple[str, AuthorizationRequest]] = TakenOnce(WAITING_SECONDS)
        self.codes: TakenOnce[Code] = TakenOnce(CODE_SECONDS)

    def id_token(self, code: Code) -> str:
        """The ID token (OpenID Connect Core, section 2) for a redeemed code."""
        now = int(dt.datetime.now(dt.UTC).timestamp())
        claims = {
            **code.persona.claims(),
            "iss": self.issuer,
            "aud": code.request.client_id,
            "azp": code.request.client_id,
            "nonce": code.request.nonce,
            "auth_time": code.auth_time,
            "iat": now,
            "exp": now + ID_TOKEN_SECONDS,
        }
        return jws.sign(claims, self.key, "JWT")


class TokenRefusal(Exception):
    """The token endpoint's error answer (RFC 6749, section 5.2)."""

    def __init__(self, error: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.status = status


@get("/.well-known/openid-configuration")
async def discovery(idp: NamedDependency[Idp]) -> dict[str, Any]:
    """OpenID Connect Discovery 1.0, section 3."""
    return {
        "issuer": idp.issuer,
        "authorization_endpoint": f"{idp.issuer}/authorize",
        "token_endpoint": f"{idp.issuer}/token",
        "jwks_uri": f"{idp.issuer}/jwks",
        "scopes_supported": ["openid", "profile"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "ui_locales_supported": ["zh-TW", "en"],
    }


@get("/jwks")
async def keys(idp: NamedDependency[Idp]) -> dict[str, Any]:
    """The public key that ID tokens are signed with."""
    return jws.jwks([idp.key.public_key()])


@get("/authorize")
async def authorize(request: AnyRequest, idp: NamedDependency[Idp]) -> Response[Any]:
    """Check the request and show the login page; a fault goes back to the client where that is safe."""
    try:
        wanted = parse_request(list(request.query_params.multi_items()), idp.clients)
    except PageError as error:
        return _page(400, problem=str(error))
    except AuthorizationError as error:
        parameters = {"error": error.error, "state": error.state, "iss": idp.issuer}
        return Redirect(response_url(error.redirect_uri, **parameters), status_code=303)
    browser = secrets.token_urlsafe(32)
    response = _page(
        200,
        redirect_uri=wanted.redirect_uri,
        request=idp.waiting.put((browser, wanted)),
        personas=list(PERSONAS.values()),
    )
    response.cookies.append(
        Cookie(
            key=BROWSER_COOKIE,
            value=browser,
            path="/",
            max_age=int(WAITING_SECONDS),
            httponly=True,
            samesite="strict",
            secure=idp.issuer.startswith("https:"),
        )
    )
    return response


@post("/login", status_code=303)
async def login(request: AnyRequest, idp: NamedDependency[Idp]) -> Response[Any]:
    """Take the chosen persona from our own page in the same browser, and send a code to the client."""
    form = await _form(request)
    waiting = idp.waiting.take(form.get("request", "")) if form else None
    persona = PERSONAS.get(form.get("persona", "")) if form else None
    if waiting is None or persona is None:
        return _page(400, problem="the page is too old or was used before")
    browser, wanted = waiting
    same_browser = hmac.compare_digest(request.cookies.get(BROWSER_COOKIE, "").encode(), browser.encode())
    if not same_browser or request.headers.get("Origin", idp.issuer) != idp.issuer:
        return _page(400, problem="the page was shown to another browser")
    auth_time = int(dt.datetime.now(dt.UTC).timestamp())
    code = idp.codes.put(Code(request=wanted, persona=persona, auth_time=auth_time))
    parameters = {"code": code, "state": wanted.state, "iss": idp.issuer}
    return Redirect(response_url(wanted.redirect_uri, **parameters), status_code=303)


@post("/token", status_code=200)
async def token(request: AnyRequest, idp: NamedDependency[Idp]) -> dict[str, Any]:
    """Redeem a code. Raises TokenRefusal."""
    form = await _form(request)
    if form is None:
        raise TokenRefusal("invalid_request")
    try:
        client = await idp.clients.authenticate(
            form.get("client_id", ""), form.get("client_assertion_type", ""), form.get("client_assertion", "")
        )
    except ClientRefused as error:
        raise TokenRefusal("invalid_client", 401) from error
    if form.get("grant_type") != "authorization_code":
        raise TokenRefusal("unsupported_grant_type")
    # Taken before it is checked: a code that reached another client must not be of use to anybody.
    code = idp.codes.take(form.get("code", ""))
    redeemable = (
        code is not None
        and code.request.client_id == client.client_id
        and code.request.redirect_uri == form.get("redirect_uri")
        and proves(form.get("code_verifier", ""), code.request.code_challenge)
    )
    if code is None or not redeemable:
        raise TokenRefusal("invalid_grant")
    return {
        # The protocol wants an access token (OpenID Connect Core, 3.1.3.3); this one opens nothing.
        "access_token": secrets.token_urlsafe(32),
        "token_type": "Bearer",
        "expires_in": ID_TOKEN_SECONDS,
        "id_token": idp.id_token(code),
    }


def create_app(config: IdpConfig) -> Litestar:
    """The provider as an ASGI application; its keys are made in the folder at the first start."""
    idp = Idp(config)
    return Litestar(
        route_handlers=[discovery, keys, authorize, login, token],
        dependencies={"idp": Provide(lambda: idp, sync_to_thread=False)},
        exception_handlers={TokenRefusal: _answer_refusal},
        request_max_body_size=BODY_BYTES_MAX,
        cache_control=CacheControlHeader(no_store=True),
        openapi_config=None,
    )


def _answer_refusal(request: AnyRequest, error: TokenRefusal) -> Response[dict[str, str]]:
    return Response({"error": error.error}, status_code=error.status, headers={"Cache-Control": "no-store"})


async def _form(request: AnyRequest) -> dict[str, str] | None:
    """The form's fields by name; None where it is no form, or one field comes twice."""
    if request.content_type[0] != "application/x-www-form-urlencoded":
        return None
    try:
        fields = parse_qsl((await request.body()).decode("ascii"), max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        return None
    return once(fields)


def _page(status: int, *, redirect_uri: str = "", **content: Any) -> Response[Any]:
    """The login page. Its form may lead to the client, so that the policy names the client's origin."""
    nonce = secrets.token_urlsafe(16)
    client = urlsplit(redirect_uri)
    form_action = f"'self' {client.scheme}://{client.netloc}" if redirect_uri else "'none'"
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action {form_action}; frame-ancestors 'none'"
    )
    return Response(
        TEMPLATE.render(style_nonce=nonce, **content),
        status_code=status,
        media_type="text/html; charset=utf-8",
        headers={
            "Content-Security-Policy": f"{policy}; base-uri 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
        },
    )
