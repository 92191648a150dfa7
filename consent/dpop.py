"""Proof of possession (DPoP, RFC 9449): a stolen token is of no use without the key it is bound to.

Each request to an agency brings a proof of its own, signed with the key whose thumbprint the token names as
`cnf.jkt`. The proof names the method and the address of this request and the hash of the token, and is good
once: the agency remembers its `jti` for as long as it would accept it. Agencies check with `consent.verifier`.
"""

import datetime as dt
import hashlib
import secrets
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from consent import jws

PROOF_TYP = "dpop+jwt"
JTI_BYTES = 16  # RFC 9449, section 4.2, asks for at least 96 random bits
DEFAULT_PORTS = {"https": 443, "http": 80}


class ProofClaims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """RFC 9449, section 4.2: `ath` where a token is shown, `nonce` where the server gave one."""

    jti: str
    htm: str
    htu: str
    iat: int
    ath: str | None = None
    nonce: str | None = None


def make_proof(
    key: ec.EllipticCurvePrivateKey,
    *,
    method: str,
    url: str,
    token: str | None,
    now: dt.datetime,
    nonce: str | None = None,
) -> str:
    """A new proof for one request. Raises ValueError for an address that is not absolute http or https."""
    claims = ProofClaims(
        jti=secrets.token_urlsafe(JTI_BYTES),
        htm=method,
        htu=normalise(url),
        iat=int(now.timestamp()),
        ath=None if token is None else token_hash(token),
        nonce=nonce,
    )
    return jws.sign_with_jwk_header(claims, key, PROOF_TYP)


def token_hash(token: str) -> str:
    """The `ath` of a token: SHA-256 in base64url (RFC 9449, section 4.2)."""
    return jws.base64url(hashlib.sha256(token.encode("ascii")).digest())


def normalise(url: str) -> str:
    """The address as proofs name it: scheme and host in lower case, no default port, query or fragment.

    RFC 9449, section 4.3, after RFC 3986, section 6.2. Raises ValueError for an address that is not absolute
    http or https, or that names a user.
    """
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("not an absolute http or https address without a user")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in {None, DEFAULT_PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path or '/'}"
