"""Sandbox of the Workforce Development Agency: whether the person meets the clause they apply under.

Decides by 外國特定專業人才申請就業金卡許可辦法 §§2, 3, 5; thresholds and whom it consults stand in
`sandbox.toml`.
"""

from collections.abc import Iterator

from adapters.sandbox_kit import Facts, Instance, LawBook, Rules
from adapters.vocabulary import Acknowledged, Decision, DecisionNotice, SupplementItem
from adapters.wda.adapter import OPERATIONS, QualificationAnswer, QualificationRequest

LAW = LawBook("wda")
REGULATION = "外國特定專業人才申請就業金卡許可辦法"
SALARY_CLAUSE = "salary"

# The documents that the agency insists on, by slot.
PROOFS = {
    "qualification": ("特定專業人才資格證明", "proof of the qualification"),
    "employment_certificate": ("在職證明", "certificate of employment"),
}


def build(_: Instance) -> Rules:
    """The rules of this agency."""
    return Rules(
        operations=OPERATIONS,
        decide={"qualification_review": qualification_review, "decision_notice": decision_notice},
        reviewed=frozenset({"qualification_review"}),
    )


def qualification_review(facts: Facts, request: QualificationRequest) -> QualificationAnswer:
    """§3: documents first, then the opinion of the ministry where it is asked, then the clause."""
    items = tuple(_missing(request))
    if items:
        return QualificationAnswer(decision=Decision(outcome="supplement", items=items))
    if not _earns_enough(facts, request):
        return _refused("月薪未達公告標準 The monthly salary is below the announced threshold")
    if request.opinion is None:
        authority = LAW.text(f"consulted/{request.qualification.field}", facts.filed_on)
        if authority:
            return QualificationAnswer(decision=Decision(outcome="consult", authority=authority))
    elif not request.opinion.qualified:
        return _refused("中央目的事業主管機關認定不符資格 The field's authority finds the clause is not met")
    return QualificationAnswer(decision=Decision(outcome="passed"))


def decision_notice(facts: Facts, _: DecisionNotice) -> Acknowledged:
    """§8."""
    return Acknowledged(reference=f"WDA-{facts.today:%Y%m%d}-{str(facts.call)[-6:]}")


def _missing(request: QualificationRequest) -> Iterator[SupplementItem]:
    present = {document.slot for document in request.documents}
    for slot, (title_zh, title_en) in PROOFS.items():
        if slot not in present:
            yield SupplementItem(
                kind="supplement",
                target=f"document:{slot}",
                reason_zh=f"缺{title_zh}（{REGULATION}第2條第1項第3款）。",
                reason_en=f"The {title_en} is missing (§2 I(3)).",
            )


def _earns_enough(facts: Facts, request: QualificationRequest) -> bool:
    qualification = request.qualification
    if qualification.clause != SALARY_CLAUSE:
        return True
    amount_min = LAW.number(f"monthly_salary_ntd_min/{qualification.field}", facts.filed_on)
    return amount_min is not None and qualification.monthly_salary_ntd >= amount_min


def _refused(ground: str) -> QualificationAnswer:
    return QualificationAnswer(
        decision=Decision(outcome="refused", ground=ground, article=f"{REGULATION} §5")
    )
