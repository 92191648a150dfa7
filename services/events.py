"""What can happen to a case: the events of its history, as stored.

History is append-only; a case's state is derived from it (`services.case.evolve`). Each event is stored with
its type, the version of its shape, machine time and legal time, and who acted; the payload below is sealed
under the case's key. A shape that changes gets a new version and a reader for the old one.
"""

import datetime as dt
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

import msgspec

from adapters.vocabulary import SupplementItem
from services.text import Language

VERSION = 1


class State(StrEnum):
    """General states, the same for every service."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    IN_REVIEW = "in_review"
    WAITING_FOR_APPLICANT = "waiting_for_applicant"
    WAITING_FOR_PAYMENT = "waiting_for_payment"
    APPROVED = "approved"
    REFUSED = "refused"
    DISMISSED = "dismissed"
    WITHDRAWN = "withdrawn"
    UNDER_REVIEW = "under_review"
    SET_ASIDE = "set_aside"
    COMPLETED = "completed"


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """Base of all event payloads."""


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A document of a case: uploaded into a slot by the person, or issued by us (`slot` = `outcome:...`).

    `size` in bytes; `sha256` is lower-case hex of the content.
    """

    document_id: UUID
    slot: str
    media_type: str
    size: int
    sha256: str


class Remedy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person may do against a decision (行政程序法 §96): which remedy, within how long, where."""

    kind: str
    days: int
    authority: str
    law: str


class PermitEffect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One effect of the decision: a permit granted, not needed, or replaced, and on which basis."""

    status: Literal["granted", "exempt", "not_applicable", "replaced_by"]
    basis: str
    valid_from: dt.date | None = None
    valid_to: dt.date | None = None


class Created(Payload, frozen=True, tag="created"):
    """A draft was opened."""

    language: Language


class FormSaved(Payload, frozen=True, tag="form_saved"):
    """The form as it stands now, complete or not."""

    form: dict[str, Any]


class DocumentAdded(Payload, frozen=True, tag="document_added"):
    """A document was uploaded; it replaces the one in its slot."""

    document: Document


class DocumentRemoved(Payload, frozen=True, tag="document_removed"):
    """An uploaded document was taken back."""

    slot: str


class Fetched(Payload, frozen=True, tag="fetched"):
    """What an agency supplied by consent, in place of a document: the released members of its answer."""

    resource: str
    agency: str
    data: dict[str, Any]


class Submitted(Payload, frozen=True, tag="submitted"):
    """The application was filed: the edition is pinned, the form frozen under its hash."""

    edition: str
    form_sha256: str


class CallPlanned(Payload, frozen=True, tag="call_planned"):
    """An agency will be called."""

    call: UUID
    agency: str
    operation: str


class CallAnswered(Payload, frozen=True, tag="call_answered"):
    """An agency answered; `data` is what the lawful basis lets through."""

    call: UUID
    agency: str
    operation: str
    data: dict[str, Any]


class CallFailed(Payload, frozen=True, tag="call_failed"):
    """A call ended without an answer: refused, withheld or dead. `reason` is a code."""

    call: UUID
    agency: str
    operation: str
    status: str
    reason: str


class FeeOrdered(Payload, frozen=True, tag="fee_ordered"):
    """The fee was fixed, in NT$, and an order placed with the payment service."""

    amount_ntd: int


class FeePayable(Payload, frozen=True, tag="fee_payable"):
    """The payment service took the order; the person pays at `pay_url`."""

    call: UUID
    order: str
    pay_url: str


class FeePaid(Payload, frozen=True, tag="fee_paid"):
    """The fee arrived."""

    payment: str
    amount_ntd: int
    paid_at: dt.datetime


class Overpaid(Payload, frozen=True, tag="overpaid"):
    """A payment beyond the fee arrived, which the person may claim back (誤繳、溢繳)."""

    payment: str
    amount_ntd: int
    paid_at: dt.datetime


class DutyStarted(Payload, frozen=True, tag="duty_started"):
    """A statutory period began to run; its first day counts as the edition's data say."""

    duty: str
    started_on: dt.date


class DutySuspended(Payload, frozen=True, tag="duty_suspended"):
    """The period rests from this day on."""

    duty: str
    on: dt.date
    reason: str


class DutyResumed(Payload, frozen=True, tag="duty_resumed", omit_defaults=True):
    """What stopped the period is over from this day on; without a `reason` it is what stopped it last."""

    duty: str
    on: dt.date
    reason: str = ""


class SupplementRequested(Payload, frozen=True, tag="supplement_requested"):
    """An agency needs something mended or added; another may be the one that tells the person."""

    requested_by: str
    operation: str
    notified_by: str
    items: tuple[SupplementItem, ...]
    due_on: dt.date


class SupplementNotified(Payload, frozen=True, tag="supplement_notified"):
    """The person was notified; `reference` is the notifying agency's number."""

    reference: str


class SupplementAnswered(Payload, frozen=True, tag="supplement_answered"):
    """The person handed in what an agency's operation had asked for."""

    requested_by: str
    operation: str
    form_sha256: str


class StateChanged(Payload, frozen=True, tag="state_changed"):
    """The service's own state, in the word people see for it, and the general state it stands for."""

    service_state: str
    state: State


class Decided(Payload, frozen=True, tag="decided", omit_defaults=True):
    """The application was decided, or ended without a decision on its merits.

    Who is abroad is given a `certificate` first, and the `card` in exchange for it.
    """

    outcome: Literal["approved", "refused", "dismissed", "withdrawn"]
    decided_on: dt.date
    ground: str = ""
    article: str = ""
    remedy: Remedy | None = None
    permits: dict[str, PermitEffect] = msgspec.field(default_factory=dict)
    card: dict[str, Any] = msgspec.field(default_factory=dict)
    certificate: dict[str, Any] = msgspec.field(default_factory=dict)


class Collected(Payload, frozen=True, tag="collected"):
    """The card was handed over in exchange for a certificate; the permits run by its dates."""

    collected_on: dt.date
    card: dict[str, Any]
    permits: dict[str, PermitEffect]


class OutcomeIssued(Payload, frozen=True, tag="outcome_issued"):
    """The notice of the result was made."""

    document: Document


class DeadlinePassed(Payload, frozen=True, tag="deadline_passed"):
    """A period ran out with nothing done."""

    timer: str


CaseEvent = (
    Created
    | FormSaved
    | DocumentAdded
    | DocumentRemoved
    | Fetched
    | Submitted
    | CallPlanned
    | CallAnswered
    | CallFailed
    | FeeOrdered
    | FeePayable
    | FeePaid
    | Overpaid
    | DutyStarted
    | DutySuspended
    | DutyResumed
    | SupplementRequested
    | SupplementNotified
    | SupplementAnswered
    | StateChanged
    | Decided
    | OutcomeIssued
    | DeadlinePassed
    | Collected
)


def encode(event: CaseEvent) -> bytes:
    """The stored form of an event."""
    return msgspec.json.encode(event)


def decode(encoded: bytes, version: int) -> CaseEvent:
    """Read a stored event of any version up to today's. Raises ValueError for a later one."""
    if version > VERSION:
        raise ValueError(f"event version {version} is newer than {VERSION}, the newest this release reads")
    event: CaseEvent = msgspec.json.decode(encoded, type=CaseEvent)
    return event


def type_of(event: CaseEvent) -> str:
    """The event's type, as stored and shown."""
    return str(event.__struct_config__.tag)
