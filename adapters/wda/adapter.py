"""The wire format of the Workforce Development Agency.

`qualification_review` is the labour part of the joint review (外國專業人才延攬及僱用法 §9; 許可辦法 §3). The
agency may ask for the opinion of the field's ministry first (outcome `consult`); the review is then sent
again with the opinion.
"""

from adapters.contract import Operation, OperationKind, by_name
from adapters.vocabulary import (
    Acknowledged,
    Decision,
    DecisionNotice,
    DocumentReference,
    Passport,
    Person,
    Qualification,
    Wire,
)


class Opinion(Wire, frozen=True):
    """What the consulted authority said."""

    authority: str
    qualified: bool
    clause: str


class QualificationRequest(Wire, frozen=True):
    """The application as the labour agency reviews it; `opinion` after a consultation."""

    person: Person
    passport: Passport
    qualification: Qualification
    documents: tuple[DocumentReference, ...] = ()
    opinion: Opinion | None = None


class QualificationAnswer(Wire, frozen=True):
    """Result of the review."""

    decision: Decision


OPERATIONS = by_name(
    Operation(
        name="qualification_review",
        kind=OperationKind.DATA,
        resource="gold_card.qualification_review",
        request=QualificationRequest,
        answer=QualificationAnswer,
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
