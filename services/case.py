"""A case and how its history makes it what it is. Pure.

`evolve(case, event, at)` is the only way a case changes; the store keeps the result beside the events, in the
same transaction, and a test replays histories to show that both agree. The states people see are the
service's own; every service maps them to the general ones below.
"""

import datetime as dt
import secrets
from collections.abc import Callable
from functools import singledispatch
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from adapters.vocabulary import SupplementItem
from services import events as ev
from services.events import State
from services.text import Language

TAIPEI = ZoneInfo("Asia/Taipei")
ROC_YEAR_OFFSET = 1911
NUMBER_RANDOM_DIGITS = 8


CLOSED_STATES = frozenset(
    {State.APPROVED, State.REFUSED, State.DISMISSED, State.WITHDRAWN, State.SET_ASIDE, State.COMPLETED}
)


class At(msgspec.Struct, frozen=True, kw_only=True):
    """When something happened: machine time for order and evidence, legal time for rights and duties."""

    machine: dt.datetime
    legal: dt.datetime

    @property
    def legal_date(self) -> dt.date:
        """The calendar date in Taiwan."""
        return self.legal.astimezone(TAIPEI).date()


class Fee(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fee of a case, in NT$, and how far its payment is."""

    amount_ntd: int
    order: str = ""
    pay_url: str = ""
    payment: str = ""
    paid_at: dt.datetime | None = None
    overpayments: tuple[str, ...] = ()


class Suspension(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A time in which a period rests: from this day on, until the day on which it runs again."""

    on: dt.date
    reason: str
    until: dt.date | None = None


class Duty(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A statutory period that runs for this case."""

    duty: str
    started_on: dt.date
    suspensions: tuple[Suspension, ...] = ()


class Supplement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the person is asked to mend or add; `reference` is there once they were notified."""

    requested_by: str
    operation: str
    notified_by: str
    items: tuple[SupplementItem, ...]
    due_on: dt.date
    reference: str = ""


class OpenCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An agency call that has no answer yet."""

    call: UUID
    agency: str
    operation: str


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A case as its history makes it.

    `version` counts what the applicant may edit (form and documents) and is the ETag; `seq` counts all events.
    `edition` is empty until submission pins it. `answers` holds the last released answer of each
    `agency.operation`, which later steps build on.
    """

    case_id: UUID
    number: str
    service: str
    applicant: str
    language: Language = "zh-TW"
    state: State = State.DRAFT
    service_state: str = "draft"
    edition: str = ""
    version: int = 0
    seq: int = 0
    form: dict[str, Any] = msgspec.field(default_factory=dict)
    filed_form: dict[str, Any] | None = None
    documents: tuple[ev.Document, ...] = ()
    fetched: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    submitted_at: dt.datetime | None = None
    fee: Fee | None = None
    duties: tuple[Duty, ...] = ()
    supplement: Supplement | None = None
    supplements: int = 0
    open_calls: tuple[OpenCall, ...] = ()
    calls: int = 0
    answers: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    decision: ev.Decided | None = None
    outcome: tuple[ev.Document, ...] = ()

    def document_in(self, slot: str) -> ev.Document | None:
        """The uploaded document in a slot, if any."""
        return next((document for document in self.documents if document.slot == slot), None)


def new_number(legal_date: dt.date) -> str:
    """A case number: ROC year (3 digits), 8 random digits, and a Luhn check digit over the eleven."""
    year = legal_date.year - ROC_YEAR_OFFSET
    digits = f"{year:03d}{secrets.randbelow(10**NUMBER_RANDOM_DIGITS):0{NUMBER_RANDOM_DIGITS}d}"
    return digits + str(_luhn_digit(digits))


def is_number(text: str) -> bool:
    """Whether the text is a well-formed case number with the right check digit."""
    return len(text) == 12 and text.isascii() and text.isdigit() and int(text[-1]) == _luhn_digit(text[:-1])


def _luhn_digit(digits: str) -> int:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if position % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return -total % 10


def evolve(case: Case, event: ev.CaseEvent, at: At) -> Case:
    """The case after the event."""
    return msgspec.structs.replace(_apply(event, case, at), seq=case.seq + 1)


_replace = msgspec.structs.replace


@singledispatch
def _apply(event: ev.CaseEvent, case: Case, at: At) -> Case:
    raise TypeError(f"a case does not know the event {type(event).__name__}")


@_apply.register
def _(event: ev.Created, case: Case, at: At) -> Case:
    return _replace(case, language=event.language)


@_apply.register
def _(event: ev.FormSaved, case: Case, at: At) -> Case:
    return _replace(case, form=event.form, version=case.version + 1)


@_apply.register
def _(event: ev.DocumentAdded, case: Case, at: At) -> Case:
    others = tuple(document for document in case.documents if document.slot != event.document.slot)
    return _replace(case, documents=(*others, event.document), version=case.version + 1)


@_apply.register
def _(event: ev.DocumentRemoved, case: Case, at: At) -> Case:
    kept = tuple(document for document in case.documents if document.slot != event.slot)
    return _replace(case, documents=kept, version=case.version + 1)


@_apply.register
def _(event: ev.Fetched, case: Case, at: At) -> Case:
    return _replace(case, fetched={**case.fetched, event.resource: event.data})


@_apply.register
def _(event: ev.Submitted, case: Case, at: At) -> Case:
    return _replace(case, edition=event.edition, submitted_at=at.legal, filed_form=case.form)


@_apply.register
def _(event: ev.CallPlanned, case: Case, at: At) -> Case:
    call = OpenCall(call=event.call, agency=event.agency, operation=event.operation)
    return _replace(case, open_calls=(*case.open_calls, call), calls=case.calls + 1)


@_apply.register
def _(event: ev.CallAnswered, case: Case, at: At) -> Case:
    answers = {**case.answers, f"{event.agency}.{event.operation}": event.data}
    return _replace(case, open_calls=_without(case, event.call), answers=answers)


@_apply.register
def _(event: ev.CallFailed, case: Case, at: At) -> Case:
    return _replace(case, open_calls=_without(case, event.call))


@_apply.register
def _(event: ev.FeeOrdered, case: Case, at: At) -> Case:
    return _replace(case, fee=Fee(amount_ntd=event.amount_ntd))


@_apply.register
def _(event: ev.FeePayable, case: Case, at: At) -> Case:
    return _replace(case, fee=_replace(_fee(case), order=event.order, pay_url=event.pay_url))


@_apply.register
def _(event: ev.FeePaid, case: Case, at: At) -> Case:
    return _replace(case, fee=_replace(_fee(case), payment=event.payment, paid_at=event.paid_at))


@_apply.register
def _(event: ev.Overpaid, case: Case, at: At) -> Case:
    fee = _fee(case)
    return _replace(case, fee=_replace(fee, overpayments=(*fee.overpayments, event.payment)))


@_apply.register
def _(event: ev.DutyStarted, case: Case, at: At) -> Case:
    return _replace(case, duties=(*case.duties, Duty(duty=event.duty, started_on=event.started_on)))


@_apply.register
def _(event: ev.DutySuspended, case: Case, at: At) -> Case:
    rest = Suspension(on=event.on, reason=event.reason)
    return _on_duty(case, event.duty, lambda duty: _replace(duty, suspensions=(*duty.suspensions, rest)))


@_apply.register
def _(event: ev.DutyResumed, case: Case, at: At) -> Case:
    def resume(duty: Duty) -> Duty:
        rests = list(duty.suspensions)
        ended = max(n for n, rest in enumerate(rests) if event.reason in {"", rest.reason})
        rests[ended] = _replace(rests[ended], until=event.on)
        return _replace(duty, suspensions=tuple(rests))

    return _on_duty(case, event.duty, resume)


@_apply.register
def _(event: ev.SupplementRequested, case: Case, at: At) -> Case:
    supplement = Supplement(
        requested_by=event.requested_by,
        operation=event.operation,
        notified_by=event.notified_by,
        items=event.items,
        due_on=event.due_on,
    )
    return _replace(case, supplement=supplement, supplements=case.supplements + 1)


@_apply.register
def _(event: ev.SupplementNotified, case: Case, at: At) -> Case:
    supplement = case.supplement and _replace(case.supplement, reference=event.reference)
    return _replace(case, supplement=supplement)


@_apply.register
def _(event: ev.SupplementAnswered, case: Case, at: At) -> Case:
    return _replace(case, supplement=None, filed_form=case.form)


@_apply.register
def _(event: ev.StateChanged, case: Case, at: At) -> Case:
    return _replace(case, service_state=event.service_state, state=event.state)


@_apply.register
def _(event: ev.Decided, case: Case, at: At) -> Case:
    return _replace(case, decision=event, supplement=None)


@_apply.register
def _(event: ev.Collected, case: Case, at: At) -> Case:
    return _replace(
        case, decision=case.decision and _replace(case.decision, card=event.card, permits=event.permits)
    )


@_apply.register
def _(event: ev.OutcomeIssued, case: Case, at: At) -> Case:
    return _replace(case, outcome=(*case.outcome, event.document))


@_apply.register
def _(event: ev.DeadlinePassed, case: Case, at: At) -> Case:
    return case


def _without(case: Case, call: UUID) -> tuple[OpenCall, ...]:
    return tuple(open_call for open_call in case.open_calls if open_call.call != call)


def _fee(case: Case) -> Fee:
    if case.fee is None:
        raise ValueError("a payment event came before the fee was ordered")
    return case.fee


def _on_duty(case: Case, name: str, change: Callable[[Duty], Duty]) -> Case:
    return _replace(case, duties=tuple(change(duty) if duty.duty == name else duty for duty in case.duties))
