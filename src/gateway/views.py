"""What a person is shown of a case: built from the case and today's date, stored nowhere.

Texts come in the language the case was opened in; times for people are RFC 3339 in +08:00. `actions` lists
every verb with whether it is allowed now and why not, so that a front end needs no rules of its own.
"""

import datetime as dt
from typing import Any
from uuid import UUID

import msgspec

from consent.model import BasisKind, BasisState, Grant, LawfulBasis
from services import events as ev
from services.case import TAIPEI, At, Case
from services.errors import Problem
from services.events import State
from services.flow import Flow
from services.service import DueDate
from services.store import RecordedEvent
from services.verbs import ALLOWED, why_not


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers."""


class ProblemView(View, frozen=True):
    """One thing to mend."""

    pointer: str
    code: str
    detail: str


class DocumentView(View, frozen=True):
    """A document that the person uploaded or received."""

    document_id: UUID
    slot: str
    media_type: str
    size: int
    href: str


class FeeView(View, frozen=True):
    """The fee, in NT$."""

    amount_ntd: int
    paid: bool
    pay_url: str
    overpayments: int


class SupplementView(View, frozen=True):
    """What is asked for, by whom, until when; `reference` is the notifying agency's number."""

    requested_by: str
    notified_by: str
    reference: str
    due_on: dt.date
    items: list[dict[str, str]]


class DueView(View, frozen=True):
    """A period as projected today, with the explanation of its date."""

    duty: str
    title: str
    due_on: dt.date
    elapsed_days: int
    running: bool
    explanation: tuple[str, ...]


class Action(View, frozen=True):
    """One verb: whether it is allowed now, and why not."""

    verb: str
    method: str
    href: str
    allowed: bool
    why_not: str


class DecisionView(View, frozen=True):
    """How the case ended, what can be done against it, and the permits it gave."""

    outcome: str
    decided_on: dt.date
    ground: str
    article: str
    remedy: ev.Remedy | None
    permits: dict[str, ev.PermitEffect]
    card: dict[str, Any]
    certificate: dict[str, Any]


class CaseView(View, frozen=True):
    """A case as its applicant sees it."""

    case_id: UUID
    case_number: str
    service: str
    edition: str
    state: State
    service_state: str
    label: str
    version: int
    submitted_at: str
    form: dict[str, Any]
    fetched: dict[str, dict[str, Any]]
    problems: list[ProblemView]
    documents: list[DocumentView]
    fee: FeeView | None
    supplement: SupplementView | None
    supplements: int
    agency_calls: int
    open_calls: int
    due_dates: list[DueView]
    decision: DecisionView | None
    outcome: list[DocumentView]
    actions: list[Action]


class CaseList(View, frozen=True):
    """One page of cases; `next` is the cursor of the following page, empty at the end."""

    cases: list[CaseView]
    next: str


class TimelineEntry(View, frozen=True):
    """One event of the history, without its content."""

    seq: int
    type: str
    at: str
    legal_date: dt.date
    actor: str
    label: str


class Timeline(View, frozen=True):
    """A case's history; `next` is the number to go on after, 0 at the end."""

    entries: list[TimelineEntry]
    next: int


class BasisView(View, frozen=True):
    """A lawful basis as the person it is about sees it."""

    basis_id: UUID
    case_id: UUID | None
    kind: BasisKind
    state: BasisState
    purpose: str
    purpose_text: str
    law: str
    agencies: list[Grant]
    notice_sha256: str
    expires_at: str
    withdrawable: bool


def case_view(flow: Flow, case: Case, at: At) -> CaseView:
    """The case as its applicant sees it at this moment."""
    service = flow.service_of(case)
    open_draft = case.state in ALLOWED["edit"]
    return CaseView(
        case_id=case.case_id,
        case_number=case.number,
        service=case.service,
        edition=case.edition or service.edition_on(at.legal_date),
        state=case.state,
        service_state=case.service_state,
        label=service.label(case, case.service_state, case.language),
        version=case.version,
        submitted_at=local(case.submitted_at) if case.submitted_at else "",
        form=case.form,
        fetched=case.fetched,
        problems=problem_views(service.filing_problems(case, at), case.language) if open_draft else [],
        documents=[_document(case, document) for document in case.documents],
        fee=_fee(case),
        supplement=_supplement(case),
        supplements=case.supplements,
        agency_calls=case.calls,
        open_calls=len(case.open_calls),
        due_dates=[_due(due, case.language) for due in service.due_dates(case, at)],
        decision=_decision(case),
        outcome=[_document(case, document) for document in case.outcome],
        actions=[_action(verb, case) for verb in ALLOWED],
    )


def basis_view(basis: LawfulBasis) -> BasisView:
    """A lawful basis as its subject sees it."""
    withdrawable = basis.kind.is_consent and basis.state in {BasisState.GRANTED, BasisState.PAUSED}
    return BasisView(
        basis_id=basis.basis_id,
        case_id=basis.case_id,
        kind=basis.kind,
        state=basis.state,
        purpose=basis.purpose_code,
        purpose_text=basis.purpose_text,
        law=basis.law,
        agencies=list(basis.grants),
        notice_sha256=basis.notice_sha256,
        expires_at=local(basis.expires_at),
        withdrawable=withdrawable,
    )


def timeline(flow: Flow, case: Case, events: list[RecordedEvent], limit: int) -> Timeline:
    """A page of the history."""
    service = flow.service_of(case)
    entries = [
        TimelineEntry(
            seq=recorded.seq,
            type=ev.type_of(recorded.event),
            at=local(recorded.at.machine),
            legal_date=recorded.at.legal_date,
            actor="applicant" if recorded.actor == case.applicant else recorded.actor,
            label=service.label(case, recorded.event.service_state, case.language)
            if isinstance(recorded.event, ev.StateChanged)
            else "",
        )
        for recorded in events
    ]
    return Timeline(entries=entries, next=events[-1].seq if len(events) == limit else 0)


def problem_views(problems: list[Problem], language: str) -> list[ProblemView]:
    """Problems in one language."""
    return [
        ProblemView(
            pointer=problem.pointer,
            code=problem.code,
            detail=problem.detail_en if language == "en" else problem.detail_zh,
        )
        for problem in problems
    ]


def local(instant: dt.datetime) -> str:
    """RFC 3339 in Taiwan's time."""
    return instant.astimezone(TAIPEI).isoformat(timespec="milliseconds")


def _document(case: Case, document: ev.Document) -> DocumentView:
    return DocumentView(
        document_id=document.document_id,
        slot=document.slot,
        media_type=document.media_type,
        size=document.size,
        href=f"/api/v1/cases/{case.case_id}/documents/{document.document_id}",
    )


def _fee(case: Case) -> FeeView | None:
    fee = case.fee
    if fee is None:
        return None
    return FeeView(
        amount_ntd=fee.amount_ntd,
        paid=bool(fee.payment),
        pay_url="" if fee.payment else fee.pay_url,
        overpayments=len(fee.overpayments),
    )


def _supplement(case: Case) -> SupplementView | None:
    supplement = case.supplement
    if supplement is None or not supplement.reference:
        return None  # the agency that notifies has not yet done so
    reason = "reason_en" if case.language == "en" else "reason_zh"
    return SupplementView(
        requested_by=supplement.requested_by,
        notified_by=supplement.notified_by,
        reference=supplement.reference,
        due_on=supplement.due_on,
        items=[
            {"kind": item.kind, "target": item.target, "reason": getattr(item, reason)}
            for item in supplement.items
        ],
    )


def _due(due: DueDate, language: str) -> DueView:
    english = language == "en"
    return DueView(
        duty=due.duty,
        title=due.title_en if english else due.title_zh,
        due_on=due.due_on,
        elapsed_days=due.elapsed_days,
        running=due.running,
        explanation=due.explanation_en if english else due.explanation_zh,
    )


def _decision(case: Case) -> DecisionView | None:
    decision = case.decision
    if decision is None:
        return None
    return DecisionView(
        outcome=decision.outcome,
        decided_on=decision.decided_on,
        ground=decision.ground,
        article=decision.article,
        remedy=decision.remedy,
        permits=decision.permits,
        card=decision.card,
        certificate=decision.certificate,
    )


_ROUTES = {
    "edit": ("PUT", "/form"),
    "upload": ("PUT", "/documents/{slot}"),
    "submit": ("POST", "/submit"),
    "pay": ("POST", "/pay"),
    "supplement": ("POST", "/supplement"),
    "withdraw": ("POST", "/withdraw"),
}


def _action(verb: str, case: Case) -> Action:
    refusal = why_not(verb, case)
    method, path = _ROUTES[verb]
    why = "" if refusal is None else refusal.why_en if case.language == "en" else refusal.why_zh
    return Action(
        verb=verb,
        method=method,
        href=f"/api/v1/cases/{case.case_id}{path}",
        allowed=refusal is None,
        why_not=why,
    )
