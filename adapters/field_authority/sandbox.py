"""Sandbox of the ministries: an opinion on whether a person meets the clause of their field.

Consulted under 外國特定專業人才申請就業金卡許可辦法 §3. The criteria are made up and stand in `sandbox.toml`.
"""

from adapters.field_authority.adapter import OPERATIONS, OpinionAnswer, OpinionRequest
from adapters.sandbox_kit import Facts, Instance, LawBook, Rules
from adapters.vocabulary import Acknowledged, DecisionNotice

LAW = LawBook("field_authority")
PROOF_SLOTS = frozenset({"qualification", "supporting"})


def build(instance: Instance) -> Rules:
    """The rules of one ministry."""

    def decision_notice(facts: Facts, _: DecisionNotice) -> Acknowledged:
        """§8."""
        ministry = instance.name.rpartition(":")[2].upper()
        return Acknowledged(reference=f"{ministry}-{facts.today:%Y%m%d}-{str(facts.call)[-6:]}")

    return Rules(
        operations=OPERATIONS,
        decide={"opinion": opinion, "decision_notice": decision_notice},
        reviewed=frozenset({"opinion"}),
    )


def opinion(facts: Facts, request: OpinionRequest) -> OpinionAnswer:
    """Enough years in the field, or enough documents in their place."""
    years_min = LAW.number("years_of_experience_min", facts.filed_on)
    proofs_min = LAW.number("proofs_min", facts.filed_on)
    proofs = sum(document.slot in PROOF_SLOTS for document in request.documents)
    return OpinionAnswer(
        qualified=(years_min is not None and request.qualification.years_of_experience >= years_min)
        or (proofs_min is not None and proofs >= proofs_min),
        clause=request.qualification.clause,
    )
