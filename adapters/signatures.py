"""Signed messages (RFC 9421) with a digest of the body (RFC 9530), in both directions.

One strict profile of the standard: one signature a message, ES256 (`ecdsa-p256-sha256`), the key named by its
RFC 7638 thumbprint, good for 60 seconds, with the tag `onestop` so that a signature made for another protocol
is worth nothing here. `verify` believes nothing that it was not told to require:

1. sizes are bounded, and no header that is covered or read here is repeated or holds a list
2. exactly one signature, of the tag, the algorithm and a key that we know
3. created and expires are both there, at most 60 seconds apart, and the present lies between them
4. the signature is the key's over the method, the whole URL and every required component
5. the digest is the body's

A replayed message is not noticed here: it is the same message, and every receiver of ours is idempotent.
"""

import base64
import datetime as dt
import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
)
from http_message_signatures.algorithms import ECDSA_P256_SHA256
from http_message_signatures.exceptions import HTTPMessageSignaturesException

from adapters.contract import SIGNATURE_SECONDS_MAX, SIGNATURE_TAG
from adapters.errors import SignatureRefused
from consent.jws import thumbprint as thumbprint  # what `keyid` holds, for whoever looks keys up

CLOCK_SKEW_SECONDS_MAX = 10  # the same as for tokens
FIELD_BYTES_MAX = 8200  # `authorization` with the largest token that is accepted, 8 KiB
NONCE_BYTES = 16
DIGEST = "content-digest"
LABEL = "sig"
_KEY_ID = re.compile(r';keyid="([A-Za-z0-9_-]{43})"')
_READ = ("signature", "signature-input", DIGEST)


def content_digest(body: bytes) -> str:
    """The value of `Content-Digest` for a body (RFC 9530, section 2), SHA-256."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def sign(
    *,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    key: ec.EllipticCurvePrivateKey,
    components: tuple[str, ...],
    now: dt.datetime,
) -> dict[str, str]:
    """The headers to add: Content-Digest (where `components` has it), Signature-Input and Signature.

    `headers` holds at least the header fields that `components` names. Raises ValueError when one is missing,
    or when there is a body that the components leave uncovered.
    """
    if body and DIGEST not in components:
        raise ValueError("a message with a body is signed over its content-digest")
    fields = {name.lower(): value for name, value in headers.items()}
    added = {"Content-Digest": content_digest(body)} if DIGEST in components else {}
    fields.update({name.lower(): value for name, value in added.items()})
    message = _Message(method=method, url=url, headers=fields)
    key_id = thumbprint(key.public_key())
    signer = HTTPMessageSigner(
        signature_algorithm=ECDSA_P256_SHA256, key_resolver=_Keys(private={key_id: key})
    )
    try:
        signer.sign(
            message,
            key_id=key_id,
            created=now,
            expires=now + dt.timedelta(seconds=SIGNATURE_SECONDS_MAX),
            nonce=secrets.token_urlsafe(NONCE_BYTES),
            label=LABEL,
            tag=SIGNATURE_TAG,
            include_alg=True,
            covered_component_ids=components,
            use_existing_digest=bool(added),
        )
    except HTTPMessageSignaturesException as error:
        raise ValueError(f"the message cannot be signed: {error}") from error
    return added | {name: fields[name] for name in ("Signature-Input", "Signature")}


def claimed_key(headers: Mapping[str, str]) -> str:
    """The key id that a message claims to be signed with. Nothing is verified here. Raises SignatureRefused.

    For a receiver that must know whose keys to verify with: the id is a thumbprint, pinned for one sender.
    """
    field_value = headers.get("signature-input", headers.get("Signature-Input", ""))
    if len(field_value) > FIELD_BYTES_MAX:
        raise SignatureRefused(f"the header field 'signature-input' is longer than {FIELD_BYTES_MAX}")
    found = _KEY_ID.findall(field_value)
    if len(found) != 1:
        raise SignatureRefused("a message names exactly one key")
    return str(found[0])


def verify(
    *,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    keys: Mapping[str, ec.EllipticCurvePublicKey],
    components: tuple[str, ...],
    now: dt.datetime,
) -> str:
    """The key id of a message whose one signature is good, made by one of `keys`, over all `components`.

    `url` is the absolute URL by which we know ourselves, not one built from a Host header. `headers` may be a
    multi-mapping. Raises SignatureRefused.
    """
    _check_fields(headers, components)
    verifier = _Verifier(now, keys)
    message = _Message(method=method, url=url, headers=headers)
    try:
        [result] = verifier.verify(
            message,
            max_age=dt.timedelta(seconds=SIGNATURE_SECONDS_MAX),
            expect_tag=SIGNATURE_TAG,
            require_components=components,
            body=body,
        )
    except (HTTPMessageSignaturesException, ValueError) as error:
        raise SignatureRefused("the signature is missing, malformed, stale or not the key's") from error
    return str(result.parameters["keyid"])


def _check_fields(headers: Mapping[str, str], components: tuple[str, ...]) -> None:
    """Step 1. A comma would be a list, or two fields that something on the way has joined into one."""
    relevant = {name for name in components if not name.startswith("@")}.union(_READ)
    seen: Counter[str] = Counter()
    for name, value in headers.items():
        if name.lower() not in relevant:
            continue
        seen[name.lower()] += 1
        if seen[name.lower()] > 1 or "," in value:
            raise SignatureRefused(f"the header field '{name.lower()}' is repeated or holds a list")
        if len(value) > FIELD_BYTES_MAX:
            raise SignatureRefused(f"the header field '{name.lower()}' is longer than {FIELD_BYTES_MAX}")


@dataclass(frozen=True)
class _Message:
    """A request as the library reads it."""

    method: str
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class _Keys(HTTPSignatureKeyResolver):
    """Keys by thumbprint; an unknown one is None, which the library refuses."""

    private: Mapping[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    public: Mapping[str, ec.EllipticCurvePublicKey] = field(default_factory=dict)

    def resolve_private_key(self, key_id: str) -> ec.EllipticCurvePrivateKey:
        return self.private[key_id]

    def resolve_public_key(self, key_id: str) -> ec.EllipticCurvePublicKey | None:
        return self.public.get(key_id)


class _Verifier(HTTPMessageVerifier):
    """The library's verifier, with our clock and with `alg` and `expires` no longer optional."""

    def __init__(self, now: dt.datetime, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> None:
        super().__init__(signature_algorithm=ECDSA_P256_SHA256, key_resolver=_Keys(public=keys))
        self._now = now.timestamp()

    def validate_created_and_expires(self, sig_input: Any, max_age: dt.timedelta | None = None) -> None:
        """Step 3, called by the library before it looks at key and signature."""
        created, expires = sig_input.params.get("created"), sig_input.params.get("expires")
        if type(created) is not int or type(expires) is not int or "alg" not in sig_input.params:
            raise InvalidSignature("created, expires and alg are required")
        if not 0 < expires - created <= SIGNATURE_SECONDS_MAX:
            raise InvalidSignature(f"a signature lives at most {SIGNATURE_SECONDS_MAX} seconds")
        if not created - CLOCK_SKEW_SECONDS_MAX <= self._now <= expires + CLOCK_SKEW_SECONDS_MAX:
            raise InvalidSignature("the present is not between created and expires")
