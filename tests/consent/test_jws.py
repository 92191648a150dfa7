"""Keys and signed tokens: what is published of a key, which key sets are believed, and times."""

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from consent import jws
from consent.errors import TokenRefused
from consent.jws import KeySet
from consent.verifier import StatusList, VerificationError, Verifier
from tests.consent.forge import (
    AUDIENCE,
    HEADER,
    ISSUER,
    JWKS,
    KEY,
    KID,
    NOW,
    SECONDS,
    STATUS_URI,
    STRANGER,
    b64,
    forge,
)


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sub: str
    exp: int


class TolerantClaims(msgspec.Struct, frozen=True):
    sub: str


def header_of(token: str) -> dict[str, Any]:
    segment = token.partition(".")[0]
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return header


def test_signed_claims_come_back() -> None:
    claims = Claims(sub="someone", exp=SECONDS)

    token = jws.sign(claims, KEY, "at+jwt")

    assert jws.verify(token, KeySet.of(KEY.public_key()), "at+jwt", Claims) == claims


def test_header_is_exactly_algorithm_kind_and_key() -> None:
    assert header_of(jws.sign({"sub": "someone"}, KEY, "at+jwt")) == HEADER


def test_thumbprint_is_the_hash_of_the_essential_members_in_order() -> None:
    """RFC 7638, section 3.1, written out."""
    jwk = jws.public_jwk(KEY.public_key())
    x, y = jwk["x"], jwk["y"]
    text = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    digest = hashlib.sha256(text.encode()).digest()

    assert KID == b64(digest) == jwk["kid"]


def test_published_key_holds_nothing_private() -> None:
    assert set(jws.public_jwk(KEY.public_key())) == {"kty", "crv", "x", "y", "kid", "use", "alg"}


def test_key_on_another_curve_is_not_published() -> None:
    key = ec.generate_private_key(ec.SECP384R1())

    with pytest.raises(ValueError, match="secp384r1"):
        jws.public_jwk(key.public_key())
    with pytest.raises(ValueError, match="secp384r1"):
        jws.sign({}, key, "at+jwt")


def test_key_set_of_twenty_keys_is_believed() -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(20)]

    key_set = KeySet.from_jwks(jws.jwks(key.public_key() for key in keys))

    for key in keys:
        jws.verify(jws.sign({"sub": "a"}, key, "at+jwt"), key_set, "at+jwt", TolerantClaims)


def test_key_that_is_not_pinned_is_refused() -> None:
    document = json.dumps(jws.jwks([KEY.public_key(), STRANGER.public_key()])).encode()

    KeySet.from_jwks(document, pinned=[KID, jws.thumbprint(STRANGER.public_key())])
    with pytest.raises(TokenRefused):
        KeySet.from_jwks(document, pinned=[KID])
    with pytest.raises(TokenRefused):
        KeySet.from_jwks(document, pinned=[])


@pytest.mark.parametrize(
    "document",
    [b"", b"null", b"[]", b"{}", b'{"keys":', b"\xff", b"[" * 10_000, b" " * 20_000 + json.dumps(JWKS).encode(),
     b'{"keys":[],' + json.dumps(JWKS).encode()[1:]],
)  # fmt: skip
def test_text_that_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(TokenRefused):
        KeySet.from_jwks(document)


def test_empty_key_set_lets_no_token_pass() -> None:
    with pytest.raises(TokenRefused):
        jws.verify(forge(), KeySet.from_jwks({"keys": []}), "at+jwt", TolerantClaims)


@pytest.mark.parametrize("header", [HEADER | {"typ": "JWT"}, {"alg": "ES256", "kid": KID}])
def test_id_token_may_leave_out_its_kind_and_hold_claims_of_its_own(header: dict[str, str]) -> None:
    token = forge(header, {"sub": "someone", "nickname": "姓名", "exp": SECONDS + 0.5})

    assert jws.verify(token, KeySet.of(KEY.public_key()), None, TolerantClaims).sub == "someone"


def test_struct_that_forbids_unknown_claims_is_obeyed_for_id_tokens() -> None:
    token = forge({"alg": "ES256", "kid": KID}, {"sub": "someone", "exp": SECONDS, "role": "admin"})

    with pytest.raises(TokenRefused):
        jws.verify(token, KeySet.of(KEY.public_key()), None, Claims)


def test_kind_may_not_be_left_out_where_one_is_asked_for() -> None:
    token = forge({"alg": "ES256", "kid": KID}, {"sub": "someone"})

    with pytest.raises(TokenRefused):
        jws.verify(token, KeySet.of(KEY.public_key()), "JWT", TolerantClaims)


@pytest.mark.parametrize(
    "times",
    [{"exp": SECONDS - 9}, {"exp": SECONDS + 60, "nbf": SECONDS + 10}, {"exp": 1e300, "iat": SECONDS + 10.0}],
)
def test_clocks_may_differ_by_the_skew(times: dict[str, float]) -> None:
    jws.check_times(**times, now=NOW, skew_seconds=10)


@pytest.mark.parametrize(
    "times",
    [
        {"exp": SECONDS - 10},
        {"exp": SECONDS + 60, "nbf": SECONDS + 11},
        {"exp": SECONDS + 60, "iat": SECONDS + 11},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": SECONDS + 60, "nbf": float("-inf")},
        {"exp": SECONDS + 60, "iat": float("nan")},
    ],
)
def test_time_beyond_the_skew_or_without_end_is_refused(times: dict[str, float]) -> None:
    with pytest.raises(TokenRefused):
        jws.check_times(**times, now=NOW, skew_seconds=10)


def test_times_are_compared_in_utc() -> None:
    taipei = NOW.astimezone(dt.timezone(dt.timedelta(hours=8)))

    jws.check_times(exp=SECONDS + 1, iat=SECONDS, now=taipei, skew_seconds=0)


def hostile_key_sets() -> list[Mapping[str, Any]]:
    jwk = jws.public_jwk(KEY.public_key())
    private = b64(KEY.private_numbers().private_value.to_bytes(32))
    many = [jws.public_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(49)]
    x = base64.urlsafe_b64decode(jwk["x"] + "=")
    return [
        {"keys": [jwk, *many]},
        {"keys": [jwk, jwk]},
        {"keys": [jwk | {"d": private}]},
        {"keys": [jwk | {"kid": "mine"}]},
        {"keys": [jwk | {"kid": many[0]["kid"]}]},
        {"keys": [jwk | {"crv": "P-384"}]},
        {"keys": [jwk | {"crv": "secp256k1"}]},
        {"keys": [jwk | {"alg": "HS256"}]},
        {"keys": [jwk | {"use": "enc"}]},
        {"keys": [jwk | {"x": b64(bytes(32))}]},
        {"keys": [jwk | {"x": b64(b"\x00" + x)}]},
        {"keys": [jwk | {"x": jwk["x"] + "="}]},
        {"keys": [{"kty": "oct", "k": b64(b"secret"), "kid": "oct"}, jwk]},
        {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "rsa"}, jwk]},
        {"keys": [jwk | {"x5u": "https://attacker.example"}]},
        {"keys": {"0": jwk}},
        {"keys": None},
        {},
        jwk,
    ]


@pytest.mark.parametrize("index", range(len(hostile_key_sets())))
def test_hostile_key_set_is_refused(index: int) -> None:
    document = hostile_key_sets()[index]

    with pytest.raises(TokenRefused):
        KeySet.from_jwks(document)
    with pytest.raises(TokenRefused):
        KeySet.from_jwks(json.dumps(document).encode())
    with pytest.raises(VerificationError):
        Verifier(issuer=ISSUER, audience=AUDIENCE, jwks=document, first_use=None)
    with pytest.raises(VerificationError):
        StatusList.from_token(forge(), document, STATUS_URI, NOW.timestamp())
