"""What follows from each event of an application, step by step. Pure: no database, no agency."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec
import pytest

from adapters.errors import Unsupported
from adapters.nia.adapter import SupplementNotice
from adapters.vocabulary import DecisionNotice, SupplementItem
from adapters.wda.adapter import QualificationRequest
from consent.ids import uuid7
from services import events as ev
from services.case import CLOSED_STATES, At, Case, evolve
from services.errors import NotAllowed
from services.events import Document, State
from services.gold_card.flow import Flow
from services.gold_card.steps import RESIDENCE
from services.service import NOTHING, Identity, Moves

Change = Callable[..., dict[str, Any]]
NOW = dt.datetime(2022, 3, 1, 2, 0, tzinfo=dt.UTC)
AT = At(machine=NOW, legal=NOW)
FLOW = Flow("https://onestop.example")
AUTHORITY = "field_authority:moc"
PASSED = {"outcome": "passed"}
ITEM = {
    "kind": "supplement",
    "target": "document:employment_certificate",
    "reason_zh": "請補正",
    "reason_en": "please add it",
}
CARD = {
    "number": "1234567890",
    "issued_on": "2022-04-15",
    "valid_from": "2022-04-16",
    "valid_to": "2025-04-15",
}


class Application:
    """A case that events happen to; `moves` is what followed from the last one."""

    def __init__(self, form: dict[str, Any]) -> None:
        documents = tuple(
            Document(
                document_id=UUID(int=n), slot=slot, media_type="application/pdf", size=1, sha256="0" * 64
            )
            for n, slot in enumerate(["passport", "photo", "qualification", "arc_copy"])
        )
        self.case = Case(
            case_id=uuid7(),
            number="110000000019",
            service="gold_card",
            applicant="alice",
            form=form,
            documents=documents,
        )
        self.moves = NOTHING

    def happens(self, event: ev.CaseEvent) -> Moves:
        """Let it happen, and after it all events that follow; the moves of the event itself."""
        self.case = evolve(self.case, event, AT)
        moves = FLOW.react(self.case, event, AT)
        for following in moves.events:
            deeper = self.happens(following)
            moves = _joined(moves, deeper)
        self.moves = moves
        return moves

    def submitted(self) -> "Application":
        self.happens(ev.Submitted(edition="2021-10-25", form_sha256="0" * 64))
        return self

    def paid(self) -> "Application":
        self.submitted().happens(ev.FeePaid(payment="P1", amount_ntd=0, paid_at=NOW))
        return self

    def answered(self, agency: str, operation: str, data: Mapping[str, Any]) -> Moves:
        """An agency answers; an answer that is a decision may be given as one."""
        return self.happens(
            ev.CallAnswered(call=uuid7(), agency=agency, operation=operation, data=dict(data))
        )

    def decides(self, agency: str, operation: str, outcome: str, **more: Any) -> Moves:
        return self.answered(agency, operation, {"decision": {"outcome": outcome, **more}})

    def approved(self) -> "Application":
        self.paid().decides("nia", "information_check", "passed")
        self.decides("wda", "qualification_review", "passed")
        self.answered("nia", "final_review", {"decision": PASSED, "card": CARD})
        return self


def _joined(first: Moves, second: Moves) -> Moves:
    return Moves(
        events=(*first.events, *second.events),
        calls=(*first.calls, *second.calls),
        timers=(*first.timers, *second.timers),
        take_effect=first.take_effect or second.take_effect,
        end_bases=first.end_bases or second.end_bases,
        lasting=first.lasting or second.lasting,
        issue_outcome=first.issue_outcome or second.issue_outcome,
    )


def called(moves: Moves) -> list[str]:
    return [f"{call.agency} {call.operation}" for call in moves.calls]


def timers(moves: Moves) -> dict[str, bool]:
    """Each timer, and whether it is set or taken back."""
    return {timer.name: timer.due_at is not None for timer in moves.timers}


@pytest.fixture
def application(changed: Change) -> Application:
    return Application(changed())


def test_filing_orders_the_fee_and_waits_for_it(application: Application) -> None:
    application.submitted()

    assert called(application.moves) == ["epay order"]
    assert timers(application.moves) == {"payment": True}
    assert application.case.state is State.WAITING_FOR_PAYMENT
    assert application.case.fee is not None
    assert not application.moves.take_effect


def test_an_order_that_was_taken_can_be_paid(application: Application) -> None:
    application.submitted().answered("epay", "order", {"order": "O1", "pay_url": "https://pay.example/1"})

    assert application.case.fee is not None
    assert application.case.fee.pay_url == "https://pay.example/1"


def test_payment_begins_the_review_and_brings_the_bases_into_force(application: Application) -> None:
    application.paid()

    assert called(application.moves) == ["notify contact", "nia information_check"]
    assert timers(application.moves) == {"payment": False}
    assert application.moves.take_effect
    assert [duty.duty for duty in application.case.duties] == ["review", "review_target"]
    assert application.case.service_state == "information_check"


def test_reviews_follow_each_other_to_the_approval(application: Application) -> None:
    application.paid()

    assert called(application.decides("nia", "information_check", "passed")) == ["wda qualification_review"]
    assert called(application.decides("wda", "qualification_review", "passed")) == ["nia final_review"]
    ended = application.answered("nia", "final_review", {"decision": PASSED, "card": CARD})

    assert application.case.state is State.APPROVED
    assert application.case.decision is not None
    assert application.case.decision.card["number"] == CARD["number"]
    assert (ended.issue_outcome, ended.end_bases) == (True, True)
    assert ended.lasting == ("gold_card.notification",)
    assert {"wda decision_notice", "notify send"} <= set(called(ended))
    assert timers(ended) == {"payment": False, "supplement": False}


@pytest.mark.parametrize(
    ("agency", "operation", "outcome"),
    [
        ("nia", "final_review", "passed"),  # without a card
        ("nia", "final_review", "consult"),
        ("nia", "information_check", "consult"),
    ],
)
def test_an_outcome_that_an_operation_cannot_have_ends_nothing(
    application: Application, agency: str, operation: str, outcome: str
) -> None:
    application.paid()

    with pytest.raises(Unsupported):
        application.decides(agency, operation, outcome)

    assert application.case.decision is None


def test_consultation_goes_to_the_authority_that_was_named_and_its_opinion_comes_back(
    application: Application,
) -> None:
    application.paid().decides("nia", "information_check", "passed")

    asked = application.decides("wda", "qualification_review", "consult", authority=AUTHORITY)
    assert called(asked) == [f"{AUTHORITY} opinion"]
    assert application.case.service_state == "consulting"

    [again] = application.answered(AUTHORITY, "opinion", {"qualified": True, "clause": "award"}).calls
    assert (again.agency, application.case.service_state) == ("wda", "qualification_review")
    assert isinstance(again.data, QualificationRequest)
    assert again.data.opinion is not None
    assert again.data.opinion.authority == AUTHORITY


def test_whoever_was_consulted_is_told_of_the_end(application: Application) -> None:
    application.paid().decides("wda", "qualification_review", "consult", authority=AUTHORITY)
    application.answered(AUTHORITY, "opinion", {"qualified": False, "clause": "award"})
    ended = application.decides("wda", "qualification_review", "refused", ground="g", article="a")

    assert f"{AUTHORITY} decision_notice" in called(ended)
    [notice] = {call.data for call in ended.calls if call.operation == "decision_notice"}
    assert isinstance(notice, DecisionNotice)
    assert notice.outcome == "refused"


@pytest.mark.parametrize(
    ("agency", "operation"),
    [("nia", "information_check"), ("wda", "qualification_review"), ("nia", "final_review")],
)
def test_whoever_asks_for_a_supplement_it_is_notified_by_nia_and_goes_back_to_who_asked(
    application: Application, agency: str, operation: str
) -> None:
    application.paid()

    [notice] = application.decides(agency, operation, "supplement", items=[ITEM]).calls
    assert (notice.agency, notice.operation) == ("nia", "supplement_notice")
    assert isinstance(notice.data, SupplementNotice)
    assert notice.data.requested_by == agency
    assert notice.data.items == (msgspec.convert(ITEM, SupplementItem),)
    assert application.case.service_state == "information_check"

    served = application.answered("nia", "supplement_notice", {"reference": "N1"})
    assert application.case.state is State.WAITING_FOR_APPLICANT
    assert timers(served) == {"supplement": True}
    assert all(duty.suspensions[-1].until is None for duty in application.case.duties)

    handed_in = application.happens(
        ev.SupplementAnswered(requested_by=agency, operation=operation, form_sha256="0" * 64)
    )
    assert called(handed_in) == [f"{agency} {operation}"]
    assert timers(handed_in) == {"supplement": False}
    assert all(duty.suspensions[-1].until == AT.legal_date for duty in application.case.duties)
    assert application.case.service_state == operation


@pytest.mark.parametrize(
    ("agency", "operation"),
    [("nia", "information_check"), ("wda", "qualification_review"), ("nia", "final_review")],
)
def test_a_refusal_gives_its_ground_and_the_remedy_and_ends_the_bases(
    application: Application, agency: str, operation: str
) -> None:
    ended = application.paid().decides(agency, operation, "refused", ground="not met", article="§4")

    decision = application.case.decision
    assert decision is not None
    assert (decision.outcome, decision.ground, decision.article) == ("refused", "not met", "§4")
    assert decision.remedy is not None
    assert decision.remedy.days > 0
    assert decision.remedy.authority
    assert application.case.state is State.REFUSED
    assert (ended.end_bases, ended.issue_outcome) == (True, False)


@pytest.mark.parametrize("timer", ["payment", "supplement"])
def test_a_period_that_runs_out_dismisses_the_application(application: Application, timer: str) -> None:
    ended = application.submitted().happens(ev.DeadlinePassed(timer=timer))

    decision = application.case.decision
    assert decision is not None
    assert (decision.outcome, application.case.state) == ("dismissed", State.DISMISSED)
    assert decision.article
    assert ended.end_bases
    assert not ended.issue_outcome


def test_who_never_paid_is_told_to_no_agency(application: Application) -> None:
    ended = application.submitted().happens(ev.DeadlinePassed(timer="payment"))

    assert called(ended) == []


def test_a_payment_after_the_dismissal_changes_nothing(application: Application) -> None:
    application.submitted().happens(ev.DeadlinePassed(timer="payment"))

    assert application.happens(ev.FeePaid(payment="P1", amount_ntd=1, paid_at=NOW)) == NOTHING

    assert application.case.state is State.DISMISSED
    assert application.case.duties == ()


def late(agency: str, operation: str, **data: Any) -> ev.CallAnswered:
    return ev.CallAnswered(call=UUID(int=1), agency=agency, operation=operation, data=data)


@pytest.mark.parametrize(
    "event",
    [
        ev.DeadlinePassed(timer="supplement"),
        ev.FeePaid(payment="P2", amount_ntd=1, paid_at=NOW),
        ev.Overpaid(payment="P3", amount_ntd=1, paid_at=NOW),
        late("nia", "information_check", decision=PASSED),
        late("nia", "final_review", decision={"outcome": "refused"}),
        late("nia", "supplement_notice", reference="N1"),
        late("wda", "qualification_review", decision=PASSED),
        late(AUTHORITY, "opinion", qualified=True, clause="award"),
        late("epay", "order", order="O1", pay_url="https://pay.example/1"),
    ],
    ids=lambda event: getattr(event, "operation", type(event).__name__),
)
def test_what_comes_after_the_end_changes_nothing(application: Application, event: ev.CaseEvent) -> None:
    application.approved()
    decision = application.case.decision

    assert application.happens(event) == NOTHING

    assert application.case.state in CLOSED_STATES
    assert application.case.decision == decision


@pytest.mark.parametrize(
    "event",
    [
        ev.FormSaved(form={}),
        ev.CallFailed(call=UUID(int=1), agency="nia", operation="residence", status="dead", reason=""),
        ev.CallAnswered(call=UUID(int=1), agency="notify", operation="send", data={"reference": "1"}),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_that_move_no_application_move_none(application: Application, event: ev.CaseEvent) -> None:
    assert application.paid().happens(event) == NOTHING


def test_a_granted_consent_fetches_the_record_of_the_person_who_granted_it(
    application: Application,
) -> None:
    own = Identity(passport_number="12AB34567", nationality="FRA", date_of_birth=dt.date(1985, 5, 17))

    moves = FLOW.consent_granted(application.case, RESIDENCE, own, AT)

    assert called(moves) == ["nia residence"]
    application.answered("nia", "residence", {"arc": {"number": "A1"}})
    assert application.case.fetched[RESIDENCE] == {"arc": {"number": "A1"}}


@pytest.mark.parametrize(
    "other",
    [
        Identity(),
        Identity(passport_number="X1", nationality="FRA", date_of_birth=dt.date(1985, 5, 17)),
        Identity(passport_number="12AB34567", nationality="GBR", date_of_birth=dt.date(1985, 5, 17)),
        Identity(passport_number="12AB34567", nationality="FRA", date_of_birth=dt.date(1985, 5, 18)),
    ],
)
def test_nobody_fetches_another_person_s_record(application: Application, other: Identity) -> None:
    with pytest.raises(NotAllowed):
        FLOW.consent_granted(application.case, RESIDENCE, other, AT)


def test_a_draft_that_does_not_say_whose_record_fetches_none(changed: Change) -> None:
    draft = Application(changed({"/passport/number": None}))

    with pytest.raises(NotAllowed):
        FLOW.consent_granted(draft.case, RESIDENCE, Identity(), AT)


def test_a_consent_to_something_else_sets_nothing_off(application: Application) -> None:
    assert FLOW.consent_granted(application.case, "nia.entries", Identity(), AT) == NOTHING


def test_no_message_carries_anything_of_the_person(application: Application) -> None:
    sent = [call for call in application.approved().moves.calls if call.operation == "send"]

    text = msgspec.json.encode([call.data for call in sent]).decode()
    assert sent
    assert not any(word in text for word in ("DUPONT", "MARIE", "12AB34567", "example.org"))
