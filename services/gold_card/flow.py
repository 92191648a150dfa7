"""How the steps of an application follow each other, as reactions to events. Pure.

    draft ─submitted─▶ waiting_for_payment ─paid─▶ information_check (NIA) ─▶ qualification_review (WDA)
      qualification_review ─consult─▶ consulting (the field's ministry) ─▶ qualification_review
      qualification_review ─passed─▶ [inspection] ─▶ [visa_review] (BOCA) ─▶ final_review (NIA) ─▶ approved
      approved with a certificate (from abroad) ─exchanged─▶ collected
      any review ─supplement─▶ notified by NIA, whoever asked (許可辦法 §4) ─▶ supplement_requested
                              ─answered─▶ the review that asked ;  ─not in time─▶ dismissed
      any review ─refused─▶ refused

Of whom the passport is inspected, when that begins and who needs foreign affairs' part is the edition's to say:
under the first one the inspection runs beside the labour review. The review period (30 working days, §3 II)
starts with the payment, since nothing is reviewed before; it rests from the notice of a supplement to its
answer, and while the passport waits to be inspected. Every end is told to the agencies that took part (§8).
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from adapters.boca.adapter import InspectionAnswer, VisaAnswer
from adapters.epay.adapter import Order, OrderAnswer
from adapters.errors import Unsupported
from adapters.nia.adapter import CheckAnswer, ExchangeAnswer, FinalAnswer, SupplementNotice
from adapters.notify.adapter import Message
from adapters.vocabulary import Acknowledged, Decision, DecisionNotice
from adapters.wda.adapter import QualificationAnswer
from services import events as ev
from services.case import CLOSED_STATES, At, Case
from services.errors import NotAllowed
from services.gold_card import fees, requests, rules, steps
from services.gold_card.edition import Edition
from services.gold_card.steps import BOCA, NIA, RESIDENCE, WDA, due_on, edition_of, end_of, form_of
from services.service import NOTHING, Identity, Moves, PlannedCall, Timer

EPAY, NOTIFY = "epay", "notify"
FIELD_AUTHORITY = "field_authority"
CLOCKS = ("review", "review_target")
LASTING = ("gold_card.notification",)  # a decision has to be served after it was taken (行政程序法 §100)
SUPPLEMENT, INSPECTION = "supplement", "passport_inspection"  # what the clocks rest for


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
            ev.Collected: self._collected,
            ev.DeadlinePassed: self._deadline_passed,
        }
        self._answers: Mapping[tuple[str, str], Callable[[Case, ev.CallAnswered, At], Moves]] = {
            (NIA, "residence"): self._residence,
            (NIA, "information_check"): self._information_checked,
            (NIA, "supplement_notice"): self._notice_served,
            (NIA, "final_review"): self._finally_reviewed,
            (NIA, "exchange"): self._exchanged,
            (BOCA, "inspection"): self._inspected,
            (BOCA, "visa_review"): self._visa_reviewed,
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
        due = end_of(due_on(case, "payment", at))
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
            calls=(contact, steps.information_check(case)),
            timers=(Timer(name="payment", due_at=None),),
        )

    # What the agencies answer.

    def _answered(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        kind = event.agency.partition(":")[0]
        reaction = self._answers.get((kind, event.operation))
        after_the_end = event.operation == "exchange"
        if reaction is None or (case.state in CLOSED_STATES and not after_the_end):
            return NOTHING
        return reaction(case, event, at)

    def _residence(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        return Moves(events=(ev.Fetched(resource=RESIDENCE, agency=event.agency, data=event.data),))

    def _information_checked(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        decision = msgspec.convert(event.data, CheckAnswer).decision
        if decision.outcome != "passed":
            return self._not_passed(case, event, decision, at)
        beside = (
            self._inspection(case, at) if edition_of(case).inspection.when == "after_acceptance" else NOTHING
        )
        return msgspec.structs.replace(
            beside,
            events=(state(edition_of(case), "qualification_review"), *beside.events),
            calls=(steps.qualification_review(case), *beside.calls),
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
        return self._go_on(case, at)

    def _opinion_given(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        return Moves(
            events=(state(edition_of(case), "qualification_review"),),
            calls=(steps.qualification_review(case),),
        )

    def _inspected(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        decision = msgspec.convert(event.data, InspectionAnswer).decision
        over = Moves(events=_run(case, INSPECTION, at), timers=(Timer(name="inspection", due_at=None),))
        if decision.outcome != "passed":
            return _joined(over, self._not_passed(case, event, decision, at))
        return _joined(over, self._go_on(case, at))

    def _visa_reviewed(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        decision = msgspec.convert(event.data, VisaAnswer).decision
        if decision.outcome != "passed":
            return self._not_passed(case, event, decision, at)
        return _review(case, "final_review")

    def _go_on(self, case: Case, at: At) -> Moves:
        """The step after the labour review and the inspection, which may run beside each other."""
        if steps.outcome_of(case, WDA, "qualification_review") != "passed":
            return NOTHING
        if steps.needs(case, "inspection") and steps.outcome_of(case, BOCA, "inspection") != "passed":
            begun = NOTHING if steps.is_asked(case, BOCA, "inspection") else self._inspection(case, at)
            now = () if case.supplement else (state(edition_of(case), "inspection"),)
            return msgspec.structs.replace(begun, events=(*begun.events, *now))
        return _review(case, "visa_review" if steps.needs(case, "visa_review") else "final_review")

    def _inspection(self, case: Case, at: At) -> Moves:
        """Have the passport inspected, where the edition asks it of such a person: notice, period, rest."""
        if not steps.needs(case, "inspection"):
            return NOTHING
        last_day = due_on(case, "inspection", at)
        return Moves(
            events=(
                ev.DutyStarted(duty="inspection", started_on=at.legal_date),
                *_rest(case, INSPECTION, at),
            ),
            calls=(steps.inspection(case, last_day), self._message(case, "passport_inspection")),
            timers=(Timer(name="inspection", due_at=end_of(last_day)),),
        )

    def _finally_reviewed(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        answer = msgspec.convert(event.data, FinalAnswer)
        issued = answer.card or answer.certificate
        if answer.decision.outcome != "passed" or issued is None:
            return self._not_passed(case, event, answer.decision, at)
        approved = ev.Decided(
            outcome="approved",
            decided_on=issued.issued_on,
            permits=rules.permits(form_of(case), edition_of(case), answer.card),
            card=msgspec.to_builtins(answer.card) if answer.card else {},
            certificate=msgspec.to_builtins(answer.certificate) if answer.certificate else {},
        )
        return Moves(events=(approved,))

    def _not_passed(self, case: Case, event: ev.CallAnswered, decision: Decision, at: At) -> Moves:
        if decision.outcome == "supplement":
            if case.supplement is not None:
                return NOTHING  # another review asks at present; this one is told when that is answered
            return Moves(events=(_supplement(case, event.agency, event.operation, decision, at),))
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
        return Moves(
            events=(*_rest(case, SUPPLEMENT, at), state(edition_of(case), "supplement_requested")),
            calls=(self._message(case, "supplement_requested"),),
            timers=(Timer(name="supplement", due_at=end_of(due_on(case, "supplement", at))),),
        )

    def _supplement_answered(self, case: Case, event: ev.SupplementAnswered, at: At) -> Moves:
        over = Moves(events=_run(case, SUPPLEMENT, at), timers=(Timer(name="supplement", due_at=None),))
        if event.operation == "inspection":  # a new notice, and a new period with it
            reviewed = steps.outcome_of(case, WDA, "qualification_review") == "passed"
            name = "inspection" if reviewed else "qualification_review"
            again = _joined(self._inspection(case, at), Moves(events=(state(edition_of(case), name),)))
        else:
            again = _review(case, event.operation)
        return _joined(_joined(over, again), self._supplement_that_waited(case, event.operation, at))

    def _supplement_that_waited(self, case: Case, answered: str, at: At) -> Moves:
        """The supplement that another review asked for while one was open already."""
        for name in case.answers:
            agency, _, operation = name.rpartition(".")
            if operation == answered or steps.outcome_of(case, agency, operation) != "supplement":
                continue
            decision = msgspec.convert(case.answers[name]["decision"], Decision)
            return Moves(events=(_supplement(case, agency, operation, decision, at),))
        return NOTHING

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
            told = edition.agencies_told(steps.consulted(case))
            calls = (
                *(PlannedCall(agency=agency, operation="decision_notice", data=notice) for agency in told),
                self._message(case, event.outcome),
            )
        if event.certificate:
            calls = (*calls, steps.exchange(case, event.certificate["number"]))
        timers = ("payment", "supplement", *(duty.duty for duty in case.duties if duty.duty == "inspection"))
        return Moves(
            events=(state(edition, event.outcome),),
            calls=calls,
            timers=tuple(Timer(name=name, due_at=None) for name in dict.fromkeys(timers)),
            end_bases=not event.certificate,
            lasting=LASTING if case.duties and event.outcome != "withdrawn" else (),
            issue_outcome=event.outcome == "approved",
        )

    def _exchanged(self, case: Case, event: ev.CallAnswered, at: At) -> Moves:
        answer = msgspec.convert(event.data, ExchangeAnswer)
        collected = ev.Collected(
            collected_on=answer.collected_on,
            card=msgspec.to_builtins(answer.card),
            permits=rules.permits(form_of(case), edition_of(case), answer.card),
        )
        return Moves(events=(collected,))

    def _collected(self, case: Case, event: ev.Collected, at: At) -> Moves:
        return Moves(
            events=(state(edition_of(case), "collected"),),
            calls=(self._message(case, "collected"),),
            end_bases=True,
            lasting=LASTING,
            issue_outcome=True,
        )

    def _message(self, case: Case, template: str) -> PlannedCall:
        message = Message(template=f"gold_card.{template}", language=case.language, link=self._link(case))
        return PlannedCall(agency=NOTIFY, operation="send", data=message)

    def _link(self, case: Case) -> str:
        return f"{self._public_url}/cases/{case.case_id}"


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


def _review(case: Case, operation: str) -> Moves:
    """Have a review made, and say so: its state has the operation's name."""
    return Moves(events=(state(edition_of(case), operation),), calls=(steps.REVIEWS[operation](case),))


def _supplement(
    case: Case, agency: str, operation: str, decision: Decision, at: At
) -> ev.SupplementRequested:
    return ev.SupplementRequested(
        requested_by=agency,
        operation=operation,
        notified_by=NIA,
        items=decision.items,
        due_on=due_on(case, "supplement", at),
    )


def _rest(case: Case, reason: str, at: At) -> tuple[ev.CaseEvent, ...]:
    """The review's clocks rest for this reason."""
    return tuple(
        ev.DutySuspended(duty=duty.duty, on=at.legal_date, reason=reason)
        for duty in case.duties
        if duty.duty in CLOCKS
    )


def _run(case: Case, reason: str, at: At) -> tuple[ev.CaseEvent, ...]:
    """The reason is over; where there is no other, the clocks run again."""
    return tuple(
        ev.DutyResumed(duty=duty.duty, on=at.legal_date, reason=reason)
        for duty in case.duties
        if duty.duty in CLOCKS
    )


def _joined(first: Moves, second: Moves) -> Moves:
    """Events, calls and timers of both; they ask for nothing else."""
    return Moves(
        events=(*first.events, *second.events),
        calls=(*first.calls, *second.calls),
        timers=(*first.timers, *second.timers),
    )
