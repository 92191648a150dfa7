"""What an agency knows of the gateway: its keys, its status lists, its documents, and where to answer.

One origin is pinned in the set-up. Keys, status lists and documents are fetched from there alone, and answers
are posted there alone, whatever a token or a request says. Every fetch has a time-out, a size bound and a
bound on attempts.
"""

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from adapters.contract import CALLBACK_COMPONENTS, DOCUMENT_COMPONENTS
from adapters.sandbox_kit.config import Clock, SandboxConfig
from adapters.sandbox_kit.problems import Problem
from adapters.signatures import sign, thumbprint
from adapters.vocabulary import DocumentReference
from consent.verifier import StatusList, VerificationError

TIMEOUT_SECONDS = 5.0
KEYS_BYTES_MAX = 64 * 1024
STATUS_BYTES_MAX = 256 * 1024
DOCUMENT_BYTES_MAX = 10 * 1024 * 1024
STATUS_LISTS_MAX = 64
KEYS_SECONDS = 300.0
KEYS_AGAIN_SECONDS = 2.0  # a signature by an unknown key makes us look again, but not more often
FETCH_ATTEMPTS_MAX = 4
DELIVERY_ATTEMPTS_MAX = 12
BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 20.0

log = structlog.get_logger(__name__)


class GatewayKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's key set as published, and the keys in it by id."""

    document: Mapping[str, Any]
    public: Mapping[str, ec.EllipticCurvePublicKey]
    fetched_at: float  # of the monotonic clock


class GatewayLink:
    """All traffic from the agencies to the gateway."""

    def __init__(self, config: SandboxConfig, clock: Clock) -> None:
        self.origin = config.gateway_issuer
        self.clock = clock
        self._jwks_url = config.gateway_jwks_url or f"{config.gateway_issuer}/oauth/jwks"
        self._pinned = frozenset(config.gateway_thumbprints)
        self._status_seconds = config.status_list_seconds
        self._status_uri = re.compile(re.escape(self.origin) + r"/oauth/status/[0-9]{1,9}")
        self._keys: GatewayKeys | None = None
        self._status_lists: dict[str, tuple[float, StatusList]] = {}
        self._lock = asyncio.Lock()
        self._http = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def keys(self, seconds_max: float = KEYS_SECONDS) -> GatewayKeys:
        """The gateway's keys, at most so many seconds old. Raises Problem (503) where they cannot be had."""
        async with self._lock:
            if self._keys is None or time.monotonic() - self._keys.fetched_at > seconds_max:
                self._keys = self._read_keys(await self._fetch(self._jwks_url, KEYS_BYTES_MAX))
            return self._keys

    async def status_list(self, uri: str) -> StatusList:
        """The status list at `uri`, at most a minute old. Raises Problem: in doubt nothing is answered."""
        if not self._status_uri.fullmatch(uri):
            raise Problem(401, "token-refused")
        keys = await self.keys()
        async with self._lock:
            fetched_at, known = self._status_lists.get(uri, (0.0, None))
            if known is not None and time.monotonic() - fetched_at <= self._status_seconds:
                return known
            token = (await self._fetch(uri, STATUS_BYTES_MAX)).decode("ascii", "replace")
            try:
                fresh = StatusList.from_token(token, keys.document, uri, self.clock.now().timestamp())
            except VerificationError as error:
                raise Problem(503, "status-list-refused", retry_after_seconds=1) from error
            if len(self._status_lists) >= STATUS_LISTS_MAX:
                self._status_lists.clear()
            self._status_lists[uri] = (time.monotonic(), fresh)
            return fresh

    async def document(
        self, call: UUID, reference: DocumentReference, key: ec.EllipticCurvePrivateKey
    ) -> bytes:
        """The content of a document that the call names, checked against it. Raises Problem."""
        url = f"{self.origin}/agency/v1/calls/{call}/documents/{reference.document}"
        content = await self._fetch(url, min(reference.size, DOCUMENT_BYTES_MAX), key)
        if len(content) != reference.size or hashlib.sha256(content).hexdigest() != reference.sha256:
            raise Problem(503, "document-differs", "The content is not the one that the call names.")
        return content

    def check_callback(self, url: str) -> None:
        """Refuse to answer anywhere but at the pinned gateway. Raises Problem."""
        if not url.startswith(f"{self.origin}/agency/v1/"):
            raise Problem(422, "callback-elsewhere", "The callback is not at the gateway.")

    async def post(self, url: str, body: bytes, key: ec.EllipticCurvePrivateKey) -> int:
        """Post a signed message once; the status answered, 0 where there was no answer."""
        self.check_callback(url)
        headers = {"Content-Type": "application/json"}
        headers |= sign(
            method="POST",
            url=url,
            headers=headers,
            body=body,
            key=key,
            components=CALLBACK_COMPONENTS,
            now=self.clock.now(),
        )
        try:
            response = await self._http.post(url, content=body, headers=headers)
        except httpx.HTTPError:
            return 0
        return response.status_code

    async def deliver(self, url: str, body: bytes, key: ec.EllipticCurvePrivateKey) -> bool:
        """Post a signed message until it is taken (2xx), a bounded number of times."""
        status = 0
        for attempt in range(DELIVERY_ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(_backoff_seconds(attempt))
            status = await self.post(url, body, key)
            if 200 <= status < 300:
                return True
        log.warning("sandbox.delivery_given_up", status=status, attempts=DELIVERY_ATTEMPTS_MAX)
        return False

    async def _fetch(self, url: str, bytes_max: int, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
        """A body from the gateway, signed for with `key` where given. Raises Problem in the end."""
        for attempt in range(FETCH_ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(_backoff_seconds(attempt))
            try:
                return await self._fetch_once(url, bytes_max, key)
            except httpx.HTTPError as error:
                log.info("sandbox.fetch_failed", attempt=attempt, error=type(error).__name__)
        raise Problem(503, "gateway-unreachable", retry_after_seconds=1)

    async def _fetch_once(self, url: str, bytes_max: int, key: ec.EllipticCurvePrivateKey | None) -> bytes:
        headers = {"Accept-Encoding": "identity"}
        if key is not None:
            headers |= sign(
                method="GET",
                url=url,
                headers=headers,
                body=b"",
                key=key,
                components=DOCUMENT_COMPONENTS,
                now=self.clock.now(),
            )
        content = bytearray()
        async with self._http.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                raise httpx.HTTPError(f"answered {response.status_code}")
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > bytes_max:
                    raise httpx.HTTPError(f"answered more than {bytes_max} bytes")
        return bytes(content)

    def _read_keys(self, content: bytes) -> GatewayKeys:
        """The keys of a published set; with pins, the pinned ones alone. Raises Problem."""
        try:
            published = msgspec.json.decode(content, type=_KeySet).keys
            public = {jwk["kid"]: _public_key(jwk) for jwk in published}
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            raise Problem(503, "gateway-keys-malformed", retry_after_seconds=1) from error
        believed = {
            kid: key
            for kid, key in public.items()
            if thumbprint(key) == kid and (kid in self._pinned or not self._pinned)
        }
        document = {"keys": [jwk for jwk in published if jwk["kid"] in believed]}
        return GatewayKeys(document=document, public=believed, fetched_at=time.monotonic())


class _KeySet(msgspec.Struct, frozen=True):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, Any]]


def _public_key(jwk: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
    """Raises KeyError or ValueError where it is no P-256 key."""
    if jwk["kty"] != "EC" or jwk["crv"] != "P-256":
        raise ValueError("not a P-256 key")
    x, y = (int.from_bytes(_from_base64url(jwk[name])) for name in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _backoff_seconds(attempt: int) -> float:
    return min(BACKOFF_SECONDS * 2.0**attempt, BACKOFF_SECONDS_MAX)
