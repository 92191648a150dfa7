"""The notice of the result as a reader gets it."""

import datetime as dt
import io
from typing import Any

import msgspec
import pypdf
import pytest

from adapters.nia.adapter import Card
from services.events import PermitEffect
from services.gold_card.edition import Edition
from services.gold_card.outcome import OutcomeFacts, render
from services.sealing import Mark

MARK = Mark("https://onestop.example/verify/x", "https://onestop.example/verify/x#token")
FACTS = OutcomeFacts(
    case_number="111123456785",
    filed_on=dt.date(2022, 3, 1),
    decided_on=dt.date(2022, 4, 15),
    holder="DUPONT, MARIE",
    chinese_name="杜瑪麗",
    nationality="FRA",
    field="culture",
    stay="arc",
    card=Card(
        number="A800000014",
        issued_on=dt.date(2022, 4, 15),
        valid_from=dt.date(2022, 4, 16),
        valid_to=dt.date(2025, 4, 15),
    ),
    collection_station="taipei",
    permits={
        "work_permit": PermitEffect(
            status="granted",
            basis="外國專業人才延攬及僱用法 §9",
            valid_from=dt.date(2022, 4, 16),
            valid_to=dt.date(2025, 4, 15),
        ),
        "resident_visa": PermitEffect(status="exempt", basis="外國專業人才延攬及僱用法 §9"),
        "alien_resident_certificate": PermitEffect(status="granted", basis="§9"),
        "re_entry_permit": PermitEffect(status="granted", basis="§9"),
    },
)


def text_of(pdf: bytes) -> str:
    """All text, without line breaks and blanks, which depend on the layout."""
    pages = pypdf.PdfReader(io.BytesIO(pdf)).pages
    return "".join("".join(page.extract_text().split()) for page in pages)


def test_the_notice_tells_the_result_in_both_languages(edition: Edition) -> None:
    text = text_of(render(FACTS, edition, MARK))

    for said in ("就業金卡核准結果通知", "111123456785", "DUPONT,MARIE（杜瑪麗）", "文化藝術", "Cultureandarts",
                 "2022-04-16", "2025-04-15", "免辦notneeded", "臺北市服務站", "許可辦法§10"):  # fmt: skip
        assert said in text


def test_from_abroad_the_notice_names_the_certificate_and_its_exchange(edition: Edition) -> None:
    facts = msgspec.structs.replace(FACTS, stay="abroad", card=None, certificate="GC20220415ABCDEF")

    text = text_of(render(facts, edition, MARK))

    assert "境外核准證明" in text
    assert "GC20220415ABCDEF" in text
    assert "Within30daysafterentry" in text
    assert "Cardnumber" not in text
    assert "Within30daysafterentry" not in text_of(render(FACTS, edition, MARK))


def test_the_notice_says_that_it_is_not_the_card(edition: Edition) -> None:
    assert "本通知非就業金卡" in text_of(render(FACTS, edition, MARK))


def test_the_document_is_titled_tagged_and_in_chinese_and_fits_one_page(edition: Edition) -> None:
    reader = pypdf.PdfReader(io.BytesIO(render(FACTS, edition, MARK)))
    catalog: Any = reader.root_object

    assert len(reader.pages) == 1
    assert reader.metadata is not None
    assert reader.metadata.title == "就業金卡核准結果通知"
    assert catalog["/Lang"] == "zh-TW"
    assert catalog["/MarkInfo"]["/Marked"]
    metadata = catalog["/Metadata"].get_data().decode()
    assert "pdfaid:part" in metadata
    assert "pdfuaid:part" in metadata


def test_its_font_is_embedded(edition: Edition) -> None:
    page: Any = pypdf.PdfReader(io.BytesIO(render(FACTS, edition, MARK))).pages[0]

    fonts = page["/Resources"]["/Font"].values()
    described = [font.get_object()["/DescendantFonts"][0]["/FontDescriptor"] for font in fonts]

    assert described
    assert all("NotoSansTC" in font["/FontName"] for font in described)
    assert all("/FontFile3" in font or "/FontFile2" in font for font in described)


def test_the_same_facts_give_the_same_bytes(edition: Edition) -> None:
    assert render(FACTS, edition, MARK) == render(FACTS, edition, MARK)


@pytest.mark.parametrize(
    "hostile",
    [
        '#panic("x")',
        "*b* _i_ $x$ `raw` @ref <label>",
        '"); #import "x',
        "\\u{41} #sys.inputs",
        "// no comment",
    ],
)
def test_what_looks_like_markup_is_shown_as_it_is(edition: Edition, hostile: str) -> None:
    facts = msgspec.structs.replace(FACTS, holder=hostile)

    assert "".join(hostile.split()) in text_of(render(facts, edition, MARK))
