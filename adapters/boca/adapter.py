"""The wire format of the Bureau of Consular Affairs.

`visa_review` is the foreign-affairs part of the joint review for whom the edition asks it (in the edition of
2021-10-25: applicants abroad); every outcome is notified (外國特定專業人才申請就業金卡許可辦法 §8).
"""

from adapters.contract import Operation, OperationKind, by_name
from adapters.vocabulary import (
    Acknowledged,
    Decision,
    DecisionNotice,
    DocumentReference,
    Passport,
    Person,
    Wire,
)


class VisaRequest(Wire, frozen=True):
    """The application as the bureau reviews it."""

    person: Person
    passport: Passport
    documents: tuple[DocumentReference, ...] = ()


class VisaAnswer(Wire, frozen=True):
    """Result of the review."""

    decision: Decision


OPERATIONS = by_name(
    Operation(
        name="visa_review",
        kind=OperationKind.DATA,
        resource="gold_card.visa_review",
        request=VisaRequest,
        answer=VisaAnswer,
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
