"""The authorization code flow as the provider sees it, without HTTP: requests, codes, PKCE.

An authorization request waits for a person to choose who they are, a code for its client to redeem it; both
are taken once, within a time, and there are never more than a bounded number of them.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar
from urllib.parse import urlencode

import msgspec

from adapters.sandbox_idp.clients import Clients
from adapters.sandbox_idp.personas import Persona

WAITING_SECONDS = 600.0
CODE_SECONDS = 60.0
KEPT_MAX = 1_000
PARAMETER_CHARACTERS_MAX = 4_096
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # S256: 32 bytes in unpadded base64url
VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")  # RFC 7636, section 4.1

T = TypeVar("T")


class AuthorizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was found good."""

    client_id: str
    redirect_uri: str
    state: str
    nonce: str
    code_challenge: str


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """What a code stands for."""

    request: AuthorizationRequest
    persona: Persona
    auth_time: int


class PageError(Exception):
    """The request cannot be trusted with a redirect: the person is told on a page of ours."""


class AuthorizationError(Exception):
    """The client is told by a redirect: `error` is a word of RFC 6749, section 4.1.2.1, or of OpenID's."""

    def __init__(self, error: str, redirect_uri: str, state: str) -> None:
        super().__init__(error)
        self.error = error
        self.redirect_uri = redirect_uri
        self.state = state


class TakenOnce(Generic[T]):
    """Values that are taken once, by a random key, within `seconds`; past `KEPT_MAX` the oldest goes."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._kept: dict[str, tuple[float, T]] = {}

    def put(self, value: T) -> str:
        """Keep the value; the key to take it with."""
        if len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        key = secrets.token_urlsafe(32)
        self._kept[key] = (self._monotonic(), value)
        return key

    def take(self, key: str) -> T | None:
        """The value, the first time and in time; else None."""
        put_at, value = self._kept.pop(key, (0.0, None))
        return value if value is not None and self._monotonic() - put_at < self._seconds else None


def parse_request(parameters: Sequence[tuple[str, str]], clients: Clients) -> AuthorizationRequest:
    """The authorization request of these parameters. Raises PageError or AuthorizationError.

    Client and redirect address come first: where they are wrong, nothing is sent anywhere.
    """
    given = once(parameters)
    if given is None:
        raise PageError("a parameter comes twice or is too long")
    client = clients.get(given.get("client_id", ""))
    if client is None:
        raise PageError("the client is not known here")
    redirect_uri = given.get("redirect_uri", "")
    if redirect_uri not in client.redirect_uris:
        raise PageError("the redirect address is not the client's")
    error = _fault_of(given)
    if error is not None:
        raise AuthorizationError(error, redirect_uri, given.get("state", ""))
    return AuthorizationRequest(
        client_id=client.client_id,
        redirect_uri=redirect_uri,
        state=given["state"],
        nonce=given["nonce"],
        code_challenge=given["code_challenge"],
    )


def _fault_of(given: Mapping[str, str]) -> str | None:
    """What is wrong with a request whose client and redirect address are right."""
    good = {
        "request_not_supported": "request" not in given,
        "request_uri_not_supported": "request_uri" not in given,
        "unsupported_response_type": given.get("response_type") == "code",
        "invalid_scope": "openid" in given.get("scope", "").split(" "),
        "login_required": given.get("prompt") != "none",
        "invalid_request": (
            given.get("code_challenge_method") == "S256"
            and CHALLENGE.fullmatch(given.get("code_challenge", "")) is not None
            and given.get("response_mode", "query") == "query"
            and bool(given.get("state"))
            and bool(given.get("nonce"))
        ),
    }
    return next((error for error, holds in good.items() if not holds), None)


def once(parameters: Sequence[tuple[str, str]]) -> dict[str, str] | None:
    """The parameters by name; None where one comes twice (RFC 6749, section 3.1) or is too long."""
    given = dict(parameters)
    too_long = any(len(value) > PARAMETER_CHARACTERS_MAX for value in given.values())
    return None if len(given) != len(parameters) or too_long else given


def proves(verifier: str, challenge: str) -> bool:
    """Whether the verifier is the one that the challenge was made of (RFC 7636, section 4.6)."""
    if not VERIFIER.fullmatch(verifier):
        return False
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    computed = base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
    return hmac.compare_digest(computed, challenge)


def response_url(redirect_uri: str, **parameters: str) -> str:
    """The redirect address with the response's parameters."""
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(parameters)}"
