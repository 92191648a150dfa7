"""The wire format of the National Immigration Agency.

`residence` reads the present residence record so that the person need not upload a copy of the card;
`information_check` and `final_review` are NIA's own part of the Gold Card (就業金卡許可辦法 §§2, 5, 6);
`supplement_notice` has NIA notify a supplement, whichever agency asked for it (§4).
"""

import datetime as dt
from typing import Literal

from adapters.contract import Operation, OperationKind, by_name
from adapters.vocabulary import (
    Acknowledged,
    Decision,
    DocumentReference,
    Passport,
    Person,
    Qualification,
    SupplementItem,
    Wire,
)


class ResidenceRequest(Wire, frozen=True):
    """Whose record: the passport and the date of birth."""

    passport: Passport
    person: Person


class Arc(Wire, frozen=True):
    """An alien resident certificate (外僑居留證): number, last day of validity, registered address."""

    number: str
    expires_on: dt.date
    address: str


class ResidenceAnswer(Wire, frozen=True):
    """The record; `arc` is absent where the person holds none."""

    arc: Arc | None = None


class CardWish(Wire, frozen=True):
    """What the person asks for."""

    validity_years: Literal[1, 2, 3]


class ReviewRequest(Wire, frozen=True):
    """The application as NIA reviews it."""

    person: Person
    passport: Passport
    card: CardWish
    qualification: Qualification
    arc: Arc | None = None
    documents: tuple[DocumentReference, ...] = ()


class CheckAnswer(Wire, frozen=True):
    """Result of the information check."""

    decision: Decision


class Card(Wire, frozen=True):
    """The card as issued: validity runs from the day after issue (§6)."""

    number: str
    issued_on: dt.date
    valid_from: dt.date
    valid_to: dt.date


class FinalAnswer(Wire, frozen=True):
    """Result of the final review, with the card when it passed."""

    decision: Decision
    card: Card | None = None


class SupplementNotice(Wire, frozen=True):
    """Which agency asks for which things, until when; texts and targets only."""

    requested_by: str
    items: tuple[SupplementItem, ...]
    due_on: dt.date


_GROUND = "外國特定專業人才申請就業金卡許可辦法 §4"

OPERATIONS = by_name(
    Operation(
        name="residence",
        kind=OperationKind.DATA,
        resource="nia.residence",
        request=ResidenceRequest,
        answer=ResidenceAnswer,
    ),
    Operation(
        name="information_check",
        kind=OperationKind.DATA,
        resource="gold_card.information_check",
        request=ReviewRequest,
        answer=CheckAnswer,
    ),
    Operation(
        name="final_review",
        kind=OperationKind.DATA,
        resource="gold_card.final_review",
        request=ReviewRequest,
        answer=FinalAnswer,
    ),
    Operation(
        name="supplement_notice",
        kind=OperationKind.CONTROL,
        resource="gold_card.supplement_notice",
        request=SupplementNotice,
        answer=Acknowledged,
        ground=_GROUND,
    ),
)
