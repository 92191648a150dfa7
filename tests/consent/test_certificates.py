"""The certificate of the seal: made where there is none, taken from the office's file where there is one."""

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from consent import certificates
from consent.keys import FileKeyStore


def test_made_certificate_is_signed_by_its_own_authority_and_signs_documents_only(
    key_store: FileKeyStore,
) -> None:
    seal = key_store.document_seal()
    [authority] = seal.authorities

    seal.certificate.verify_directly_issued_by(authority)
    authority.verify_directly_issued_by(authority)
    usage = seal.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.content_commitment
    assert not usage.key_cert_sign
    assert seal.key.public_key() == seal.certificate.public_key()


def test_every_process_has_the_same_seal_and_its_file_is_private(tmp_path: Path) -> None:
    first, second = FileKeyStore(tmp_path), FileKeyStore(tmp_path)

    assert first.document_seal().certificate == second.document_seal().certificate
    assert stat.S_IMODE((tmp_path / "document-seal.p12").stat().st_mode) == 0o600


def test_file_of_a_recognised_authority_is_taken_with_its_password(tmp_path: Path) -> None:
    made = certificates.read_pkcs12(certificates.make_pkcs12(), None)
    content = pkcs12.serialize_key_and_certificates(
        b"office", made.key, made.certificate, made.authorities, BestAvailableEncryption(b"secret")
    )
    (tmp_path / "document-seal.p12").write_bytes(content)
    (tmp_path / "document-seal.password").write_text("secret\n")

    assert FileKeyStore(tmp_path).document_seal().certificate == made.certificate


def test_file_without_a_certificate_is_refused() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    content = pkcs12.serialize_key_and_certificates(b"x", key, None, None, BestAvailableEncryption(b"x"))

    with pytest.raises(ValueError, match="holds no EC or RSA key"):
        certificates.read_pkcs12(content, b"x")
