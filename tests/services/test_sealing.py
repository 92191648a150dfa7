"""A sealed document as those meet it who must not have to believe it."""

import datetime as dt
import io
from functools import partial
from typing import Any

import msgspec
import pypdf
import pypdfium2
import pytest
import zxingcpp

from consent import certificates, jws
from consent.keys import FileKeyStore
from services import pdf_seal, sealing
from services.errors import DocumentRefused
from services.gold_card import outcome
from services.gold_card.edition import editions
from services.sealing import DOCUMENT_KEY, Essentials, Issued, Mark, Sealer
from tests.services.gold_card.test_outcome import FACTS, text_of

ISSUER = "https://onestop.example"
# The database whose time counts may be behind the machine that made the certificate.
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(hours=2)
ESSENTIALS = Essentials(
    case_number=FACTS.case_number,
    kind="gold_card.outcome",
    outcome="approved",
    decided_on=FACTS.decided_on,
    card="0014",
)
EDITION = list(editions().values())[-1]


def render(mark: Mark, **changes: Any) -> bytes:
    return outcome.render(msgspec.structs.replace(FACTS, **changes), EDITION, mark)


@pytest.fixture(scope="module")
def key_store(tmp_path_factory: pytest.TempPathFactory) -> FileKeyStore:
    """One office's keys for all tests of this module: they only read them."""
    return FileKeyStore(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def issued(key_store: FileKeyStore) -> Issued:
    """A document of this office."""
    return Sealer(key_store, ISSUER).issue(ESSENTIALS, render, NOW)


def keys_of(key_store: FileKeyStore) -> jws.KeySet:
    """The office's published keys, as they come over the wire."""
    return jws.KeySet.from_jwks(msgspec.json.encode(sealing.published_keys(key_store)))


def qr_code(pdf: bytes, dots_per_inch: int) -> str:
    """What a reader sees in the QR code of the rendered page."""
    page = pypdfium2.PdfDocument(pdf)[0].render(scale=dots_per_inch / 72, grayscale=True)
    pixels = memoryview(page.buffer).cast("B")
    rows = b"".join(pixels[n * page.stride : n * page.stride + page.width] for n in range(page.height))
    image = memoryview(rows).cast("B", (page.height, page.width))
    [found] = zxingcpp.read_barcodes(image)
    return str(found.text)


def test_document_is_verified_with_the_published_key_alone(key_store: FileKeyStore, issued: Issued) -> None:
    claims = sealing.verify(issued.pdf, keys_of(key_store))

    assert (claims.facts, claims.iss, claims.jti) == (ESSENTIALS, ISSUER, issued.public_id)


def test_qr_code_of_the_page_at_150_dpi_is_the_token(key_store: FileKeyStore, issued: Issued) -> None:
    address, _, token = qr_code(issued.pdf, 150).partition("#")

    assert address == f"{ISSUER}/verify/{issued.public_id}"
    assert sealing.read_token(token, keys_of(key_store)).facts == ESSENTIALS


def test_qr_code_says_nothing_that_the_page_does_not_show(key_store: FileKeyStore, issued: Issued) -> None:
    claims = sealing.verify(issued.pdf, keys_of(key_store))
    shown = text_of(issued.pdf)

    for name in ("case_number", "card", "decided_on"):
        assert str(getattr(claims.facts, name)) in shown
    assert b"DUPONT" not in msgspec.json.encode(claims)
    assert b"A800000014" not in msgspec.json.encode(claims)


def test_seal_leaves_the_typeset_file_its_metadata_and_its_text(issued: Issued) -> None:
    reader = pypdf.PdfReader(io.BytesIO(issued.pdf))
    catalog: Any = reader.root_object
    metadata = catalog["/Metadata"].get_data().decode()
    [field] = catalog["/AcroForm"]["/Fields"]
    page: Any = reader.pages[0]
    left, bottom, _, _ = field.get_object()["/Rect"]

    assert "<pdfaid:part>2<" in metadata
    assert "<pdfaid:conformance>A<" in metadata
    assert "<pdfuaid:part>1<" in metadata
    assert issued.pdf.startswith(b"%PDF-1.7")
    assert "/Version" not in catalog
    assert left < 0 > bottom  # outside the page, where PDF/UA has no rule for it
    assert (
        field.get_object()["/F"] & 0b111 == 0b100
    )  # printable, neither hidden nor invisible: PDF/A-2, 6.3.2
    assert page["/Tabs"] == "/S"
    assert "就業金卡核准結果通知" in text_of(issued.pdf)
    assert len(reader.pages) == 1


def test_changed_byte_is_noticed_wherever_it_is(key_store: FileKeyStore, issued: Issued) -> None:
    trusted, pdf = keys_of(key_store), issued.pdf
    gap = pdf.index(b"/Contents <30") + len(b"/Contents ")
    end = pdf.index(b">", gap)
    places = {*range(0, len(pdf), len(pdf) // 60), *range(gap, end + 1, 37), gap, end, len(pdf) - 1}

    for place in sorted(places):
        changed = bytearray(pdf)
        changed[place] = ord("0") if pdf[place] == ord("1") else ord("1")
        with pytest.raises(DocumentRefused):
            sealing.verify(bytes(changed), trusted)


@pytest.mark.parametrize("appended", [b"\n", b"%", b"\nxref\n0 0\ntrailer<<>>\nstartxref\n0\n%%EOF\n"])
def test_what_is_appended_is_noticed(key_store: FileKeyStore, issued: Issued, appended: bytes) -> None:
    with pytest.raises(DocumentRefused):
        sealing.verify(issued.pdf + appended, keys_of(key_store))


def test_document_sealed_with_another_certificate_is_refused(key_store: FileKeyStore, issued: Issued) -> None:
    unsealed = issued.pdf[: issued.pdf.index(b"%%EOF") + len(b"%%EOF")]
    stranger = certificates.read_pkcs12(certificates.make_pkcs12(), None)

    with pytest.raises(DocumentRefused, match="seal is not that of the office"):
        sealing.verify(pdf_seal.seal(unsealed, stranger), keys_of(key_store))
    with pytest.raises(DocumentRefused, match="0 seals"):
        sealing.verify(unsealed, keys_of(key_store))


def test_token_of_one_document_does_not_serve_another(key_store: FileKeyStore, issued: Issued) -> None:
    link = qr_code(issued.pdf, 150)
    other = render(Mark(link.partition("#")[0], link), holder="SOMEBODY, ELSE")
    resealed = pdf_seal.seal(other, key_store.document_seal())

    with pytest.raises(DocumentRefused, match="that of another document"):
        sealing.verify(resealed, keys_of(key_store))


def test_document_of_another_office_is_refused(issued: Issued, tmp_path: Any) -> None:
    with pytest.raises(DocumentRefused, match="not signed with a key that is trusted"):
        sealing.verify(issued.pdf, keys_of(FileKeyStore(tmp_path / "other")))


def test_token_of_another_kind_is_no_document(key_store: FileKeyStore, issued: Issued) -> None:
    claims = sealing.verify(issued.pdf, keys_of(key_store))
    key = key_store.signing_key(DOCUMENT_KEY)

    for typ in ("JWT", "at+jwt", "statuslist+jwt"):
        with pytest.raises(DocumentRefused):
            sealing.read_token(jws.sign(claims, key, typ), keys_of(key_store))


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7", b"PK\x03\x04", b"%PDF-1.7\n" + b"[" * 100_000])
def test_what_is_no_document_is_refused(key_store: FileKeyStore, content: bytes) -> None:
    with pytest.raises(DocumentRefused):
        sealing.verify(content, keys_of(key_store))


def test_every_document_has_an_id_of_its_own(key_store: FileKeyStore, issued: Issued) -> None:
    again = Sealer(key_store, ISSUER).issue(ESSENTIALS, partial(render), NOW)

    assert len(issued.public_id) >= 22
    assert again.public_id != issued.public_id
