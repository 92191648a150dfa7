"""The seal of a PDF file: a PAdES signature over all of it (ETSI EN 319 142-1, level B-B). The one module that
knows pyHanko.

It is appended as an incremental update, so that the typeset file stays as it is, byte for byte, its PDF/A and
PDF/UA metadata included. The signature's field is outside the page: PDF/A wants it printable, and PDF/UA has
no untagged annotation within the page.

A file is taken for sealed only when the signature leaves nothing out. The one gap that a signature must leave
is the signature itself: it has to be exactly what we would write for the certificates and the signed parts that
stand in it, in upper-case hex, then zeros.
"""

import datetime as dt
import hashlib
import io
import re
from typing import NamedTuple

from asn1crypto import cms, core, keys, x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import BasePdfFileWriter
from pyhanko.sign.fields import InvisSigSettings, SigFieldSpec, SigSeedSubFilter
from pyhanko.sign.signers import PdfSignatureMetadata, PdfSigner, SimpleSigner
from pyhanko.sign.signers.constants import ESIC_EXTENSION_1
from pyhanko.sign.validation.generic_cms import validate_sig_integrity
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko_certvalidator.registry import SimpleCertificateStore

from consent.certificates import SealIdentity
from services.errors import DocumentRefused

FILE_BYTES_MAX = 10 * 1024 * 1024
PAGES_MAX = 50
PADES = "/ETSI.CAdES.detached"
FIELD = "Seal"
_KEYWORDS = re.compile(rb"<pdf:Keywords>([\x21-\x3b\x3d-\x7e]{1,4096})</pdf:Keywords>")
_GAP = re.compile(rb"<((?:[0-9A-F]{2})+)>")


class SealedFile(NamedTuple):
    """What a file whose seal is sound says of itself."""

    keywords: str
    content_sha256: bytes  # of what is drawn on its pages
    certificates_sha256: bytes
    not_before: dt.datetime  # of the certificate
    not_after: dt.datetime


class _Writer(IncrementalPdfFileWriter):
    """Appends the signature and nothing else."""

    def _update_meta(self) -> None:
        """Leave the metadata as they were typeset."""


class _Signer(PdfSigner):
    """Stays within PDF 1.7, on which PDF/A-2 rests: PAdES has ECDSA there."""

    def register_extensions(self, pdf_out: BasePdfFileWriter, *, md_algorithm: str) -> None:
        """Declare PAdES, and not the extension for elliptic curves, which would make it a PDF 2.0 file."""
        pdf_out.register_extension(ESIC_EXTENSION_1)


def seal(pdf: bytes, identity: SealIdentity) -> bytes:
    """The file with a seal over all of it. Must not run within an event loop."""
    settings = InvisSigSettings(set_print_flag=True, set_hidden_flag=False, box_out_of_bounds=True)
    signer = _Signer(
        PdfSignatureMetadata(field_name=FIELD, md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES),
        _signer(identity),
        new_field_spec=SigFieldSpec(FIELD, invis_sig_settings=settings),
    )
    sealed = io.BytesIO()
    # PDF/A-2, 6.1.9: an object begins on a line of its own, also the first of an update.
    signer.sign_pdf(_Writer(io.BytesIO(pdf + b"\n")), output=sealed)
    return sealed.getvalue()


def certificates_sha256(identity: SealIdentity) -> bytes:
    """The hash by which a token names the certificates that its document is sealed with."""
    return _sha256_of_certificates(
        [
            certificate.public_bytes(Encoding.DER)
            for certificate in (identity.certificate, *identity.authorities)
        ]
    )


def content_sha256(pdf: bytes) -> bytes:
    """The hash of what is drawn on the pages. Pictures are referred to there, so that they do not change it."""
    return _content_sha256(PdfFileReader(io.BytesIO(pdf)))


def opened(pdf: bytes) -> SealedFile:
    """Check that the file is sealed and unchanged since, to its last byte. Raises DocumentRefused.

    Whose seal it is, is not known here: compare `certificates_sha256`.
    """
    if len(pdf) > FILE_BYTES_MAX:
        raise DocumentRefused(f"it has over {FILE_BYTES_MAX} bytes")
    try:
        reader = PdfFileReader(io.BytesIO(pdf))
        signatures = list(reader.embedded_signatures)
        if len(signatures) != 1:
            raise DocumentRefused(f"it has {len(signatures)} seals, expected one")
        signer = _check(signatures[0], pdf)
        return SealedFile(
            keywords=_keywords(reader),
            content_sha256=_content_sha256(reader),
            certificates_sha256=_sha256_of_certificates(
                [choice.dump() for choice in signatures[0].signed_data["certificates"]]
            ),
            not_before=signer.not_valid_before,
            not_after=signer.not_valid_after,
        )
    except DocumentRefused:
        raise
    except Exception as error:
        # What was sent may be anything, and the reader's ways to fail on it are not listed anywhere.
        raise DocumentRefused("it is no PDF file that can be read") from error


def _check(signature: EmbeddedPdfSignature, pdf: bytes) -> x509.Certificate:
    """The signer's certificate of a signature that covers the whole file."""
    if signature.sig_object["/SubFilter"] != PADES:
        raise DocumentRefused("its seal is of another kind than PAdES")
    _check_gap(signature, pdf)
    signer: x509.Certificate = signature.signer_cert
    intact, valid = validate_sig_integrity(
        signature.signer_info, signer, "data", signature.compute_digest("sha256")
    )
    if not intact:
        raise DocumentRefused("it was changed after it was sealed")
    if not valid:
        raise DocumentRefused("its seal is not that of its certificate")
    return signer


def _check_gap(signature: EmbeddedPdfSignature, pdf: bytes) -> None:
    """The signature covers everything but itself, and itself has one form only."""
    start, length, resume, rest = (int(number) for number in signature.byte_range)
    if start != 0 or resume + rest != len(pdf) or length < 0 or resume < length:
        raise DocumentRefused("its seal does not cover all of it")
    gap = _GAP.fullmatch(pdf, length, resume)
    content = bytes.fromhex(gap[1].decode()) if gap else b""
    message = cms.ContentInfo.load(content)
    encoded: bytes = message.dump()
    if content != encoded.ljust(len(content), b"\0") or _written_anew(message["content"]) != encoded:
        raise DocumentRefused("it was changed after it was sealed")


def _written_anew(read: cms.SignedData) -> bytes:
    """The message (RFC 5652) that holds these certificates and this signature, with all else as we write it."""
    [signer] = read["signer_infos"]
    algorithm = {"algorithm": "sha256", "parameters": core.Null()}
    again = {name: signer[name] for name in ("sid", "signed_attrs", "signature_algorithm", "signature")}
    signed = {
        "version": "v1",
        "digest_algorithms": [algorithm],
        "encap_content_info": {"content_type": "data"},
        "certificates": read["certificates"],
        "signer_infos": [{"version": "v1", "digest_algorithm": algorithm, **again}],
    }
    message = cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(signed)})
    encoded: bytes = message.dump(force=True)
    return encoded


def _keywords(reader: PdfFileReader) -> str:
    found = _KEYWORDS.findall(reader.root["/Metadata"].data)
    if len(found) != 1:
        raise DocumentRefused("it carries no token")
    return str(found[0].decode("ascii"))


def _content_sha256(reader: PdfFileReader) -> bytes:
    count = int(reader.root["/Pages"]["/Count"])
    if not 0 < count <= PAGES_MAX:
        raise DocumentRefused(f"it has {count} pages")
    digest = hashlib.sha256()
    for number in range(count):
        page = reader.find_page_for_modification(number)[0].get_object()  # type: ignore[no-untyped-call] # as its author left it
        content: bytes = page["/Contents"].data
        digest.update(len(content).to_bytes(8) + content)
    return digest.digest()


def _sha256_of_certificates(certificates: list[bytes]) -> bytes:
    """In an order of their own: a signature holds its certificates as a set."""
    return hashlib.sha256(b"".join(sorted(certificates))).digest()


def _signer(identity: SealIdentity) -> SimpleSigner:
    certificate, *authorities = (
        x509.Certificate.load(known.public_bytes(Encoding.DER))
        for known in (identity.certificate, *identity.authorities)
    )
    key = identity.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    registry = SimpleCertificateStore()  # type: ignore[no-untyped-call] # as its author left it
    registry.register_multiple(authorities)
    return SimpleSigner(certificate, keys.PrivateKeyInfo.load(key), registry)
