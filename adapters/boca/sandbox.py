"""Sandbox of the Bureau of Consular Affairs: the inspection of passports, the visa part of the joint review.

An inspection waits until somebody shows a passport at the desk; see `Rules.at_desk`.

Decides by 外國特定專業人才申請就業金卡許可辦法 §§2, 4; the values are in `sandbox.toml`.
"""

import msgspec

from adapters.boca.adapter import (
    OPERATIONS,
    InspectionAnswer,
    InspectionRequest,
    Place,
    VisaAnswer,
    VisaRequest,
)
from adapters.sandbox_kit import Facts, Instance, LawBook, Problem, Rules, months_after
from adapters.vocabulary import Acknowledged, Decision, DecisionNotice, SupplementItem

LAW = LawBook("boca")
OTHER_PASSPORT = (
    SupplementItem(
        kind="correction",
        target="/passport",
        reason_zh="所持護照與繳驗通知單所載不符，請更正護照資料。",
        reason_en="The passport shown is not the one in the notice; correct the passport's details.",
    ),
    SupplementItem(
        kind="correction",
        target="document:passport",
        reason_zh="請改附新護照之彩色掃描。",
        reason_en="Replace the scan by one of the passport shown.",
    ),
)


class Appearance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody with a passport at a place of inspection."""

    passport_number: str
    place: Place


def build(_: Instance) -> Rules:
    """The rules of this agency."""
    return Rules(
        operations=OPERATIONS,
        decide={
            "inspection": inspection,
            "visa_review": visa_review,
            "decision_notice": decision_notice,
        },
        reviewed=frozenset({"visa_review"}),
        at_desk={"inspection": Appearance},
    )


def inspection(facts: Facts, request: InspectionRequest, shown: Appearance) -> InspectionAnswer:
    """§2 III: the passport itself, in time and at a place that the notice names. Raises Problem.

    A notice cannot be changed at the desk: one about another passport goes back to be corrected.
    """
    if shown.place not in request.places:
        raise Problem(409, "not-inspected-here")
    if facts.today > request.due_on:
        raise Problem(409, "notice-expired")
    decision = Decision(outcome="passed")
    if shown.passport_number != request.passport.number:
        decision = Decision(outcome="supplement", items=OTHER_PASSPORT)
    return InspectionAnswer(decision=decision, inspected_on=facts.today, place=shown.place)


def visa_review(facts: Facts, request: VisaRequest) -> VisaAnswer:
    """§2: a visa needs a passport that outlives it."""
    months = LAW.number("passport_validity_months_min", facts.filed_on)
    if months is None or request.passport.expires_on >= months_after(facts.filed_on, months):
        return VisaAnswer(decision=Decision(outcome="passed"))
    item = SupplementItem(
        kind="correction",
        target="/passport/expires_on",
        reason_zh=f"護照效期須在 {months} 個月以上（外國特定專業人才申請就業金卡許可辦法第2條第1項第1款）。",
        reason_en=f"The passport must be valid for {months} months or more (§2 I(1)).",
    )
    return VisaAnswer(decision=Decision(outcome="supplement", items=(item,)))


def decision_notice(facts: Facts, _: DecisionNotice) -> Acknowledged:
    """§8."""
    return Acknowledged(reference=f"BOCA-{facts.today:%Y%m%d}-{str(facts.call)[-6:]}")
