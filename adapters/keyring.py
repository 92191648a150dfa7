"""The keys with which an agency signs: fetched from its address, believed only where they are pinned.

Who takes over an agency's `jwks_url` can withhold keys but not add one, since a key counts only when its
RFC 7638 thumbprint stands in the deployment file. Keys are kept for `FRESH_SECONDS`; when the agency cannot be
reached, old ones serve for `STALE_SECONDS_MAX` more, and it is left alone for `RETRY_SECONDS`.
"""

import asyncio
import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from adapters.errors import AdapterError, Unavailable, Unsupported
from adapters.limits import Clock
from adapters.manifest import Deployment
from consent.jws import thumbprint

FRESH_SECONDS = 300.0
STALE_SECONDS_MAX = 3600.0
RETRY_SECONDS = 10.0
KEYS_MAX = 64
COORDINATE_BYTES = 32

PublicKeys = Mapping[str, ec.EllipticCurvePublicKey]
Fetch = Callable[[str], Awaitable[bytes]]


class KeyRing:
    """The pinned keys of one agency; one fetch at a time, and after a failed one a rest."""

    def __init__(self, fetch: Fetch, deployment: Deployment, *, clock: Clock = time.monotonic) -> None:
        """`fetch` gets a public document by its URL, within bounds; it raises AdapterError."""
        self._fetch = fetch
        self._jwks_url = deployment.jwks_url
        self._pinned = frozenset(deployment.thumbprints)
        self._clock = clock
        self._fetching = asyncio.Lock()  # held for one bounded fetch
        self._keys: PublicKeys = {}
        self._fresh_until = self._stale_until = self._rest_until = clock()

    async def keys(self) -> PublicKeys:
        """The pinned keys by thumbprint. Raises Unavailable."""
        if self._clock() < self._fresh_until:
            return self._keys
        async with self._fetching:
            if self._clock() >= max(self._fresh_until, self._rest_until):
                await self._renew()
        if self._clock() < self._stale_until:
            return self._keys
        raise Unavailable("the keys of this agency cannot be had at present")

    async def _renew(self) -> None:
        try:
            keys = pinned_keys(await self._fetch(self._jwks_url), self._pinned)
        except AdapterError:
            self._rest_until = self._clock() + RETRY_SECONDS
            return
        self._keys = keys
        self._fresh_until = self._clock() + FRESH_SECONDS
        self._stale_until = self._fresh_until + STALE_SECONDS_MAX


class _Jwk(msgspec.Struct, frozen=True):
    """The members of a P-256 key (RFC 7518 §6.2); others, such as `kid`, say nothing that we rely on."""

    kty: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""


class _JwkSet(msgspec.Struct, frozen=True):
    keys: list[_Jwk]


def pinned_keys(content: bytes, pinned: frozenset[str]) -> PublicKeys:
    """The P-256 keys of a JWK set (RFC 7517) whose thumbprints are pinned; others are passed over.

    Raises Unsupported for something that is no such set, and where no pinned key is in it.
    """
    try:
        jwks = msgspec.json.decode(content, type=_JwkSet).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unsupported("the agency's keys are no JWK set") from None
    if len(jwks) > KEYS_MAX:
        raise Unsupported(f"the agency publishes more than {KEYS_MAX} keys")
    found = {thumbprint(key): key for key in map(_public_key, jwks) if key is not None}
    keys = {key_id: key for key_id, key in found.items() if key_id in pinned}
    if not keys:
        raise Unsupported("none of the agency's keys is a pinned one")
    return keys


def _public_key(jwk: _Jwk) -> ec.EllipticCurvePublicKey | None:
    """The key, or None where it is of another type or no point of the curve."""
    if (jwk.kty, jwk.crv) != ("EC", "P-256"):
        return None
    try:
        x, y = _coordinate(jwk.x), _coordinate(jwk.y)
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except (ValueError, binascii.Error):
        return None


def _coordinate(text: str) -> int:
    value = base64.b64decode(text + "=", altchars=b"-_", validate=True)
    if len(value) != COORDINATE_BYTES:
        raise ValueError("a coordinate of P-256 has 32 bytes")
    return int.from_bytes(value)
