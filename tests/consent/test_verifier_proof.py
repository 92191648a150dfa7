"""Step 7 of the verifier kit: the proof is for this request, fresh, by the right key, and good once."""

import base64
import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import consent.verifier
from consent import dpop, jws
from consent.verifier import VerificationError
from tests.consent.forge import (
    DPOP_KEY,
    NOW,
    P256_ORDER,
    SECONDS,
    STRANGER,
    URL,
    agency,
    b64,
    forge,
    kit_door,
    proof,
    raw,
    refused_at,
    standing,
)

ABSENT = "absent"
NO_VALUES: list[Any] = [ABSENT, None, 1.5, [], {}, ""]


def essential(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    jwk = jws.public_jwk(key.public_key())
    return {name: jwk[name] for name in ("kty", "crv", "x", "y")}


def forged_proof(token: str, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A proof signed by the right key, with a header and claims of the test's own."""
    own = {"alg": "ES256", "typ": "dpop+jwt", "jwk": essential(DPOP_KEY)}
    claims = {"jti": "proof-1", "htm": "POST", "htu": URL, "iat": SECONDS, "ath": dpop.token_hash(token)}
    present = {name: value for name, value in (claims | changes).items() if value != ABSENT}
    return forge(own | (header or {}), present, DPOP_KEY)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": STRANGER},
        {"method": "GET"},
        {"method": "post"},
        {"url": "https://nia.example/api/operations/other"},
        {"url": "https://wda.example/api/operations/residence"},
        {"url": "http://nia.example/api/operations/residence"},
        {"url": URL + "/"},
        {"shown": "another.token.here"},
        {"shown": None},
        {"now": NOW - dt.timedelta(seconds=61)},
        {"now": NOW + dt.timedelta(seconds=11)},
    ],
)
def test_step_7_proof_of_something_else_is_refused(changes: dict[str, Any]) -> None:
    token = forge()

    refused_at(7, lambda: kit_door(token, dpop=proof(token, **changes)))


@pytest.mark.parametrize("seconds", [-60, 10])
def test_step_7_proof_is_fresh_for_a_minute(seconds: int) -> None:
    token = forge()

    kit_door(token, dpop=proof(token, now=NOW + dt.timedelta(seconds=seconds)))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"jwk": essential(STRANGER)},
        {"jwk": essential(DPOP_KEY) | {"d": "AAAA"}},
        {"jwk": essential(DPOP_KEY) | {"kid": "x"}},
        {"jwk": essential(DPOP_KEY) | {"kty": "oct", "k": "AAAA"}},
        {"jwk": essential(DPOP_KEY) | {"crv": "P-384"}},
        {"jwk": []},
        {"jwk": None},
        {"jku": "https://attacker.example/jwks"},
        {"crit": ["exp"]},
    ],
)
def test_step_7_proof_with_another_header_is_refused(header: dict[str, Any]) -> None:
    token = forge()

    refused_at(7, lambda: kit_door(token, dpop=forged_proof(token, header)))


@pytest.mark.parametrize(
    "claims",
    [{name: value} for name in ("jti", "htm", "htu", "iat", "ath") for value in NO_VALUES]
    + [
        {"exp": SECONDS + 60},
        {"iat": str(SECONDS)},
        {"iat": 2**60},
        {"htu": "https://[::1"},
        {"htu": "/api"},
    ],
)
def test_step_7_proof_with_other_claims_is_refused(claims: dict[str, Any]) -> None:
    token = forge()

    refused_at(7, lambda: kit_door(token, dpop=forged_proof(token, **claims)))


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "....", "A" * 9_000, "\ud800.\x00.é"])
def test_step_7_text_that_is_no_proof_is_refused(text: str) -> None:
    refused_at(7, lambda: kit_door(dpop=text))


def test_step_7_proof_is_good_once() -> None:
    verifier = agency()
    token = forge()
    once = proof(token)

    kit_door(token, verifier=verifier, dpop=once)

    refused_at(7, lambda: kit_door(token, verifier=verifier, dpop=once))
    refused_at(7, lambda: kit_door(token, verifier=verifier, dpop=once, now=NOW.timestamp() + 60))
    kit_door(token, verifier=verifier)


def test_step_7_second_signature_of_the_same_proof_is_a_replay() -> None:
    """Every ECDSA signature has a twin that anyone can compute, so that the text alone would not tell."""
    verifier = agency()
    token = forge()
    first = proof(token)
    signed, _, signature = first.rpartition(".")
    content = base64.urlsafe_b64decode(signature + "==")
    r, s = int.from_bytes(content[:32]), int.from_bytes(content[32:])
    twin = f"{signed}.{b64(raw(r, P256_ORDER - s))}"

    kit_door(token, verifier=verifier, dpop=first)

    refused_at(7, lambda: kit_door(token, verifier=verifier, dpop=twin))


def test_step_7_same_proof_in_many_threads_passes_once() -> None:
    verifier = agency()
    token = forge()
    once = proof(token)

    def passes(_: int) -> bool:
        try:
            kit_door(token, verifier=verifier, dpop=once)
        except VerificationError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        passed = list(pool.map(passes, range(64)))

    assert passed.count(True) == 1


def test_step_7_memory_of_proofs_is_bounded_and_refuses_when_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent.verifier, "PROOFS_MAX", 3)
    verifier = agency()
    token = forge()
    for _ in range(3):
        kit_door(token, verifier=verifier)

    refused_at(7, lambda: kit_door(token, verifier=verifier))

    later = NOW + dt.timedelta(seconds=61)
    kit_door(
        token,
        verifier=verifier,
        dpop=proof(token, now=later),
        status_list=standing(expires_at=SECONDS + 90),
        now=later.timestamp(),
    )
