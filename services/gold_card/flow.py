"""The steps of an application in Taiwan, as reactions to events. Pure.

    draft ─submitted─▶ waiting_for_payment ─paid─▶ information_check (NIA) ─▶ qualification_review (WDA)
      qualification_review ─consult─▶ consulting (the field's ministry) ─▶ qualification_review
      qualification_review ─passed─▶ final_review (NIA) ─▶ approved
      any review ─supplement─▶ notified by NIA, whoever asked (許可辦法 §4) ─▶ supplement_requested
                              ─answered─▶ the review that asked ;  ─not in time─▶ dismissed
      any review ─refused─▶ refused

The review period (30 working days, §3 II) starts with the payment, since nothing is reviewed before, and rests
from the notice of a supplement to its answer. Every end is told to the agencies that took part (§8).
"""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from adapters.epay.adapter import Order, OrderAnswer
from adapters.errors import Unsupported
from adapters.field_authority.adapter import OpinionAnswer
from adapters.nia.adapter import Card, CheckAnswer, FinalAnswer, SupplementNotice
from adapters.notify.adapter import Message
from adapters.vocabulary import Acknowledged, Decision, DecisionNotice
from adapters.wda.adapter import Opinion, QualificationAnswer
from services import events as ev
from services.calendar import working_calendar
from services.case import CLOSED_STATES, TAIPEI, At, Case
from services.clock import projection
from services.errors import NotAllowed
from services.gold_card import fees, requests, rules
from services.gold_card.edition import Edition, editions
from services.gold_card.form import FORM, GoldCardForm
from services.service import NOTHING, Identity, Moves, PlannedCall, Timer

NIA, WDA, EPAY, NOTIFY = "nia", "wda", "epay", "notify"
FIELD_AUTHORITY = "field_authority"
CLOCKS = ("review", "review_target")
RESIDENCE = "nia.residence"


def state(edition: Edition, name: str) -> ev.StateChanged:
    """The event that puts a case into one of the edition's states."""
    label = next(label for label in edition.states if label.id == name)
    return ev.StateChanged(service_state=label.id, state=label.general)


class Flow:
    """The reactions; `public_url` is where people find their case."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url
        self._reactions: Mapping[type, Callable[[Case, Any, At], Moves]] = {
            ev.Submitted: self._submitted,
            ev.FeePaid: self._paid,
            ev.CallAnswered: self._answered,
            ev.SupplementRequested: self._supplement_requested,
            ev.SupplementNotified: self._supplement_notified,
            ev.SupplementAnswered: self._supplement_answered,
            ev.Decided: self._decided,
            ev.DeadlinePassed: self._deadline_passed,
        }
        self._answers: Mapping[tuple[str, str], Callable[[Case, ev.CallAnswered, At], Moves]] = {
            (NIA, "residence"): self._residence,
            (NIA, "information_check"): self._information_checked,
            (NIA, "supplement_notice"): self._notice_served,
            (NIA, "final_review"): self._finally_reviewed,
            (WDA, "qualification_review"): self._qualification_reviewed,
            (FIELD_AUTHORITY, "opinion"): self._opinion_given,
            (EPAY, "order"): self._order_taken,
        }

    def react(self, case: Case, event: ev.CaseEvent, at: At) -> Moves:
        """What follows from an event that has just been applied to the case."""
        reaction = self._reactions.get(type(event))
        return reaction(case, event, at) if reaction else NOTHING

    def consent_granted(self, case: Case, resource: str, person: Identity, at: At) -> Moves:
        """A granted consent sets off the fetch that it is for: of the record of whoever granted it."""
        if resource != RESIDENCE:
            return NOTHING
        wanted = requests.residence(case.form)
        if wanted is None:
            raise NotAllowed(
                "grant",
                "請先填妥護照與個人資料",
                "fill in the person and the passport first: they say whose record is asked for",
            )
        if requests.holder(wanted) != person:
            raise NotAllowed(
                "grant",
                "只能取得您本人的居留資料：表單的護照與生日須與登入身分相符，或改為上傳影本",
                "only your own record can be fetched: passport and date of birth in the form are not those of "
                "the person who is logged in; a copy can be uploaded instead",
            )
        return Moves(calls=(PlannedCall(agency=NIA, operation="residence", data=wanted),))

    # Filing and payment.

    def _submitted(self, case: Case, event: ev.Submitted, at: At) -> Moves:
        amount = sum(line.amount_ntd for line in fees.fee(fees.facts_of(form_of(case)), at.legal_date))
        due = _end_of(_due_on(case, "payment", at))
        order = Order(
            amount_ntd=amount,
            item="就業金卡規費 Employment Gold Card fee",
            return_url=self._link(case),
            expires_at=due,
        )
        return Moves(
            events=(ev.FeeOrdered(amount_ntd=amount), state(edition_of(case), "waiting_for_payment")),
            calls=(PlannedCall(agency=EPAY, operation="order", data=order),),
            timers=(Timer(name="payment", due_at=due),),
        )

    def _order_taken(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        answer = msgspec.convert(event.data, OrderAnswer)
        return Moves(events=(ev.FeePayable(call=event.call, order=answer.order, pay_url=answer.pay_url),))

    def _paid(self, case: Case, event: ev.FeePaid, at: At) -> Moves:
        if case.state in CLOSED_STATES:
            return NOTHING  # a payment that came too late changes nothing; it can be claimed back
        clocks = tuple(ev.DutyStarted(duty=duty, started_on=at.legal_date) for duty in CLOCKS)
        contact = PlannedCall(agency=NOTIFY, operation="contact", data=requests.contact(form_of(case)))
        return Moves(
            take_effect=True,
            events=(*clocks, state(edition_of(case), "information_check")),
            calls=(contact, _information_check(case)),
            timers=(Timer(name="payment", due_at=None),),
        )

    # What the agencies answer.

    def _answered(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        kind = event.agency.partition(":")[0]
        reaction = self._answers.get((kind, event.operation))
        if reaction is None or case.state in CLOSED_STATES:
            return NOTHING
        return reaction(case, event, at)

    def _residence(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        return Moves(events=(ev.Fetched(resource=RESIDENCE, agency=event.agency, data=event.data),))

    def _information_checked(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        decision = msgspec.convert(event.data, CheckAnswer).decision
        if decision.outcome != "passed":
            return self._not_passed(case, event, decision, at)
        return Moves(
            events=(state(edition_of(case), "qualification_review"),), calls=(_qualification_review(case),)
        )

    def _qualification_reviewed(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        decision = msgspec.convert(event.data, QualificationAnswer).decision
        if decision.outcome == "consult":
            opinion = PlannedCall(
                agency=decision.authority,
                operation="opinion",
                data=requests.opinion(form_of(case), case.documents, edition_of(case)),
            )
            return Moves(events=(state(edition_of(case), "consulting"),), calls=(opinion,))
        if decision.outcome != "passed":
            return self._not_passed(case, event, decision, at)
        return Moves(events=(state(edition_of(case), "final_review"),), calls=(_final_review(case),))

    def _opinion_given(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        return Moves(
            events=(state(edition_of(case), "qualification_review"),), calls=(_qualification_review(case),)
        )

    def _finally_reviewed(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        answer = msgspec.convert(event.data, FinalAnswer)
        if answer.decision.outcome != "passed" or answer.card is None:
            return self._not_passed(case, event, answer.decision, at)
        approved = ev.Decided(
            outcome="approved",
            decided_on=answer.card.issued_on,
            permits=rules.permits(form_of(case), answer.card),
            card=msgspec.to_builtins(answer.card),
        )
        return Moves(events=(approved,))

    def _not_passed(self, case: Case, event: ev.CallAnswered, decision: Decision, at: At) -> Moves:
        if decision.outcome == "supplement":
            requested = ev.SupplementRequested(
                requested_by=event.agency,
                operation=event.operation,
                notified_by=NIA,
                items=decision.items,
                due_on=_due_on(case, "supplement", at),
            )
            return Moves(events=(requested,))
        if decision.outcome != "refused":  # a consultation nobody may ask for here, a pass without a card
            raise Unsupported(f"'{event.operation}' cannot come out as '{decision.outcome}'")
        return _end(case, "refused", at, ground=decision.ground, article=decision.article)

    # Supplements.

    def _supplement_requested(self, case: Case, event: ev.SupplementRequested, at: At) -> Moves:
        notice = SupplementNotice(requested_by=event.requested_by, items=event.items, due_on=event.due_on)
        return Moves(calls=(PlannedCall(agency=NIA, operation="supplement_notice", data=notice),))

    def _notice_served(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        answer = msgspec.convert(event.data, Acknowledged)
        return Moves(events=(ev.SupplementNotified(reference=answer.reference),))

    def _supplement_notified(self, case: Case, event: ev.SupplementNotified, at: At) -> Moves:
        rests = tuple(
            ev.DutySuspended(duty=duty.duty, on=at.legal_date, reason="supplement") for duty in case.duties
        )
        return Moves(
            events=(*rests, state(edition_of(case), "supplement_requested")),
            calls=(self._message(case, "supplement_requested"),),
            timers=(Timer(name="supplement", due_at=_end_of(_due_on(case, "supplement", at))),),
        )

    def _supplement_answered(self, case: Case, event: ev.SupplementAnswered, at: At) -> Moves:
        runs = tuple(ev.DutyResumed(duty=duty.duty, on=at.legal_date) for duty in case.duties)
        review = _REVIEWS[event.operation]
        return Moves(
            events=(*runs, state(edition_of(case), event.operation)),
            calls=(review(case),),
            timers=(Timer(name="supplement", due_at=None),),
        )

    # The end.

    def _deadline_passed(self, case: Case, event: ev.DeadlinePassed, at: At) -> Moves:
        if case.state in CLOSED_STATES:
            return NOTHING
        rule = edition_of(case).duty(event.timer)
        return _end(case, "dismissed", at, ground=rule.title.zh, article=rule.article)

    def _decided(self, case: Case, event: ev.Decided, at: At) -> Moves:
        edition = edition_of(case)
        calls: tuple[PlannedCall, ...] = ()
        if case.duties:  # it was paid for and reviewed: the agencies and the person are told
            notice = DecisionNotice(outcome=event.outcome, decided_on=event.decided_on)
            told = edition.agencies_told(_consulted(case))
            calls = (
                *(PlannedCall(agency=agency, operation="decision_notice", data=notice) for agency in told),
                self._message(case, event.outcome),
            )
        return Moves(
            events=(state(edition, event.outcome),),
            calls=calls,
            timers=(Timer(name="payment", due_at=None), Timer(name="supplement", due_at=None)),
            end_bases=True,
            issue_outcome=event.outcome == "approved",
        )

    def _message(self, case: Case, template: str) -> PlannedCall:
        message = Message(template=f"gold_card.{template}", language=case.language, link=self._link(case))
        return PlannedCall(agency=NOTIFY, operation="send", data=message)

    def _link(self, case: Case) -> str:
        return f"{self._public_url}/cases/{case.case_id}"


def edition_of(case: Case) -> Edition:
    """The edition the case was filed under; a draft's, before that, is its newest."""
    known = editions()
    return known[case.edition] if case.edition else list(known.values())[-1]


def complete_form(case: Case, form: Mapping[str, Any]) -> dict[str, Any]:
    """The form with what an agency supplied by consent put in the place of what would be typed."""
    fetched = case.fetched.get(RESIDENCE, {})
    wants = isinstance(stay := form.get("stay"), Mapping) and stay.get("residence_record") == "fetched"
    typed = {name: value for name, value in form.items() if name != "arc" or not wants}
    return {**typed, "arc": fetched["arc"]} if wants and "arc" in fetched else typed


def form_of(case: Case) -> GoldCardForm:
    return FORM.decode(complete_form(case, case.form if case.filed_form is None else case.filed_form))


def _due_on(case: Case, duty_id: str, at: At) -> dt.date:
    """The last day of a period that starts today."""
    calendar = working_calendar()
    duty = edition_of(case).duty(duty_id).duty(at.legal_date, calendar)
    return projection(duty, (), at.legal_date, calendar).due_on


def _end_of(day: dt.date) -> dt.datetime:
    """The first instant after a day in Taiwan."""
    return dt.datetime.combine(day + dt.timedelta(days=1), dt.time.min, TAIPEI).astimezone(dt.UTC)


def _end(case: Case, outcome: str, at: At, *, ground: str, article: str) -> Moves:
    rule = edition_of(case).remedy(outcome)
    remedy = None
    if rule is not None:
        remedy = ev.Remedy(kind=rule.kind, days=rule.days, authority=rule.authority, law=rule.article)
    decided = ev.Decided(
        outcome="refused" if outcome == "refused" else "dismissed",
        decided_on=at.legal_date,
        ground=ground,
        article=article,
        remedy=remedy,
    )
    return Moves(events=(decided,))


def _consulted(case: Case) -> list[str]:
    """Agencies that gave an opinion."""
    return [name.rpartition(".")[0] for name in case.answers if name.endswith(".opinion")]


def _information_check(case: Case) -> PlannedCall:
    data = requests.review(form_of(case), case.documents, edition_of(case))
    return PlannedCall(agency=NIA, operation="information_check", data=data)


def _final_review(case: Case) -> PlannedCall:
    data = requests.review(form_of(case), case.documents, edition_of(case))
    return PlannedCall(agency=NIA, operation="final_review", data=data)


def _qualification_review(case: Case) -> PlannedCall:
    """The labour review; after a consultation it carries the opinion that was given last."""
    opinion = None
    for agency in _consulted(case)[-1:]:
        given = msgspec.convert(case.answers[f"{agency}.opinion"], OpinionAnswer)
        opinion = Opinion(authority=agency, qualified=given.qualified, clause=given.clause)
    data = requests.qualification_review(form_of(case), case.documents, edition_of(case), opinion)
    return PlannedCall(agency=WDA, operation="qualification_review", data=data)


_REVIEWS: Mapping[str, Callable[[Case], PlannedCall]] = {
    "information_check": _information_check,
    "qualification_review": _qualification_review,
    "final_review": _final_review,
}


def card_of(case: Case) -> Card | None:
    """The card as NIA issued it, once the case is approved."""
    if case.decision is None or not case.decision.card:
        return None
    return msgspec.convert(case.decision.card, Card)
