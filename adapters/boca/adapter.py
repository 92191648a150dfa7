"""The wire format of the Bureau of Consular Affairs.

`inspection` has a passport inspected at the bureau or a mission, and is answered once the person has been
there; `visa_review` is the foreign-affairs part of the joint review. Who needs either depends on the edition
(in that of 2021-10-25: applicants abroad). Every outcome is notified (外國特定專業人才申請就業金卡許可辦法 §8).
"""

import datetime as dt
from typing import Literal

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


Place = Literal["bureau", "mission"]


class InspectionRequest(Wire, frozen=True):
    """Whose passport is to be inspected: at which places, and until which day, the last one included."""

    person: Person
    passport: Passport
    places: tuple[Place, ...]
    due_on: dt.date


class InspectionAnswer(Wire, frozen=True):
    """What was found at the inspection: `passed`, or what does not agree with the notice."""

    decision: Decision
    inspected_on: dt.date
    place: Place


OPERATIONS = by_name(
    Operation(
        name="inspection",
        kind=OperationKind.DATA,
        resource="gold_card.inspection",
        request=InspectionRequest,
        answer=InspectionAnswer,
    ),
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
