"""The wire format of the field authorities: an opinion on whether a person meets a clause of their field.

Consulted where necessary (外國特定專業人才申請就業金卡許可辦法 §3) and told of the outcome (§8).
"""

from adapters.contract import Operation, OperationKind, by_name
from adapters.vocabulary import (
    Acknowledged,
    DecisionNotice,
    DocumentReference,
    Person,
    Qualification,
    Wire,
)


class OpinionRequest(Wire, frozen=True):
    """The part of the application that the authority judges."""

    person: Person
    qualification: Qualification
    documents: tuple[DocumentReference, ...] = ()


class OpinionAnswer(Wire, frozen=True):
    """Whether the person meets the clause, and the clause the authority applied."""

    qualified: bool
    clause: str


OPERATIONS = by_name(
    Operation(
        name="opinion",
        kind=OperationKind.DATA,
        resource="gold_card.opinion",
        request=OpinionRequest,
        answer=OpinionAnswer,
    ),
    Operation(
        name="decision_notice",
        kind=OperationKind.CONTROL,
        resource="gold_card.decision_notice",
        request=DecisionNotice,
        answer=Acknowledged,
        ground="外國特定專業人才申請就業金卡許可辦法 §8",
    ),
)
