"""Sandbox of the National Immigration Agency: a made-up register of residence, the checks, the card.

An exchange waits until somebody shows the approval certificate at the desk; see `Rules.at_desk`.

Decides by 外國特定專業人才申請就業金卡許可辦法 §§2, 4, 5, 6; the values are in `sandbox.toml`.
"""

import datetime as dt
import hashlib
from collections.abc import Iterator
from uuid import UUID

import msgspec

from adapters.nia.adapter import (
    OPERATIONS,
    Arc,
    Card,
    Certificate,
    CheckAnswer,
    ExchangeAnswer,
    ExchangeRequest,
    FinalAnswer,
    ResidenceAnswer,
    ResidenceRequest,
    ReviewRequest,
    SupplementNotice,
)
from adapters.sandbox_kit import Facts, Instance, LawBook, Problem, Rules, months_after
from adapters.vocabulary import Acknowledged, Decision, Passport, Person, SupplementItem

LAW = LawBook("nia")
REGULATION = "外國特定專業人才申請就業金卡許可辦法"

# Made-up holders by passport number, nationality and date of birth.
REGISTER = {
    ("X12345678", "GBR", dt.date(1988, 2, 29)): Arc(
        number="A900000016",
        expires_on=dt.date(2027, 9, 30),
        address="臺北市中正區範例路 1 號 5 樓",
    ),
    ("L00000019", "DEU", dt.date(1979, 11, 3)): Arc(
        number="A800000014",
        expires_on=dt.date(2027, 1, 31),
        address="高雄市前鎮區樣本街 20 號",
    ),
}

# Weights of the check digit of a 統一證號, from the two digits of the letter to the check digit itself.
WEIGHTS = (1, 9, 8, 7, 6, 5, 4, 3, 2, 1)
LETTER, LETTER_DIGITS = "A", (1, 0)
MALE, FEMALE, FOREIGNER = 8, 9, 0
SERIAL_DIGITS = 6
ABROAD = "abroad"


class Appearance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody with a certificate at a service station, who entered Taiwan on that day."""

    certificate: str
    entered_on: dt.date


def build(_: Instance) -> Rules:
    """The rules of this agency."""
    return Rules(
        operations=OPERATIONS,
        decide={
            "residence": residence,
            "information_check": information_check,
            "final_review": final_review,
            "exchange": exchange,
            "supplement_notice": supplement_notice,
        },
        reviewed=frozenset({"information_check", "final_review"}),
        at_desk={"exchange": Appearance},
    )


def residence(_: Facts, request: ResidenceRequest) -> ResidenceAnswer:
    """The record of the person whom passport and date of birth name."""
    passport = request.passport
    return ResidenceAnswer(
        arc=REGISTER.get((passport.number, passport.nationality, request.person.date_of_birth))
    )


def information_check(facts: Facts, request: ReviewRequest) -> CheckAnswer:
    """§2: whether all is there that has to be."""
    return CheckAnswer(decision=_checked(facts, request))


def final_review(facts: Facts, request: ReviewRequest) -> FinalAnswer:
    """§§5, 6: the checks once more, and then the card, or the certificate for who has not entered."""
    decision = _checked(facts, request)
    if decision.outcome != "passed":
        return FinalAnswer(decision=decision)
    if request.stay.status == ABROAD:
        number = f"GC{facts.today:%Y%m%d}{str(facts.call)[-6:].upper()}"
        return FinalAnswer(decision=decision, certificate=Certificate(number=number, issued_on=facts.today))
    number = request.arc.number if request.arc else identity_number(facts.call, request.person.sex)
    return FinalAnswer(decision=decision, card=card(number, facts.today, request.card.validity_years))


def exchange(facts: Facts, request: ExchangeRequest, shown: Appearance) -> ExchangeAnswer:
    """§6: the card in place of the certificate, within the days after entry. Raises Problem."""
    days_max = LAW.number("exchange_days_max", facts.filed_on)
    if shown.certificate != request.certificate.number:
        raise Problem(409, "other-certificate")
    if days_max is not None and not 0 <= (facts.today - shown.entered_on).days <= days_max:
        raise Problem(409, "not-within-the-days-after-entry")
    return ExchangeAnswer(
        card=card(identity_number(facts.call, request.person.sex), facts.today, request.card.validity_years),
        entered_on=shown.entered_on,
        collected_on=facts.today,
    )


def card(number: str, issued_on: dt.date, validity_years: int) -> Card:
    """§6: a card, valid from the day after its issue."""
    valid_from = issued_on + dt.timedelta(days=1)
    return Card(
        number=number,
        issued_on=issued_on,
        valid_from=valid_from,
        valid_to=months_after(valid_from, 12 * validity_years) - dt.timedelta(days=1),
    )


def supplement_notice(facts: Facts, _: SupplementNotice) -> Acknowledged:
    """§4: the number of the notice that went out."""
    return Acknowledged(reference=f"NIA-{facts.today:%Y%m%d}-{str(facts.call)[-6:]}")


def identity_number(call: UUID, sex: str) -> str:
    """A new 統一證號 (the form of 2021-01-02) for one call: always the same, with a right check digit."""
    serial = int.from_bytes(hashlib.sha256(call.bytes).digest()) % 10**SERIAL_DIGITS
    digits = f"{FEMALE if sex == 'F' else MALE}{FOREIGNER}{serial:0{SERIAL_DIGITS}}"
    values = (*LETTER_DIGITS, *map(int, digits))
    check = -sum(value * weight for value, weight in zip(values, WEIGHTS, strict=True)) % 10
    return f"{LETTER}{digits}{check}"


def _checked(facts: Facts, request: ReviewRequest) -> Decision:
    if request.passport.nationality == LAW.text("excluded_nationality", facts.filed_on):
        return Decision(
            outcome="refused",
            ground="本國人不適用就業金卡 Nationals of this country cannot hold the card",
            article=f"{REGULATION} §5",
        )
    items = (
        *_passport_items(facts, request.passport),
        *_person_items(request.person),
        *_photo_items(request),
    )
    return Decision(outcome="supplement", items=items) if items else Decision(outcome="passed")


def _passport_items(facts: Facts, passport: Passport) -> Iterator[SupplementItem]:
    months = LAW.number("passport_validity_months_min", facts.filed_on)
    if months is not None and passport.expires_on < months_after(facts.filed_on, months):
        yield SupplementItem(
            kind="correction",
            target="/passport/expires_on",
            reason_zh=f"護照效期須在 {months} 個月以上（{REGULATION}第2條第1項第1款）。",
            reason_en=f"The passport must be valid for {months} months or more (§2 I(1)).",
        )


def _person_items(person: Person) -> Iterator[SupplementItem]:
    if not person.surname.strip() and not person.given_names.strip():
        yield SupplementItem(
            kind="correction",
            target="/person/surname",
            reason_zh="姓名須與護照相同。",
            reason_en="The name must be the one in the passport.",
        )


def _photo_items(request: ReviewRequest) -> Iterator[SupplementItem]:
    if not any(document.slot == "photo" for document in request.documents):
        yield SupplementItem(
            kind="supplement",
            target="document:photo",
            reason_zh=f"缺最近 6 個月內 2 吋脫帽彩色照片（{REGULATION}第2條第1項第2款）。",
            reason_en="The colour photograph (2 inches, no hat, taken within 6 months) is missing (§2 I(2)).",
        )
