"""The notices a person is shown before data moves (個人資料保護法 §8), as content with an address.

A notice is canonical JSON (RFC 8785: sorted members, no blanks) of nothing but texts and lists, so that the
same edition, language and recipients always give the same bytes, and a lawful basis can be pinned to their
SHA-256. The consent notice covers the one fetch that the person may refuse; the duty notice tells what the
agencies do by law, and offers nothing to agree to.
"""

import json
from collections.abc import Sequence

from consent.bases import Notice
from services.gold_card.edition import BasisRule, Edition, notice_texts
from services.gold_card.form import Category, StayStatus
from services.text import Language, Text

# The points that §8 I has a notice say, in the order of the law, and how consent is withdrawn.
POINTS = (
    "agency", "purpose", "categories", "period", "area", "recipients", "method", "rights", "without_it",
    "withdrawal", "contact",
)  # fmt: skip


def consent_notice(edition: Edition, language: Language) -> Notice:
    """What the person is told before consenting to the fetch of the residence record."""
    return _notice(edition, language, "residence", [(edition.basis("residence"), "nia")])


def duty_notice(
    edition: Edition,
    language: Language,
    stay: StayStatus,
    field_id: str,
    category: Category = "foreign_national",
) -> Notice:
    """Who will receive what on which ground, for an application of such a person in this field.

    The field's authority is named even though it is asked only where necessary (許可辦法 §3).
    """
    field = edition.field(field_id)
    grounds = [
        (rule, field.authority if rule.operation == "opinion" and field is not None else rule.agency)
        for rule in edition.bases_on_duty(stay, category)
    ]
    return _notice(edition, language, "duty", grounds)


def _notice(
    edition: Edition, language: Language, text_id: str, grounds: Sequence[tuple[BasisRule, str]]
) -> Notice:
    text = notice_texts(edition.id)[text_id]
    points: dict[str, Text] = {point: getattr(text, point) for point in POINTS}
    notice_id = f"gold_card/{edition.id}/{text_id}"
    content = {
        "notice_id": notice_id,
        "language": language,
        "title": text.title.in_language(language),
        "points": [{"point": name, "text": said.in_language(language)} for name, said in points.items()],
        "accesses": [
            {
                "agency": agency,
                "agency_title": edition.authority_title(agency).in_language(language),
                "kind": rule.kind.value,
                "law": rule.law,
                "purpose": rule.purpose_text.in_language(language),
                "fields": list(rule.fields),
                "kept_until": rule.receiver_keeps_until.in_language(language),
            }
            for rule, agency in grounds
        ],
    }
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Notice(notice_id=notice_id, language=language, content=canonical.encode())
