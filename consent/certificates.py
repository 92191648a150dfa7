"""The certificate that documents are sealed with: read from a PKCS#12 file, or made where there is none.

An office with a certificate of a recognised authority puts its PKCS#12 file into the key folder. Without one
a chain of two is made: an authority of its own and, under it, the certificate of the seal. Nobody outside
trusts that authority; what is sealed under it is trusted through the published keys, whose tokens name the
certificate.
"""

import datetime as dt
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
from cryptography.x509.oid import NameOID

AUTHORITY = "onestop document authority (self-made)"
SEAL = "onestop document seal (self-made)"
# Valid from a day ago: documents are sealed in the database's time, and that clock may be behind this one.
CLOCKS_APART = dt.timedelta(days=1)
AUTHORITY_YEARS, SEAL_YEARS = 20, 10
YEAR = dt.timedelta(days=365)

SealKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class SealIdentity(NamedTuple):
    """What a document is sealed with: the key, its certificate, and those above it."""

    key: SealKey
    certificate: x509.Certificate
    authorities: tuple[x509.Certificate, ...]


def read_pkcs12(content: bytes, password: bytes | None) -> SealIdentity:
    """The identity in a PKCS#12 file (RFC 7292). Raises ValueError for a file that holds none."""
    key, certificate, authorities = pkcs12.load_key_and_certificates(content, password)
    if certificate is None or not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("the PKCS#12 file holds no EC or RSA key with its certificate")
    return SealIdentity(key, certificate, tuple(authorities))


def make_pkcs12() -> bytes:
    """A self-made chain as a PKCS#12 file without a password: it is kept as private as the keys beside it."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    authority_key, seal_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate(
        AUTHORITY, AUTHORITY, authority_key.public_key(), authority_key, now, AUTHORITY_YEARS, authority=True
    )
    seal = _certificate(
        SEAL, AUTHORITY, seal_key.public_key(), authority_key, now, SEAL_YEARS, authority=False
    )
    return pkcs12.serialize_key_and_certificates(
        b"document-seal", seal_key, seal, [authority], NoEncryption()
    )


def _certificate(
    subject: str,
    issuer: str,
    public_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    years: int,
    *,
    authority: bool,
) -> x509.Certificate:
    """A certificate (RFC 5280) that may sign either certificates or documents."""
    usage = x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(now + years * YEAR)
        .add_extension(
            x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True
        )
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
