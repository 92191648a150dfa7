"""Signed tokens in compact form (JWS, RFC 7515): the one module that knows python-jose.

One algorithm, ES256 on P-256, and one way to find the key: the `kid` of the header, which must be the RFC 7638
thumbprint of a key that we hold already. The library is given one prebuilt key and one algorithm and decides
about nothing else, because by itself it accepts far too much (several keys, several algorithms, loose base64,
any header, any claim types). A token is checked in this order, and `verify` returns claims or raises:

1. at most 8 KiB, three segments of canonical unpadded base64url;
2. the header has exactly the members `alg` (ES256), `typ` (the one asked for) and `kid`;
3. the `kid` names a key of the given set;
4. the signature is that key's;
5. the claims have the asked-for types; JSON objects name each member once.

Times, issuer and audience mean something different for each token: their checks stand with its kind;
`check_times` is the part that they share. Two byte strings may carry the same signed claims (ECDSA has two
signatures for each one), so that replay is noticed by `jti`, never by the token itself.
"""

import base64
import datetime as dt
import hashlib
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from jose import jws as jose_jws
from jose.backends import ECKey
from jose.backends.cryptography_backend import CryptographyECKey
from jose.exceptions import JOSEError

from consent.errors import TokenRefused

ALGORITHM = "ES256"
TOKEN_CHARACTERS_MAX = 8 * 1024
JWKS_BYTES_MAX = 16 * 1024
KEYS_MAX = 20
COORDINATE_BYTES = 32
INTEGER_MAX = 2**53 - 1  # RFC 7493, section 2.2

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

T = TypeVar("T")

if ECKey is not CryptographyECKey:
    raise ImportError("python-jose must run on the backend of `cryptography`")


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str | None = None


class _Jwk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The members that a public key may have; a private one (`d`) or a certificate is refused with the rest."""

    kty: str
    crv: str
    x: str
    y: str
    kid: str
    use: str = "sig"
    alg: str = ALGORITHM


class _Jwks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[_Jwk, ...]


class KeySet:
    """The public keys that may have signed a token, by thumbprint."""

    def __init__(self, keys: Mapping[str, CryptographyECKey]) -> None:
        self._keys = keys

    @classmethod
    def of(cls, *public_keys: ec.EllipticCurvePublicKey) -> "KeySet":
        """A set of these P-256 keys. Raises ValueError for a key on another curve."""
        return cls({thumbprint(key): CryptographyECKey(key, ALGORITHM) for key in public_keys})

    @classmethod
    def from_jwks(
        cls, document: bytes | Mapping[str, Any], pinned: Collection[str] | None = None
    ) -> "KeySet":
        """The keys of a JWK Set (RFC 7517), each named by its thumbprint and, where given, by `pinned`.

        Raises TokenRefused for a set with more than 20 keys or with any key or member that is not expected.
        """
        try:
            if isinstance(document, bytes):
                if len(document) > JWKS_BYTES_MAX:
                    raise TokenRefused(f"a key set of {len(document)} bytes; at most {JWKS_BYTES_MAX}")
                members = _decode(document, _Jwks).keys
            else:
                members = msgspec.convert(dict(document), _Jwks).keys
        except _UNREADABLE as error:
            raise TokenRefused("the key set is not readable") from error
        if len(members) > KEYS_MAX:
            raise TokenRefused(f"a key set of {len(members)} keys; at most {KEYS_MAX}")
        keys = [_public_key(member) for member in members]
        names = {thumbprint(key) for key in keys}
        if len(names) != len(keys):
            raise TokenRefused("the key set names a key twice")
        if pinned is not None and not names <= set(pinned):
            raise TokenRefused("the key set holds a key that is not pinned")
        return cls.of(*keys)

    def get(self, kid: str) -> CryptographyECKey | None:
        """The key of this thumbprint, ready for use."""
        return self._keys.get(kid)


def sign(claims: msgspec.Struct | Mapping[str, Any], key: ec.EllipticCurvePrivateKey, typ: str) -> str:
    """A token of the kind `typ` with these claims; its header is exactly `alg`, `typ` and `kid`."""
    return _sign(claims, key, {"typ": typ, "kid": thumbprint(key.public_key())})


def sign_with_jwk_header(
    claims: msgspec.Struct | Mapping[str, Any], key: ec.EllipticCurvePrivateKey, typ: str
) -> str:
    """A proof that brings its own key: header `alg`, `typ`, `jwk` (RFC 9449, section 4.2)."""
    return _sign(claims, key, {"typ": typ, "jwk": _essential_members(key.public_key())})


def verify(token: str, keys: KeySet, typ: str | None, claims: type[T]) -> T:
    """The claims of a token signed by one of `keys`; steps as numbered above.

    `typ=None` is for OpenID providers' ID tokens: `typ` may be absent or `JWT`. Whether unknown claims are
    refused is the struct's own rule (`forbid_unknown_fields`). Raises TokenRefused, whatever is wrong.
    """
    # 1. size and segments
    if len(token) > TOKEN_CHARACTERS_MAX or not _TOKEN.fullmatch(token):
        raise TokenRefused("the token is too long, or not three segments of base64url")
    segments = token.split(".")
    header_bytes, payload, _ = (_segment(segment) for segment in segments)

    # 2. header
    try:
        header = _decode(header_bytes, _Header)
    except _UNREADABLE as error:
        raise TokenRefused("the header is not exactly alg, typ and kid") from error
    if header.alg != ALGORITHM:
        raise TokenRefused("the header names another algorithm than ES256")
    if header.typ not in ({None, "JWT"} if typ is None else {typ}):
        raise TokenRefused(f"the token is not of the kind {typ}")

    # 3. key
    key = keys.get(header.kid)
    if key is None:
        raise TokenRefused("the header names a key that is not known")

    # 4. signature
    try:
        jose_jws.verify(token, key, [ALGORITHM])
    except JOSEError as error:
        raise TokenRefused("the signature is not that key's") from error

    # 5. claims
    try:
        return _decode(payload, claims)
    except _UNREADABLE as error:
        raise TokenRefused("the claims are not of the expected types") from error


def check_times(
    *,
    exp: float,
    now: dt.datetime,
    skew_seconds: float,
    iat: float | None = None,
    nbf: float | None = None,
) -> None:
    """Refuse a token that is issued or valid later than `now`, or has expired (RFC 7519, section 4.1).

    `skew_seconds` is how far the issuer's clock may differ. Raises TokenRefused.
    """
    seconds = now.timestamp()
    starts = [start for start in (iat, nbf) if start is not None]
    if not all(map(math.isfinite, (exp, *starts))):
        raise TokenRefused("a time of the token is not finite")
    if any(start > seconds + skew_seconds for start in starts):
        raise TokenRefused("the token is not valid yet")
    if exp <= seconds - skew_seconds:
        raise TokenRefused("the token has expired")


def thumbprint(public_key: ec.EllipticCurvePublicKey) -> str:
    """The name of a key: SHA-256 of its essential members (RFC 7638), in base64url."""
    members = json.dumps(_essential_members(public_key), separators=(",", ":"), sort_keys=True)
    return base64url(hashlib.sha256(members.encode()).digest())


def public_jwk(public_key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """The key as others may know it (RFC 7517); made of named members, so that no private one can slip in."""
    return _essential_members(public_key) | {
        "kid": thumbprint(public_key),
        "use": "sig",
        "alg": ALGORITHM,
    }


def jwks(public_keys: Iterable[ec.EllipticCurvePublicKey]) -> dict[str, list[dict[str, str]]]:
    """The keys as a JWK Set (RFC 7517, section 5)."""
    return {"keys": [public_jwk(key) for key in public_keys]}


def base64url(content: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _sign(
    claims: msgspec.Struct | Mapping[str, Any], key: ec.EllipticCurvePrivateKey, header: dict[str, Any]
) -> str:
    payload = msgspec.json.encode(claims)
    token: str = jose_jws.sign(payload, CryptographyECKey(key, ALGORITHM), header, ALGORITHM)
    return token


def _essential_members(public_key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """The members that make the key (RFC 7638, section 3.2). Raises ValueError on another curve than P-256."""
    if not isinstance(public_key.curve, ec.SECP256R1):
        raise ValueError(f"a key on {public_key.curve.name}; expected P-256")
    numbers = public_key.public_numbers()
    x, y = (base64url(number.to_bytes(COORDINATE_BYTES)) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _public_key(member: _Jwk) -> ec.EllipticCurvePublicKey:
    if (member.kty, member.crv, member.use, member.alg) != ("EC", "P-256", "sig", ALGORITHM):
        raise TokenRefused("the key set holds a key for another use than ES256 signatures")
    x, y = _segment(member.x), _segment(member.y)
    if len(x) != COORDINATE_BYTES or len(y) != COORDINATE_BYTES:
        raise TokenRefused("the key set holds a key of the wrong length")
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
    except ValueError as error:
        raise TokenRefused("the key set holds a key that is not on its curve") from error
    if thumbprint(key) != member.kid:
        raise TokenRefused("the key set holds a key that is not named by its thumbprint")
    return key


def _segment(text: str) -> bytes:
    """The content of canonical base64url: the one text that encodes it. Raises TokenRefused."""
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise TokenRefused("not base64url") from error
    if base64url(content) != text:
        raise TokenRefused("not canonical base64url")
    return content


def _decode(content: bytes, type_: type[T]) -> T:
    """Strict JSON. Raises one of _UNREADABLE.

    The standard parser goes first because it alone shows members that are named twice, where `msgspec` lets
    the last one win, and integers that later arithmetic on times could not hold.
    """
    json.loads(content.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_int=_check_integer)
    return msgspec.json.decode(content, type=type_)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a JSON object names a member twice")


def _check_integer(text: str) -> None:
    if abs(int(text)) > INTEGER_MAX:
        raise ValueError("an integer that not every reader can hold")
