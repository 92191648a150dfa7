"""The wire format of the National Immigration Agency.

`residence` reads the present residence record so that the person need not upload a copy of the card;
`information_check` and `final_review` are NIA's own part of the Gold Card (就業金卡許可辦法 §§2, 5, 6);
`supplement_notice` has NIA notify a supplement, whichever agency asked for it (§4). Who applied from abroad is
given an approval certificate first (境外核准證明, §6); `exchange` is answered once it has been exchanged for
the card at a service station.
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


class Stay(Wire, frozen=True):
    """The present stay in Taiwan, in the words of the form; `abroad` for who has not entered."""

    status: str


class ReviewRequest(Wire, frozen=True):
    """The application as NIA reviews it."""

    person: Person
    passport: Passport
    card: CardWish
    stay: Stay
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


class Certificate(Wire, frozen=True):
    """The approval certificate (境外核准證明), to be exchanged for the card after entry (§6)."""

    number: str
    issued_on: dt.date


class FinalAnswer(Wire, frozen=True):
    """Result of the final review; when it passed with the card or, for who is abroad, the certificate."""

    decision: Decision
    card: Card | None = None
    certificate: Certificate | None = None


class CertificateNumber(Wire, frozen=True):
    """Names a certificate."""

    number: str


class ExchangeRequest(Wire, frozen=True):
    """Who will exchange which certificate for a card of how many years."""

    person: Person
    certificate: CertificateNumber
    card: CardWish


class ExchangeAnswer(Wire, frozen=True):
    """The card that was handed over, and the day of the entry from which the time to exchange ran."""

    card: Card
    entered_on: dt.date
    collected_on: dt.date


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
        name="exchange",
        kind=OperationKind.DATA,
        resource="gold_card.exchange",
        request=ExchangeRequest,
        answer=ExchangeAnswer,
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
