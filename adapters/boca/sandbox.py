"""Sandbox of the Bureau of Consular Affairs: the visa part of the joint review.

Decides by 外國特定專業人才申請就業金卡許可辦法 §§2, 4; the values are in `sandbox.toml`.
"""

from adapters.boca.adapter import OPERATIONS, VisaAnswer, VisaRequest
from adapters.sandbox_kit import Facts, Instance, LawBook, Rules, months_after
from adapters.vocabulary import Acknowledged, Decision, DecisionNotice, SupplementItem

LAW = LawBook("boca")


def build(_: Instance) -> Rules:
    """The rules of this agency."""
    return Rules(
        operations=OPERATIONS,
        decide={"visa_review": visa_review, "decision_notice": decision_notice},
        reviewed=frozenset({"visa_review"}),
    )


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
