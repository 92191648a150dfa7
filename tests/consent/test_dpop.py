"""Proofs of possession as the gateway makes them; what agencies refuse is in `test_verifier`."""

import base64
import hashlib
import json
from typing import Any

import pytest

from consent import dpop
from tests.consent.forge import DPOP_KEY, NOW, SECONDS, b64


def parts_of(proof: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims, _ = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in proof.split("."))
    return json.loads(header), json.loads(claims)


def test_proof_brings_its_public_key_and_nothing_private() -> None:
    header, _ = parts_of(
        dpop.make_proof(DPOP_KEY, method="GET", url="https://a.example", token=None, now=NOW)
    )

    assert header.keys() == {"alg", "typ", "jwk"}
    assert (header["alg"], header["typ"]) == ("ES256", "dpop+jwt")
    assert header["jwk"].keys() == {"kty", "crv", "x", "y"}


def test_proof_names_request_token_and_time() -> None:
    url = "https://a.example/operations/x?page=2#top"

    _, claims = parts_of(dpop.make_proof(DPOP_KEY, method="POST", url=url, token="abc.def.ghi", now=NOW))

    jti = claims.pop("jti")
    assert len(jti) >= 22  # 128 bits
    assert claims == {
        "htm": "POST",
        "htu": "https://a.example/operations/x",
        "iat": SECONDS,
        "ath": b64(hashlib.sha256(b"abc.def.ghi").digest()),
    }


def test_proof_repeats_the_nonce_of_the_server() -> None:
    proof = dpop.make_proof(
        DPOP_KEY, method="POST", url="https://a.example", token=None, now=NOW, nonce="n-1"
    )

    _, claims = parts_of(proof)

    assert claims["nonce"] == "n-1"
    assert "ath" not in claims


def test_no_two_proofs_are_the_same() -> None:
    proofs = [
        parts_of(dpop.make_proof(DPOP_KEY, method="GET", url="https://a.example", token=None, now=NOW))
        for _ in range(10)
    ]

    assert len({claims["jti"] for _, claims in proofs}) == 10


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTPS://Agency.Example/A", "https://agency.example/A"),
        ("https://agency.example:443", "https://agency.example/"),
        ("http://agency.example:80/a?b", "http://agency.example/a"),
        ("https://agency.example:8443/a/", "https://agency.example:8443/a/"),
        ("http://[::1]:8080/a#b", "http://[::1]:8080/a"),
        ("https://agency.example:/a", "https://agency.example/a"),
    ],
)
def test_address_has_one_normal_form(url: str, normal: str) -> None:
    assert dpop.normalise(url) == normal
    assert dpop.normalise(normal) == normal


@pytest.mark.parametrize(
    "url",
    ["", "/operations/x", "agency.example", "ftp://agency.example", "https:///a", "https://user@agency.example",
     "https://agency.example@attacker.example", "https://agency.example:99999", "https://[::1", "file:///a"],
)  # fmt: skip
def test_address_that_is_not_absolute_http_has_none(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        dpop.normalise(url)
