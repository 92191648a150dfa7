"""The notice of the result (核准結果通知), as PDF.

It tells what was decided; it is never the card, which the immigration agency prints. The document is PDF/A-2a
and PDF/UA-1 (tagged, titled, in zh-TW with English beside it) with an embedded font, and the same facts give
the same bytes. Facts reach the template as data, never as source text.
"""

import datetime as dt
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import msgspec
import pylopdf_fonts_zh_tw
import segno
import typst

from adapters.nia.adapter import Card
from services.events import PermitEffect
from services.gold_card.edition import Edition
from services.gold_card.form import StayStatus
from services.sealing import Mark
from services.text import Text

QUIET_MODULES = 4  # ISO/IEC 18004: the margin without which a reader may not find the code
TITLE = Text("就業金卡核准結果通知", "Employment Gold Card: notice of the result")
_ISSUER = "內政部移民署（單一服務窗口）"
_FOOTER = Text("本文件為電子文件，列印本無須用印。", "This is an electronic document.")
_NOT_THE_CARD = Text(
    "本通知非就業金卡。卡片由內政部移民署製發，請依下列方式領取。",
    "This notice is not the card. The National Immigration Agency issues the card; collect it as stated below.",
)
_VERIFY = Text(
    "掃描條碼或至下列網址查驗本文件", "Scan the code, or open this address, to verify this document"
)
_COLUMN_ITEM = Text("項目", "Item")
_COLUMN_VALUE = Text("內容", "Content")
_FOLLOW_UPS = Text("領卡後應注意事項", "What to know afterwards")
_CASE = Text("案件", "The case")
_PERMITS = Text("核准之許可", "The permits")
_STATUS = {
    "granted": Text("核准", "granted"),
    "exempt": Text("免辦", "not needed"),
    "not_applicable": Text("不適用", "not applicable"),
    "replaced_by": Text("由其他許可取代", "replaced by another permit"),
}
_PERMIT_TITLES = {
    "work_permit": Text("工作許可", "Work permit"),
    "resident_visa": Text("居留簽證", "Resident visa"),
    "alien_resident_certificate": Text("外僑居留證", "Alien resident certificate"),
    "re_entry_permit": Text("重入國許可", "Re-entry permit"),
}


class OutcomeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the notice says: the case, the holder, the permits, and the card or, before it, the certificate."""

    case_number: str
    filed_on: dt.date
    decided_on: dt.date
    holder: str
    chinese_name: str
    nationality: str
    field: str
    collection_station: str
    permits: Mapping[str, PermitEffect]
    stay: StayStatus
    card: Card | None = None
    certificate: str = ""


class _Row(msgspec.Struct, frozen=True):
    label: Text
    value: Text


class _Section(msgspec.Struct, frozen=True):
    title: Text
    rows: tuple[_Row, ...]


class _Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """The mark as the template takes it: the QR code as grey pixels, one a module, in rows of `size`."""

    caption: Text
    description: str
    address: str
    link: str
    size: int
    pixels: tuple[int, ...]


class _Template(msgspec.Struct, frozen=True, kw_only=True):
    """The facts as the template takes them."""

    mark: _Drawn

    title: str
    title_en: str
    issuer: str
    footer: str
    not_the_card: Text
    column_item: Text
    column_value: Text
    sections: tuple[_Section, ...]
    follow_ups_title: Text
    follow_ups: tuple[Text, ...]


def render(facts: OutcomeFacts, edition: Edition, mark: Mark) -> bytes:
    """The notice as PDF; the same facts and mark give the same bytes."""
    return _compile(_template(facts, edition, mark), facts.decided_on)


def _template(facts: OutcomeFacts, edition: Edition, mark: Mark) -> _Template:
    return _Template(
        mark=_drawn(mark),
        title=TITLE.zh,
        title_en=TITLE.en,
        issuer=_ISSUER,
        footer=f"{_FOOTER.zh} {_FOOTER.en}",
        not_the_card=_NOT_THE_CARD,
        column_item=_COLUMN_ITEM,
        column_value=_COLUMN_VALUE,
        sections=(_case(facts, edition), _permits(facts)),
        follow_ups_title=_FOLLOW_UPS,
        follow_ups=tuple(
            entry.text for entry in edition.follow_ups if not entry.stays or facts.stay in entry.stays
        ),
    )


def _case(facts: OutcomeFacts, edition: Edition) -> _Section:
    field = edition.field(facts.field)
    station = next((s.title for s in edition.stations if s.id == facts.collection_station), None)
    holder = f"{facts.holder}（{facts.chinese_name}）" if facts.chinese_name else facts.holder
    return _Section(
        _CASE,
        (
            _Row(Text("案號", "Case number"), _same(facts.case_number)),
            _Row(Text("申請日", "Filed on"), _same(str(facts.filed_on))),
            _Row(Text("核准日", "Decided on"), _same(str(facts.decided_on))),
            _Row(Text("申請人", "Applicant"), _same(holder)),
            _Row(Text("國籍", "Nationality"), _same(facts.nationality)),
            _Row(Text("專業領域", "Field of expertise"), field.title if field else _same(facts.field)),
            *_document(facts),
            _Row(
                Text("領卡地點", "Collection"),
                station or _same(facts.collection_station),
            ),
        ),
    )


def _document(facts: OutcomeFacts) -> list[_Row]:
    """The card, or the certificate that will be exchanged for it."""
    if facts.card is None:
        return [_Row(Text("境外核准證明", "Approval certificate"), _same(facts.certificate))]
    card = facts.card
    validity = Text(
        f"{card.valid_from} 至 {card.valid_to}（許可辦法第6條：自核發之翌日起算）",
        f"{card.valid_from} to {card.valid_to}, from the day after issue (許可辦法 §6)",
    )
    return [
        _Row(Text("卡號", "Card number"), _same(card.number)),
        _Row(Text("卡片效期", "Validity of the card"), validity),
    ]


def _permits(facts: OutcomeFacts) -> _Section:
    rows = []
    for permit_id, effect in facts.permits.items():
        status = _STATUS[effect.status]
        dates = f"：{effect.valid_from} – {effect.valid_to}" if effect.valid_from else ""
        rows.append(
            _Row(
                _PERMIT_TITLES.get(permit_id, _same(permit_id)),
                Text(f"{status.zh} {status.en}{dates}", effect.basis),
            )
        )
    return _Section(_PERMITS, tuple(rows))


def _drawn(mark: Mark) -> _Drawn:
    # The lowest level of correction: a printed page is clean, and larger modules are read more surely.
    code = segno.make_qr(mark.link, error="l", mode="byte", boost_error=False)
    rows = [[0 if dark else 255 for dark in row] for row in code.matrix_iter(border=QUIET_MODULES)]
    return _Drawn(
        caption=_VERIFY,
        description=f"{_VERIFY.zh} {_VERIFY.en}",
        address=mark.address,
        link=mark.link,
        size=len(rows),
        pixels=tuple(pixel for row in rows for pixel in row),
    )


def _same(value: str) -> Text:
    """A value that is written alike in both languages is shown once."""
    return Text(value, "")


@cache
def _fonts() -> typst.Fonts:
    """Noto Sans TC, and nothing of the machine that renders."""
    return typst.Fonts(
        include_system_fonts=False,
        include_embedded_fonts=False,
        font_paths=[pylopdf_fonts_zh_tw.sans_path().parent],
    )


def _compile(template: _Template, made_on: dt.date) -> bytes:
    source = files("services.gold_card").joinpath("outcome.typ").read_bytes()
    pdf, warnings = typst.compile_with_warnings(
        source,
        font_paths=_fonts(),
        format="pdf",
        sys_inputs={"facts": msgspec.json.encode(template).decode()},
        pdf_standards=["a-2a", "ua-1"],
        timestamp=dt.datetime.combine(made_on, dt.time(), tzinfo=dt.UTC),
    )
    if warnings or not isinstance(pdf, bytes):
        # A missing font is only a warning to the compiler, and would leave the pages empty.
        raise RuntimeError(f"the notice was not rendered: {[str(warning) for warning in warnings]}")
    return pdf
