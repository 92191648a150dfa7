"""Who may use this provider, and how a client shows that it is who it says (RFC 7523, private_key_jwt)."""

import asyncio
import datetime as dt
from pathlib import Path

import httpx
import msgspec

from consent import jws
from consent.errors import TokenRefused
from consent.jws import KeySet

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS_MAX = 300
SKEW_SECONDS = 10
JWKS_SECONDS_MAX = 5.0
JWKS_BYTES_MAX = 64 * 1024
ASSERTIONS_KEPT_MAX = 10_000


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """One client; redirect addresses are compared to the letter."""

    client_id: str
    redirect_uris: tuple[str, ...]
    jwks_url: str


class IdpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Set-up of the provider: `issuer` is its address without a path; its keys are made in `folder`."""

    issuer: str
    clients: tuple[Client, ...]
    folder: Path


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says to show who it is (RFC 7523, section 3)."""

    iss: str
    sub: str
    aud: str
    jti: str
    exp: int
    iat: int


class ClientRefused(Exception):
    """The client did not show who it is: `invalid_client`."""


class Clients:
    """The clients of one provider; each assertion is taken once."""

    def __init__(self, config: IdpConfig) -> None:
        self._issuer = config.issuer
        self._clients = {client.client_id: client for client in config.clients}
        self._taken: dict[tuple[str, str], float] = {}

    def get(self, client_id: str) -> Client | None:
        """The client of this id."""
        return self._clients.get(client_id)

    async def authenticate(self, client_id: str, assertion_type: str, assertion: str) -> Client:
        """The client that the assertion speaks for. Raises ClientRefused."""
        client = self._clients.get(client_id)
        if client is None or assertion_type != ASSERTION_TYPE:
            raise ClientRefused("unknown client, or another method than private_key_jwt")
        try:
            claims = jws.verify(assertion, await _keys_of(client), "JWT", Assertion)
        except TokenRefused as error:
            raise ClientRefused("the assertion was refused") from error
        now = dt.datetime.now(dt.UTC).timestamp()
        if claims.iss != client_id or claims.sub != client_id or claims.aud != self._issuer:
            raise ClientRefused("the assertion is of another client or for another provider")
        if not now - SKEW_SECONDS < claims.exp <= now + ASSERTION_SECONDS_MAX + SKEW_SECONDS:
            raise ClientRefused("the assertion has expired or lives too long")
        self._take((client_id, claims.jti), claims.exp, now)
        return client

    def _take(self, assertion: tuple[str, str], expires_at: float, now: float) -> None:
        if len(self._taken) >= ASSERTIONS_KEPT_MAX:
            self._taken = {key: end for key, end in self._taken.items() if end > now - SKEW_SECONDS}
        if assertion in self._taken or len(self._taken) >= ASSERTIONS_KEPT_MAX:
            raise ClientRefused("the assertion was used before")
        self._taken[assertion] = expires_at


async def _keys_of(client: Client) -> KeySet:
    """The client's keys, read anew each time: a sandbox is asked seldom, and a new key counts at once."""
    content = bytearray()
    try:
        async with (
            asyncio.timeout(JWKS_SECONDS_MAX),
            httpx.AsyncClient(trust_env=False, follow_redirects=False) as http,
            http.stream("GET", client.jwks_url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            response.raise_for_status()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > JWKS_BYTES_MAX:
                    raise ClientRefused("the client's key set is too long")
    except (httpx.HTTPError, OSError) as error:
        raise ClientRefused("the client's key set cannot be read") from error
    return KeySet.from_jwks(bytes(content))
