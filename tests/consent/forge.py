"""Tokens forged by hand, byte for byte, and the two doors that they are shown to.

No library would make most of these tokens. A door takes a token and returns, or raises one of `REFUSALS`; a
test that sees anything else fails. `gateway_door` is the gateway's own JOSE code, `kit_door` the agencies'
verifier.
"""

import base64
import datetime as dt
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from consent import dpop, jws
from consent.errors import TokenRefused
from consent.jws import KeySet
from consent.token import AgencyTokenClaims
from consent.verifier import FirstUse, StatusList, VerificationError, Verified, Verifier

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
REFUSALS = (TokenRefused, VerificationError)

ISSUER = "https://gateway.example"
AUDIENCE = "https://nia.example/api"
URL = f"{AUDIENCE}/operations/residence"
STATUS_URI = f"{ISSUER}/oauth/status/0"
NOW = dt.datetime(2026, 11, 22, 13, 0, tzinfo=dt.UTC)
SECONDS = int(NOW.timestamp())

KEY = ec.generate_private_key(ec.SECP256R1())
DPOP_KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = ec.generate_private_key(ec.SECP256R1())
KID = jws.thumbprint(KEY.public_key())
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": KID}
DETAIL = {
    "type": "urn:onestop:consent:v1",
    "purpose": "gold-card",
    "locations": [AUDIENCE],
    "actions": ["submit"],
    "datatypes": ["residence"],
    "fields": ["arc.expires_on", "arc.number"],
    "one_time": False,
    "expires_at": SECONDS + 3600,
}
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "pairwise",
    "client_id": ISSUER,
    "act": {"sub": ISSUER},
    "iat": SECONDS,
    "nbf": SECONDS,
    "exp": SECONDS + 300,
    "jti": "01999999-0000-7000-8000-000000000001",
    "txn": "01999999-0000-7000-8000-000000000002",
    "acr": "urn:example:loa:2",
    "auth_time": SECONDS - 60,
    "cnf": {"jkt": jws.thumbprint(DPOP_KEY.public_key())},
    "authorization_details": [DETAIL],
    "basis_id": "01999999-0000-7000-8000-000000000003",
    "basis_hash": "0" * 64,
    "status": {"status_list": {"idx": 7, "uri": STATUS_URI}},
}
JWKS = jws.jwks([KEY.public_key()])
KEY_SET = KeySet.from_jwks(JWKS)

Door = Callable[[str], object]


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def as_json(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def es256(key: ec.EllipticCurvePrivateKey, message: bytes) -> tuple[int, int]:
    return decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))


def raw(r: int, s: int) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32)


def forge(header: object = HEADER, claims: object = CLAIMS, key: ec.EllipticCurvePrivateKey = KEY) -> str:
    """A well-signed token of any header and claims; bytes are taken as they are."""
    signed = f"{b64(as_json(header))}.{b64(as_json(claims))}"
    return f"{signed}.{b64(raw(*es256(key, signed.encode())))}"


def with_claim(name: str, text: str) -> bytes:
    """The valid claims with one of them replaced by JSON text, which need not be JSON."""
    mark = secrets.token_hex(8)
    return json.dumps(CLAIMS | {name: mark}).replace(json.dumps(mark), text).encode()


def with_detail(**changes: object) -> dict[str, Any]:
    return CLAIMS | {"authorization_details": [DETAIL | changes]}


def gateway_door(token: str) -> object:
    claims = jws.verify(token, KEY_SET, "at+jwt", AgencyTokenClaims)
    jws.check_times(exp=claims.exp, iat=claims.iat, nbf=claims.nbf, now=NOW, skew_seconds=10)
    return claims


def agency(first_use: FirstUse | None = None) -> Verifier:
    """The agency's verifier, with nothing remembered yet."""
    return Verifier(issuer=ISSUER, audience=AUDIENCE, jwks=JWKS, first_use=first_use)


def proof(token: str, *, key: ec.EllipticCurvePrivateKey = DPOP_KEY, **changes: Any) -> str:
    """The right proof for the request at the agency, unless `changes` change something of it."""
    request: dict[str, Any] = {"method": "POST", "url": URL, "shown": token, "now": NOW} | changes
    return dpop.make_proof(key, token=request.pop("shown"), **request)


def standing(
    uri: str = STATUS_URI, expires_at: float = SECONDS + 60, revoked: int | None = None
) -> StatusList:
    """A status list in which every basis stands, or every one but one."""
    content = bytearray(16)
    if revoked is not None:
        content[revoked // 8] |= 1 << revoked % 8
    return StatusList(uri, expires_at, bytes(content))


def kit_door(token: str | None = None, *, verifier: Verifier | None = None, **changes: Any) -> Verified:
    """A valid request at the agency, unless `changes` change something of it."""
    token = forge() if token is None else token
    request: dict[str, Any] = {
        "authorization": f"DPoP {token}",
        "method": "POST",
        "url": URL,
        "operation_datatype": "residence",
        "action": "submit",
        "content_digest": "sha-256=:AAAA:",
        "status_list": standing(),
        "now": NOW.timestamp(),
    } | changes
    if "dpop" not in request:
        request["dpop"] = proof(token if token.isascii() else "")
    return (verifier or agency()).verify(**request)


def refused_at(step: int, attempt: Callable[[], object]) -> None:
    """Assert that the kit refuses the attempt at the step of this number."""
    with pytest.raises(VerificationError) as refused:
        attempt()
    assert refused.value.step == step, refused.value
