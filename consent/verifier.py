"""The verifier kit: what an agency checks before it answers a call of the one-stop gateway.

One file, to be taken as it is; it needs Python 3.11 and `cryptography`, and imports nothing else of the
gateway. A request shows a token (`Authorization: DPoP <token>`) and a proof (`DPoP`). `Verifier.verify` returns
what the token allows, or raises VerificationError with the number of the step that failed:

 1. the token has at most 8 KiB and three segments of canonical unpadded base64url;
 2. its header is exactly `alg` ES256, `typ` at+jwt and `kid`;
 3. `kid` names one of the pinned keys; no key is ever taken from a token;
 4. the signature is that key's;
 5. the claims have their types; unknown, missing and twice-named members are refused;
 6. issuer and audience are exactly the expected ones, and the token is valid now, give or take 10 s;
 7. the proof (DPoP, RFC 9449) is signed by the key that the token names, is for this method, address and
    token, is fresh, and was not seen before;
 8. the lawful basis stands: its bit in the status list is not set;
 9. `authorization_details` (RFC 9396) cover this action on this datatype: what comes out is the set of fields
    that the answer may hold (see `fields_allowed`);
10. where the token is good for one use, this is the first use of `txn`, or the same content again.

The caller does the rest: it verifies the message signature (RFC 9421) first, so that the content is known to
be the gateway's; fetches status lists anew each minute; answers step 10 with 422 and the others with no detail.

A token without a basis belongs to a control call (payment order, status query, notice): step 8 has nothing to
look up and no field may be returned.

Seen proofs are remembered in this process; uses of a `txn` by `first_use`, which all processes should share and
which should outlive them. One Verifier may serve several threads.
"""

import base64
import hashlib
import json
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

TOKEN_CHARACTERS_MAX = 8 * 1024
STATUS_TOKEN_CHARACTERS_MAX = 64 * 1024
STATUS_LIST_BYTES_MAX = 128 * 1024  # a million entries
INTEGER_MAX = 2**53 - 1  # RFC 7493, section 2.2
KEYS_MAX = 20
SKEW_SECONDS = 10
LIFETIME_SECONDS_MAX = 300
LIFETIME_ONE_TIME_SECONDS_MAX = 120
PROOF_AGE_SECONDS_MAX = 60
PROOFS_MAX = 100_000  # when there are more, proofs are refused
CONSENT_TYPE = "urn:onestop:consent:v1"
DEFAULT_PORTS = {"https": 443, "http": 80}

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_FIELD = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_ES256 = ec.ECDSA(hashes.SHA256())

# The types of JSON as data: an object has exactly these members, a list any number of the one kind, and what is
# no type is the one value allowed.
_JWK_ESSENTIAL = {"kty": "EC", "crv": "P-256", "x": str, "y": str}
_JWK = _JWK_ESSENTIAL | {"kid": str}
_JWK_OPTIONAL = {"use": "sig", "alg": "ES256"}
_PROOF_HEADER = {"alg": "ES256", "typ": "dpop+jwt", "jwk": _JWK_ESSENTIAL}
_PROOF = {"jti": str, "htm": str, "htu": str, "iat": int, "ath": str}
_PROOF_OPTIONAL = {"nonce": str}
_DETAIL = {
    "type": str, "purpose": str, "locations": [str], "actions": [str], "datatypes": [str], "fields": [str],
    "one_time": bool, "expires_at": int,
}  # fmt: skip
_AGENCY_TOKEN = {
    "iss": str, "aud": str, "sub": str, "client_id": str, "act": {"sub": str}, "jti": str, "txn": str,
    "iat": int, "nbf": int, "exp": int, "cnf": {"jkt": str}, "authorization_details": [_DETAIL],
}  # fmt: skip
_BASIS = {"basis_id": str, "basis_hash": str, "status": {"status_list": {"idx": int, "uri": str}}}
_OPTIONAL = {"acr": str, "amr": [str], "auth_time": int, **_BASIS}
_STATUS_TOKEN = {"sub": str, "iat": int, "exp": int, "ttl": int, "status_list": {"bits": 1, "lst": str}}

FirstUse = Callable[[str, str, float], bool]


class VerificationError(Exception):
    """A token is refused. `step` is the number of the check, `reason` is for the agency's own log."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"step {step}: {reason}")
        self.step = step
        self.reason = reason


@dataclass(frozen=True)
class Verified:
    """What a token allows. `basis_id` is None for a control call; `expires_at` is the end of the basis."""

    txn: str
    sub: str
    purpose: str
    fields: frozenset[str]
    basis_id: str | None
    one_time: bool
    expires_at: float
    jti: str


class StatusList:
    """A verified copy of a status list (draft-ietf-oauth-status-list, `statuslist+jwt`, one bit an entry)."""

    def __init__(self, uri: str, expires_at: float, content: bytes) -> None:
        self.uri = uri
        self.expires_at = expires_at
        self._content = content

    @classmethod
    def from_token(cls, token: str, jwks: Mapping[str, Any], uri: str, now: float) -> "StatusList":
        """The list that `token` carries, fetched from `uri`. Raises VerificationError with step 8."""
        with _step(8):
            header, payload, signature, signed = _segments(token, STATUS_TOKEN_CHARACTERS_MAX)
            key = _pinned_keys(jwks).get(_kid(header, "statuslist+jwt"))
            _check_signature(key, signature, signed)
            claims = _json(payload)
            _require(_conforms(claims, _STATUS_TOKEN), "the status list has unexpected claims")
            _require(claims["sub"] == uri, "the status list is of another address")
            _require(claims["iat"] - SKEW_SECONDS <= now < claims["exp"], "the status list is not valid now")
            return cls(uri, float(claims["exp"]), _inflated(claims["status_list"]["lst"]))

    def is_valid(self, index: int) -> bool:
        """Whether the basis at this index stands; an index beyond the list does not."""
        byte, bit = divmod(index, 8)
        return 0 <= byte < len(self._content) and not self._content[byte] >> bit & 1


class Verifier:
    """The checks of one agency: `audience` is its own endpoint, as the gateway names it.

    `jwks` is the gateway's key set, pinned by the agency. `first_use(txn, digest, expires_at)` records a call
    and its content digest in one step and answers whether the call is new or has the same digest as before; it
    must remember until `expires_at` (seconds since the epoch). Without it, one-time tokens are refused.
    Raises VerificationError (step 3) for a key set that is not as expected.
    """

    def __init__(
        self, *, issuer: str, audience: str, jwks: Mapping[str, Any], first_use: FirstUse | None
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        with _step(3):
            self._keys = _pinned_keys(jwks)
        self._first_use = first_use
        self._proofs: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def verify(
        self,
        *,
        authorization: str,
        dpop: str,
        method: str,
        url: str,
        operation_datatype: str,
        action: str,
        content_digest: str,
        status_list: StatusList | None,
        now: float,
    ) -> Verified:
        """What the token allows for this request; steps as numbered above. Raises VerificationError.

        `url` is the address the agency knows itself by, never one from a Host header; `now` is in seconds
        since the epoch.
        """
        with _step(1):
            scheme, _, token = authorization.partition(" ")
            _require(scheme == "DPoP", "the authorization scheme is not DPoP")
            header, payload, signature, signed = _segments(token, TOKEN_CHARACTERS_MAX)
        with _step(2):
            kid = _kid(header, "at+jwt")
        with _step(3):
            key = self._keys.get(kid)
            _require(key is not None, "the key is not known")
        with _step(4):
            _check_signature(key, signature, signed)
        with _step(5):
            claims = _agency_claims(payload)
        with _step(6):
            self._check_claims(claims, now)
        with _step(7):
            self._check_proof(dpop, claims["cnf"]["jkt"], token, method, url, now)
        with _step(8):
            _check_status(claims, status_list, now)
        with _step(9):
            detail = self._detail(claims, operation_datatype, action, now)
        with _step(10):
            self._check_first_use(detail, claims["txn"], content_digest)
        return Verified(
            txn=claims["txn"],
            sub=claims["sub"],
            purpose=detail["purpose"],
            fields=frozenset(detail["fields"]),
            basis_id=claims.get("basis_id"),
            one_time=detail["one_time"],
            expires_at=float(detail["expires_at"]),
            jti=claims["jti"],
        )

    def _check_claims(self, claims: Mapping[str, Any], now: float) -> None:
        _require(claims["iss"] == self._issuer, "another issuer")
        _require(claims["aud"] == self._audience, "another audience")
        _require(max(claims["iat"], claims["nbf"]) <= now + SKEW_SECONDS, "not valid yet")
        _require(claims["exp"] > now - SKEW_SECONDS, "expired")
        one_time = claims["authorization_details"][0]["one_time"]
        life_max = LIFETIME_ONE_TIME_SECONDS_MAX if one_time else LIFETIME_SECONDS_MAX
        _require(0 < claims["exp"] - claims["iat"] <= life_max, "the token lives too long")

    def _check_proof(self, proof: str, jkt: str, token: str, method: str, url: str, now: float) -> None:
        """RFC 9449, section 4.3. A key is looked at only when the token, by now verified, names it."""
        header_bytes, payload, signature, signed = _segments(proof, TOKEN_CHARACTERS_MAX)
        header = _json(header_bytes)
        _require(_conforms(header, _PROOF_HEADER), "the proof's header is not exactly alg, typ and jwk")
        _require(_thumbprint(header["jwk"]) == jkt, "the proof is by another key than the token's")
        _check_signature(_public_key(header["jwk"]["x"], header["jwk"]["y"]), signature, signed)
        claims = _json(payload)
        _require(_conforms(claims, _PROOF, _PROOF_OPTIONAL), "the proof has unexpected claims")
        _require(claims["htm"] == method, "the proof is for another method")
        _require(_normalised(claims["htu"]) == _normalised(url), "the proof is for another address")
        fresh = now - PROOF_AGE_SECONDS_MAX <= claims["iat"] <= now + SKEW_SECONDS
        _require(fresh, "the proof is not fresh")
        token_hash = _base64url(hashlib.sha256(token.encode("ascii")).digest())
        _require(claims["ath"] == token_hash, "the proof is for another token")
        proof_id = hashlib.sha256(f"{jkt} {claims['jti']}".encode()).digest()
        self._remember(proof_id, claims["iat"] + PROOF_AGE_SECONDS_MAX, now)

    def _remember(self, proof: bytes, until: float, now: float) -> None:
        """Note a proof until nobody would accept it any more; the oldest stand first."""
        with self._lock:
            while self._proofs and self._proofs[oldest := next(iter(self._proofs))] < now:
                del self._proofs[oldest]
            _require(proof not in self._proofs, "the proof was used before")
            _require(len(self._proofs) < PROOFS_MAX, "too many proofs at once")
            self._proofs[proof] = until

    def _detail(self, claims: Mapping[str, Any], datatype: str, action: str, now: float) -> Mapping[str, Any]:
        detail: Mapping[str, Any] = claims["authorization_details"][0]
        _require(detail["type"] == CONSENT_TYPE, "the detail is of another type")
        _require(detail["locations"] == [self._audience], "the detail is for another place")
        _require(action in detail["actions"], "the detail does not cover this action")
        _require(datatype in detail["datatypes"], "the detail does not cover this datatype")
        _require(detail["expires_at"] > now - SKEW_SECONDS, "the basis has expired")
        fields = detail["fields"]
        plain = len(set(fields)) == len(fields) and all(map(_FIELD.fullmatch, fields))
        _require(plain, "the fields are not plain dotted names, each once")
        _require("basis_id" in claims or not fields, "fields without a lawful basis")
        return detail

    def _check_first_use(self, detail: Mapping[str, Any], txn: str, digest: str) -> None:
        if detail["one_time"]:
            until = detail["expires_at"] + SKEW_SECONDS
            allowed = self._first_use is not None and self._first_use(txn, digest, until)
            _require(allowed, "the call was made before with another content")


def fields_allowed(data: Mapping[str, Any], fields: frozenset[str], prefix: str = "") -> dict[str, Any]:
    """The members of `data` whose dotted names are in `fields`; an array is one member.

    A name stands for itself alone: `person` does not allow `person.name`, nor the other way round. Objects
    that nothing remains of are left out.
    """
    allowed: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if "." in key:
            continue  # a member named `a.b` is not the member b of a
        if not isinstance(value, Mapping):
            if name in fields:
                allowed[key] = value
        elif any(field.startswith(f"{name}.") for field in fields):
            inner = fields_allowed(value, fields, f"{name}.")
            if inner:
                allowed[key] = inner
    return allowed


class _Flaw(Exception):
    """What is wrong, in our own words."""


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _Flaw(otherwise)


@contextmanager
def _step(number: int) -> Iterator[None]:
    """Give the number of the step to whatever is found wrong in it."""
    try:
        yield
    except _Flaw as flaw:
        raise VerificationError(number, str(flaw)) from flaw
    except InvalidSignature as error:
        raise VerificationError(number, "the signature is not that key's") from error
    except (ValueError, RecursionError, zlib.error) as error:
        raise VerificationError(number, "malformed") from error


def _segments(token: str, characters_max: int) -> tuple[bytes, bytes, bytes, bytes]:
    """Header, payload, signature, and what is signed."""
    _require(len(token) <= characters_max, "too long")
    _require(_TOKEN.fullmatch(token) is not None, "not three segments of base64url")
    header, payload, signature = map(_from_base64url, token.split("."))
    return header, payload, signature, token.rpartition(".")[0].encode("ascii")


def _kid(header: bytes, typ: str) -> str:
    members = _json(header)
    exact = _conforms(members, {"alg": "ES256", "typ": typ, "kid": str})
    _require(exact, f"the header is not exactly alg ES256, typ {typ} and kid")
    return str(members["kid"])


def _from_base64url(text: str) -> bytes:
    """The content of the one text that encodes it (RFC 7515, section 2)."""
    content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    _require(_base64url(content) == text, "not canonical base64url")
    return content


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _json(content: bytes) -> Any:
    """JSON of the few kinds that tokens are made of: no fractions, no member named twice."""
    text = content.decode("utf-8")
    return json.loads(
        text, object_pairs_hook=_members, parse_float=_refuse_number, parse_constant=_refuse_number
    )


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    _require(len(members) == len(pairs), "a member is named twice")
    return members


def _refuse_number(text: str) -> None:
    raise _Flaw("a number that is not an integer")


def _check_signature(key: ec.EllipticCurvePublicKey | None, signature: bytes, signed: bytes) -> None:
    """ES256: r and s of 32 bytes each (RFC 7518, section 3.4)."""
    if key is None or len(signature) != 64:
        raise InvalidSignature
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    key.verify(encode_dss_signature(r, s), signed, _ES256)


def _pinned_keys(jwks: Mapping[str, Any]) -> dict[str, ec.EllipticCurvePublicKey]:
    """The keys of a JWK Set, by thumbprint; only members of public ES256 keys are accepted."""
    keys = jwks.get("keys")
    _require(isinstance(keys, list) and len(keys) <= KEYS_MAX, f"not a key set of at most {KEYS_MAX} keys")
    pinned: dict[str, ec.EllipticCurvePublicKey] = {}
    for key in keys or []:
        _require(_conforms(key, _JWK, _JWK_OPTIONAL), "the key set holds other than public ES256 keys")
        _require(key["kid"] == _thumbprint(key), "a key is not named by its thumbprint")
        _require(key["kid"] not in pinned, "a key is named twice")
        pinned[key["kid"]] = _public_key(key["x"], key["y"])
    return pinned


def _thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638, section 3."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return _base64url(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


@lru_cache(maxsize=64)
def _public_key(x: str, y: str) -> ec.EllipticCurvePublicKey:
    """A P-256 key from its coordinates; kept, because the same few come again and again."""
    coordinates = [_from_base64url(text) for text in (x, y)]
    _require([len(coordinate) for coordinate in coordinates] == [32, 32], "not two coordinates of 32 bytes")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + b"".join(coordinates))


def _normalised(url: str) -> str:
    """Scheme and host in lower case, without default port, query and fragment (RFC 9449, section 4.3)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    absolute = parts.scheme in DEFAULT_PORTS and host and "@" not in parts.netloc
    _require(bool(absolute), "not an absolute http or https address without a user")
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, DEFAULT_PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path or '/'}"


def _inflated(lst: str) -> bytes:
    """The bits of a status list."""
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(_from_base64url(lst), STATUS_LIST_BYTES_MAX)
    whole = unpacker.eof and not unpacker.unused_data
    _require(whole, "the status list is too long, cut off, or followed by something")
    return content


def _agency_claims(payload: bytes) -> Mapping[str, Any]:
    """The claims of an agency token; those of a lawful basis come all together or not at all."""
    claims: Mapping[str, Any] = _json(payload)
    _require(_conforms(claims, _AGENCY_TOKEN, _OPTIONAL), "the claims are not of the expected types")
    _require(len(claims["authorization_details"]) == 1, "not exactly one authorization detail")
    of_basis = _BASIS.keys() & claims.keys()
    _require(len(of_basis) in {0, len(_BASIS)}, "some claims of the basis are missing")
    return claims


def _check_status(claims: Mapping[str, Any], status_list: StatusList | None, now: float) -> None:
    """In doubt the basis does not stand."""
    if "status" in claims:
        reference = claims["status"]["status_list"]
        if status_list is None or status_list.uri != reference["uri"] or now >= status_list.expires_at:
            raise _Flaw("no fresh copy of the status list that the token names")
        _require(status_list.is_valid(reference["idx"]), "the lawful basis has ended")


def _conforms(value: Any, shape: Any, optional: Mapping[str, Any] = MappingProxyType({})) -> bool:
    """Whether a JSON value has the shape; `optional` names further members that an object may have."""
    if isinstance(shape, dict):
        return (
            isinstance(value, dict)
            and shape.keys() <= value.keys() <= shape.keys() | optional.keys()
            and all(_conforms(inner, shape.get(key, optional.get(key))) for key, inner in value.items())
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(_conforms(member, shape[0]) for member in value)
    if shape is str:
        # Printable ASCII: nothing in a token is for people, and look-alike characters have no place in it.
        return isinstance(value, str) and value != "" and value.isascii() and value.isprintable()
    if shape is int:
        return type(value) is int and 0 <= value <= INTEGER_MAX  # True is an int, but not of this type
    if shape is bool:
        return isinstance(value, bool)
    return type(value) is type(shape) and bool(value == shape)
