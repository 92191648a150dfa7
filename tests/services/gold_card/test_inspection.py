"""The inspection of the passport and what hangs on it, by edition and person. Pure."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from consent.ids import uuid7
from services import events as ev
from services.case import At, Case, evolve
from services.gold_card.flow import Flow
from services.gold_card.service import GoldCard
from services.service import Moves

Change = Callable[..., dict[str, Any]]
FLOW = Flow("https://onestop.example")
FILED_ON = dt.datetime(2022, 3, 1, 2, 0, tzinfo=dt.UTC)
PASSED = {"decision": {"outcome": "passed"}}
INSPECTED = {**PASSED, "inspected_on": "2022-03-02", "place": "mission"}
ITEM = {"kind": "supplement", "target": "document:x", "reason_zh": "補", "reason_en": "add"}
ASKED = {"decision": {"outcome": "supplement", "items": [ITEM]}}
CERTIFICATE = {"number": "GC20220301ABCDEF", "issued_on": "2022-03-01"}
CARD = {
    "number": "A900000016",
    "issued_on": "2022-04-15",
    "valid_from": "2022-04-16",
    "valid_to": "2025-04-15",
}


class Application:
    """A paid case that agencies answer, with every call open that was planned and not answered."""

    def __init__(self, edition: str, form: dict[str, Any]) -> None:
        self.case = Case(
            case_id=uuid7(), number="110000000019", service="gold_card", applicant="alice", form=form
        )
        self.day = FILED_ON
        self.calls: list[str] = []
        self.timers: dict[str, dt.datetime | None] = {}
        self.happens(ev.Submitted(edition=edition, form_sha256="0" * 64))
        self.happens(ev.FeePaid(payment="P1", amount_ntd=0, paid_at=FILED_ON))
        self.calls.clear()

    @property
    def at(self) -> At:
        return At(machine=self.day, legal=self.day)

    def happens(self, event: ev.CaseEvent) -> list[str]:
        """Let it happen with all that follows; the calls that follow."""
        queue, planned = [event], []
        while queue:
            now = queue.pop(0)
            self.case = evolve(self.case, now, self.at)
            moves: Moves = FLOW.react(self.case, now, self.at)
            queue += moves.events
            for call in moves.calls:
                planned.append(f"{call.agency} {call.operation}")
                queue.append(ev.CallPlanned(call=uuid7(), agency=call.agency, operation=call.operation))
            self.timers |= {timer.name: timer.due_at for timer in moves.timers}
        self.calls += planned
        return planned

    def answers(self, agency: str, operation: str, data: Mapping[str, Any]) -> list[str]:
        call = next(c for c in self.case.open_calls if (c.agency, c.operation) == (agency, operation))
        return self.happens(
            ev.CallAnswered(call=call.call, agency=agency, operation=operation, data=dict(data))
        )

    def notified(self) -> None:
        """The supplement that is open reaches the person."""
        self.answers("nia", "supplement_notice", {"reference": "N1"})

    def hands_in(self) -> list[str]:
        assert self.case.supplement is not None
        asked = self.case.supplement
        return self.happens(
            ev.SupplementAnswered(
                requested_by=asked.requested_by, operation=asked.operation, form_sha256="0" * 64
            )
        )

    def rests(self) -> list[str]:
        """What the review's clock rests for."""
        return [rest.reason for rest in self.case.duties[0].suspensions if rest.until is None]


@pytest.fixture
def abroad(changed: Change) -> Application:
    """From abroad, under the edition of 2021."""
    return Application("2021-10-25", changed({"/stay": {"status": "abroad"}, "/arc": None}))


@pytest.fixture
def early(changed: Change) -> Application:
    """In Taiwan, under the edition of 2018, both reviews begun."""
    application = Application("2018-02-08", changed())
    application.answers("nia", "information_check", PASSED)
    return application


def test_inspection_waits_for_the_labour_review_and_stops_the_clock(abroad: Application) -> None:
    assert abroad.answers("nia", "information_check", PASSED) == ["wda qualification_review"]
    assert abroad.rests() == []

    planned = abroad.answers("wda", "qualification_review", PASSED)

    assert planned == ["boca inspection", "notify send"]
    assert abroad.case.service_state == "inspection"
    assert abroad.rests() == ["passport_inspection"]
    assert abroad.timers["inspection"] == dt.datetime(2022, 9, 1, 16, 0, tzinfo=dt.UTC)


def test_after_the_inspection_come_foreign_affairs_and_the_decision(abroad: Application) -> None:
    abroad.answers("nia", "information_check", PASSED)
    abroad.answers("wda", "qualification_review", PASSED)

    assert abroad.answers("boca", "inspection", INSPECTED) == ["boca visa_review"]
    assert abroad.rests() == []
    assert abroad.timers["inspection"] is None
    assert abroad.answers("boca", "visa_review", PASSED) == ["nia final_review"]
    assert "nia exchange" in abroad.answers("nia", "final_review", {**PASSED, "certificate": CERTIFICATE})
    abroad.answers(
        "nia", "exchange", {"card": CARD, "entered_on": "2022-04-01", "collected_on": "2022-04-15"}
    )
    assert abroad.case.service_state == "collected"
    assert abroad.case.decision is not None
    assert abroad.case.decision.card == CARD


def test_bases_live_on_until_the_certificate_is_exchanged(abroad: Application) -> None:
    approved = ev.Decided(outcome="approved", decided_on=dt.date(2022, 3, 1), certificate=CERTIFICATE)
    collected = ev.Collected(collected_on=dt.date(2022, 4, 15), card=CARD, permits={})

    assert not FLOW.react(evolve(abroad.case, approved, abroad.at), approved, abroad.at).end_bases
    assert FLOW.react(abroad.case, collected, abroad.at).end_bases


def test_inspection_runs_beside_the_labour_review_under_the_first_edition(early: Application) -> None:
    assert early.calls[-3:] == ["wda qualification_review", "boca inspection", "notify send"]
    assert early.case.service_state == "qualification_review"
    assert early.rests() == ["passport_inspection"]


@pytest.mark.parametrize("inspected_first", [True, False])
def test_the_next_step_waits_for_both_in_whichever_order(early: Application, inspected_first: bool) -> None:
    both: list[tuple[str, str, Mapping[str, Any]]] = [
        ("boca", "inspection", INSPECTED),
        ("wda", "qualification_review", PASSED),
    ]
    first, last = both if inspected_first else both[::-1]

    assert early.answers(*first) == []
    assert early.case.service_state == ("qualification_review" if inspected_first else "inspection")
    assert early.answers(*last) == ["boca visa_review"]
    assert early.rests() == []


def test_a_supplement_and_the_inspection_stop_the_clock_each_for_itself(early: Application) -> None:
    early.answers("wda", "qualification_review", ASKED)
    early.notified()
    assert early.rests() == ["passport_inspection", "supplement"]

    early.answers("boca", "inspection", INSPECTED)
    assert early.rests() == ["supplement"]
    assert early.case.service_state == "supplement_requested"

    assert early.hands_in() == ["wda qualification_review"]
    assert early.rests() == []


def test_two_supplements_at_once_are_asked_one_after_the_other(early: Application) -> None:
    early.answers("wda", "qualification_review", ASKED)
    early.notified()
    early.answers("boca", "inspection", {**INSPECTED, **ASKED})
    assert early.case.supplement is not None
    assert early.case.supplement.requested_by == "wda"

    assert early.hands_in() == ["wda qualification_review", "nia supplement_notice"]
    assert early.case.supplement is not None
    assert early.case.supplement.requested_by == "boca"
    early.notified()
    assert early.hands_in() == ["boca inspection", "notify send"]
    assert early.case.supplement is None


def test_a_new_notice_after_a_corrected_passport_begins_a_new_period(abroad: Application) -> None:
    abroad.answers("nia", "information_check", PASSED)
    abroad.answers("wda", "qualification_review", PASSED)
    abroad.answers("boca", "inspection", {**INSPECTED, **ASKED})
    abroad.notified()
    abroad.day += dt.timedelta(days=20)

    assert abroad.hands_in() == ["boca inspection", "notify send"]
    due = {item.duty: item for item in GoldCard("https://onestop.example").due_dates(abroad.case, abroad.at)}
    assert due["inspection"].due_on == dt.date(2022, 9, 21)
    assert abroad.case.service_state == "inspection"
    assert abroad.rests() == ["passport_inspection"]


def test_passport_that_is_not_inspected_in_time_dismisses_the_case(early: Application) -> None:
    early.happens(ev.DeadlinePassed(timer="inspection"))

    assert early.case.decision is not None
    assert early.case.decision.outcome == "dismissed"
    assert early.case.decision.article == "許可辦法 §§2 III, 4 II"
    assert early.timers["inspection"] is None


@pytest.mark.parametrize("edition", ["2018-02-08", "2021-10-25"])
def test_from_hong_kong_nothing_is_inspected(changed: Change, edition: str) -> None:
    form = changed({"/stay": {"status": "abroad"}, "/arc": None, "/person/category": "hong_kong_resident"})
    application = Application(edition, form)

    application.answers("nia", "information_check", PASSED)
    application.answers("wda", "qualification_review", PASSED)

    assert application.calls == ["wda qualification_review", "nia final_review"]


def test_in_taiwan_the_second_edition_inspects_nobody(changed: Change) -> None:
    application = Application("2021-10-25", changed())

    application.answers("nia", "information_check", PASSED)

    assert application.answers("wda", "qualification_review", PASSED) == ["nia final_review"]
