"""Issued documents that anybody can verify: a signed token of the essential facts, and a seal over the file.

The token (JWS, ES256, a `typ` of its own) stands in the QR code on the page and in the file's metadata, behind
the address at which the office says whether the document still holds. It says less than the page: no name, and
of the card's number the end. It is bound to the page by the hash of what is drawn there (the QR code itself is
a picture that the drawing only refers to), and to the seal by the hash of the certificates.

So one published key is enough to verify offline: it signed the token, the token names certificates and content,
and the seal covers the file to its last byte. Only whether a document was revoked since is known at the address
alone.
"""

import datetime as dt
import secrets
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from consent import jws
from consent.errors import TokenRefused
from consent.keys import KeyStore
from services import pdf_seal
from services.errors import DocumentRefused

DOCUMENT_KEY = "document"
DOCUMENT_TYP = "onestop-document+jwt"
ID_BYTES = 16  # random: nobody guesses one, and none tells of another


class Essentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is said of a document to whoever holds it: `card` is the end of the card's number."""

    case_number: str
    kind: str
    outcome: str
    decided_on: dt.date
    card: str


class DocumentClaims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The claims of a document's token; short names, since a QR code has to hold them.

    `jti` is the document's public id, `content` and `seal` are SHA-256 in base64url.
    """

    iss: str
    iat: int
    jti: str
    facts: Essentials
    content: str
    seal: str

    @property
    def address(self) -> str:
        """Where the office says whether the document still holds."""
        return address(self.iss, self.jti)


class Mark(NamedTuple):
    """What a page carries for verification: the address in words, and what its QR code says."""

    address: str
    link: str


class Issued(NamedTuple):
    """A sealed document and the id under which it can be verified."""

    public_id: str
    pdf: bytes


Render = Callable[[Mark], bytes]


class Sealer:
    """Marks and seals documents in the name of `issuer`, the address of the installation."""

    def __init__(self, key_store: KeyStore, issuer: str) -> None:
        self._key_store = key_store
        self._issuer = issuer

    def issue(self, essentials: Essentials, render: Render, at: dt.datetime) -> Issued:
        """Render, mark and seal a document. Computes for about 0.2 s: run it in a thread.

        It is rendered twice, since the token holds the hash of a page whose QR code holds the token.
        """
        identity = self._key_store.document_seal()
        public_id = secrets.token_urlsafe(ID_BYTES)
        where = address(self._issuer, public_id)
        unmarked = render(Mark(where, where))
        claims = DocumentClaims(
            iss=self._issuer,
            iat=int(at.timestamp()),
            jti=public_id,
            facts=essentials,
            content=jws.base64url(pdf_seal.content_sha256(unmarked)),
            seal=jws.base64url(pdf_seal.certificates_sha256(identity)),
        )
        token = jws.sign(claims, self._key_store.signing_key(DOCUMENT_KEY), DOCUMENT_TYP)
        return Issued(public_id, pdf_seal.seal(render(Mark(where, f"{where}#{token}")), identity))


def address(issuer: str, public_id: str) -> str:
    """Where a document is verified online."""
    return f"{issuer}/verify/{public_id}"


def published_keys(key_store: KeyStore) -> dict[str, list[dict[str, str]]]:
    """The key set (RFC 7517) that documents are verified with."""
    return jws.jwks([key_store.signing_key(DOCUMENT_KEY).public_key()])


def read_token(token: str, trusted: jws.KeySet) -> DocumentClaims:
    """The claims of a document's token. Raises DocumentRefused."""
    try:
        return jws.verify(token, trusted, DOCUMENT_TYP, DocumentClaims)
    except TokenRefused as error:
        raise DocumentRefused("its token is not signed with a key that is trusted") from error


def verify(pdf: bytes, trusted: jws.KeySet) -> DocumentClaims:
    """What a document says, where it is as it was issued. Raises DocumentRefused."""
    sealed = pdf_seal.opened(pdf)
    where, _, token = sealed.keywords.partition("#")
    claims = read_token(token, trusted)
    if where != claims.address:
        raise DocumentRefused("its address is not that of its token")
    if claims.seal != jws.base64url(sealed.certificates_sha256):
        raise DocumentRefused("its seal is not that of the office")
    if claims.content != jws.base64url(sealed.content_sha256):
        raise DocumentRefused("its token is that of another document")
    if not sealed.not_before.timestamp() <= claims.iat <= sealed.not_after.timestamp():
        raise DocumentRefused("its certificate was not valid when it was sealed")
    return claims
