"""The identity provider as we see it over HTTP: what it publishes, and its token endpoint.

Discovery (OpenID Connect Discovery 1.0) is pinned: the document must name exactly the configured issuer, its
endpoints must stand on the issuer's own origin, and it must offer everything that our login relies on. So a
changed document can send neither browsers nor codes elsewhere. Document and keys are read together and kept
for five minutes; a token that fails may cause an earlier reading, though not more than one in ten seconds.

Every exchange is bounded in time and size; redirects are not followed, proxies of the environment not used,
compressed answers refused.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from consent.errors import TokenRefused
from consent.jws import KeySet
from gateway.identity.errors import LoginRefused, ProviderUnavailable

WAIT_SECONDS_MAX = 5.0  # for one step: connect, write, read
EXCHANGE_SECONDS_MAX = 10.0  # for one request and its answer
CONNECTIONS_MAX = 8
ANSWER_BYTES_MAX = 64 * 1024
PUBLISHED_SECONDS_MAX = 300.0
READ_AGAIN_SECONDS_MIN = 10.0
DISCOVERY_PATH = "/.well-known/openid-configuration"

T = TypeVar("T")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The members of the discovery document that we use; a provider publishes more."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    response_types_supported: tuple[str, ...]
    id_token_signing_alg_values_supported: tuple[str, ...]
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """The member of a token response that we use: there is nothing we would do with an access token."""

    id_token: str


class TokenError(msgspec.Struct, frozen=True, kw_only=True):
    """The error answer of a token endpoint (RFC 6749, section 5.2)."""

    error: str


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider published when it was last read; `read_at` in seconds of the monotonic clock."""

    metadata: Metadata
    keys: KeySet
    read_at: float


class Provider:
    """One OpenID provider."""

    def __init__(self, issuer: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.issuer = issuer
        self._monotonic = monotonic  # seconds
        self._http = httpx.AsyncClient(
            transport=AiohttpTransport(limits=httpx.Limits(max_connections=CONNECTIONS_MAX)),
            timeout=httpx.Timeout(WAIT_SECONDS_MAX),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            follow_redirects=False,
            trust_env=False,
        )
        self._published: Published | None = None
        self._reading = asyncio.Lock()

    async def published(self, wanting: Published | None = None) -> Published:
        """Document and keys, kept or read. `wanting` is a set in which the caller did not find its key.

        Raises ProviderUnavailable.
        """
        async with self._reading:
            kept, now = self._published, self._monotonic()
            if kept is not None:
                age = now - kept.read_at
                refused = wanting is kept and age >= READ_AGAIN_SECONDS_MIN
                if age < PUBLISHED_SECONDS_MAX and not refused:
                    return kept
            self._published = await self._read()
            return self._published

    async def redeem(self, form: Mapping[str, str]) -> Tokens:
        """Exchange a code at the token endpoint. Raises LoginRefused where the provider refuses the code.

        Never tried twice: a code is good once (RFC 6749, section 4.1.2).
        """
        published = await self.published()
        status, content = await self._exchange("POST", published.metadata.token_endpoint, form)
        if status == httpx.codes.OK:
            return _decode(content, Tokens)
        if status == httpx.codes.BAD_REQUEST and _decode(content, TokenError).error == "invalid_grant":
            raise LoginRefused("the provider refused the code")
        raise ProviderUnavailable(f"the token endpoint answered {status}")

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def _read(self) -> Published:
        metadata = _decode(await self._get(self.issuer.rstrip("/") + DISCOVERY_PATH), Metadata)
        _check(metadata, self.issuer)
        try:
            keys = KeySet.from_jwks(await self._get(metadata.jwks_uri))
        except TokenRefused as error:
            raise ProviderUnavailable("the provider's key set cannot be used") from error
        return Published(metadata=metadata, keys=keys, read_at=self._monotonic())

    async def _get(self, url: str) -> bytes:
        status, content = await self._exchange("GET", url, None)
        if status != httpx.codes.OK:
            raise ProviderUnavailable(f"the provider answered {status} instead of a document")
        return content

    async def _exchange(self, method: str, url: str, form: Mapping[str, str] | None) -> tuple[int, bytes]:
        content = bytearray()
        try:
            async with (
                asyncio.timeout(EXCHANGE_SECONDS_MAX),
                self._http.stream(method, url, data=form) as response,
            ):
                if "content-encoding" in response.headers:
                    raise ProviderUnavailable("the provider compressed its answer, which we asked it not to")
                async for chunk in response.aiter_raw():
                    content += chunk
                    if len(content) > ANSWER_BYTES_MAX:
                        raise ProviderUnavailable(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
                return response.status_code, bytes(content)
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            raise ProviderUnavailable(f"no answer from the provider: {type(error).__name__}") from error


def _decode(content: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderUnavailable(f"the provider's answer is not a {type_.__name__}") from error


def _check(metadata: Metadata, issuer: str) -> None:
    """Refuse a document of another issuer, with endpoints elsewhere, or without what our login relies on."""
    if metadata.issuer != issuer:
        raise ProviderUnavailable("the discovery document names another issuer")
    origin = origin_of(issuer)
    for endpoint in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri):
        if origin_of(endpoint) != origin:
            raise ProviderUnavailable("an endpoint stands outside the issuer's origin")
    needed = {
        "response type code": "code" in metadata.response_types_supported,
        "ID tokens signed with ES256": "ES256" in metadata.id_token_signing_alg_values_supported,
        "PKCE with S256": "S256" in metadata.code_challenge_methods_supported,
        "private_key_jwt": "private_key_jwt" in metadata.token_endpoint_auth_methods_supported,
        "iss in its responses": metadata.authorization_response_iss_parameter_supported,
    }
    missing = [name for name, offered in needed.items() if not offered]
    if missing:
        raise ProviderUnavailable(f"the provider does not offer {', '.join(missing)}")


def origin_of(url: str) -> str:
    """Scheme, host and port of an address (RFC 6454)."""
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
