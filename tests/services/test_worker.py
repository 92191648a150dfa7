"""The worker, run as it is run in production, against agencies that misbehave."""

import asyncio
import datetime as dt

import pytest
from sqlalchemy import insert, select

from adapters.contract import OutgoingCall, Reply
from adapters.errors import Refused, Unavailable, Unsupported
from consent import bases
from consent.lifecycle import BasisEvent
from consent.model import BasisState, EventType
from services import calls, store
from services import events as ev
from services.case import Case
from services.outbox import CallStatus
from services.service import Moves, Timer
from services.worker import take_answer
from tests.services.fakes import (
    RESIDENCE,
    Office,
    accepted,
    notice_to,
    takes_note,
)

PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


async def test_an_answered_call_ends_and_its_case_is_told(office: Office) -> None:
    case, [call_id] = await office.ready(notice_to())

    async with office.working():
        await office.until_status(CallStatus.DONE, call_id)

    assert await office.answers(case) == [call_id]
    assert (await office.case(case)).open_calls == ()
    assert await office.body(call_id) is None


async def test_two_workers_send_every_call_once(office: Office) -> None:
    case, call_ids = await office.ready(*[notice_to(name) for name in ("wda", "boca")] * 15)

    async with office.working(office.worker(), office.worker()):
        await office.until_status(CallStatus.DONE, *call_ids)

    sent = office.agencies["wda"].sent + office.agencies["boca"].sent
    assert sorted(sent) == sorted(call_ids)
    assert sorted(await office.answers(case)) == sorted(call_ids)


async def test_an_unknown_outcome_is_asked_about_before_the_call_is_sent_again(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    agency = office.agencies["wda"]

    async def send(call: OutgoingCall) -> Reply:
        raise Unavailable("cut off", outcome_unknown=True, retry_after_seconds=0)

    agency.on_send, agency.on_ask = send, takes_note

    async with office.working():
        await office.until_status(CallStatus.DONE, call_id)

    assert (agency.sent, agency.asked) == ([call_id], [call_id])


async def test_a_call_the_agency_never_heard_of_is_sent_again(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    agency = office.agencies["wda"]

    async def send(call: OutgoingCall) -> Reply:
        if len(agency.sent) == 1:
            raise Unavailable("cut off", outcome_unknown=True, retry_after_seconds=0)
        return await takes_note(call)

    agency.on_send = send

    async with office.working():
        await office.until_status(CallStatus.DONE, call_id)

    assert (agency.sent, agency.asked) == ([call_id] * 2, [call_id])


async def test_a_call_that_certainly_did_not_arrive_is_sent_again_without_asking(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    agency = office.agencies["wda"]

    async def send(call: OutgoingCall) -> Reply:
        if len(agency.sent) == 1:
            raise Unavailable("no connection", retry_after_seconds=0)
        return await takes_note(call)

    agency.on_send = send

    async with office.working():
        await office.until_status(CallStatus.DONE, call_id)

    assert (agency.sent, agency.asked) == ([call_id] * 2, [])


async def test_a_question_that_failed_leaves_the_outcome_unknown(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    agency = office.agencies["wda"]

    async def send(call: OutgoingCall) -> Reply:
        raise Unavailable("cut off", outcome_unknown=True, retry_after_seconds=0)

    async def ask(call: OutgoingCall) -> Reply | None:
        if len(agency.asked) < 3:
            raise Unavailable("no connection", retry_after_seconds=0)
        return await takes_note(call)

    agency.on_send, agency.on_ask = send, ask

    async with office.working():
        await office.until_status(CallStatus.DONE, call_id)

    assert (agency.sent, agency.asked) == ([call_id], [call_id] * 3)


async def test_a_call_whose_attempts_are_spent_is_dead_and_the_case_is_told(office: Office) -> None:
    case, [call_id] = await office.ready(notice_to())

    async def send(call: OutgoingCall) -> Reply:
        raise Unavailable("no connection", retry_after_seconds=0)

    office.agencies["wda"].on_send = send

    async with office.working():
        await office.until_status(CallStatus.DEAD, call_id)

    assert len(office.agencies["wda"].sent) == calls.ATTEMPTS_MAX
    assert await office.failures(case) == [("dead", "attempts spent")]
    assert await office.body(call_id) is not None


async def test_an_attempt_that_we_did_not_even_make_is_not_counted(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    wda = office.agencies["wda"]

    async def send(call: OutgoingCall) -> Reply:
        if len(wda.sent) <= calls.ATTEMPTS_MAX + 2:
            raise Unavailable("the breaker is open", retry_after_seconds=0, tried=False)
        return await takes_note(call)

    wda.on_send = send

    async with office.working():
        await office.until_status(CallStatus.DONE, call_id)

    assert len(wda.sent) == calls.ATTEMPTS_MAX + 3


@pytest.mark.parametrize(
    ("error", "status", "reason", "body_kept"),
    [
        (Refused("not for you", code="not-permitted"), "refused", "agency: not-permitted", False),
        (Unsupported("what is this?"), "dead", "not the contract", True),
    ],
)
async def test_an_agency_that_says_no_is_not_called_again(
    office: Office, error: Exception, status: str, reason: str, body_kept: bool
) -> None:
    case, [call_id] = await office.ready(notice_to())

    async def send(call: OutgoingCall) -> Reply:
        raise error

    office.agencies["wda"].on_send = send

    async with office.working():
        await office.until_status(status, call_id)

    assert office.agencies["wda"].sent == [call_id]
    assert await office.failures(case) == [(status, reason)]
    assert (await office.body(call_id) is not None) is body_kept


async def test_a_consent_withdrawn_between_plan_and_call_keeps_the_call_from_leaving(office: Office) -> None:
    case = await office.open_case()
    consent = await office.consent(case)
    [call_id] = await office.plan(case, RESIDENCE)
    await office.publish()
    async with office.database.write() as conn:
        await bases.move(conn, office.vault, consent.basis_id, BasisEvent.WITHDRAW)

    async with office.working():
        await office.until_status(CallStatus.REFUSED, call_id)

    assert office.agencies["nia"].sent == []
    assert await office.failures(case) == [("refused", "not permitted: not-live")]
    [withheld] = await office.logged(EventType.DATA_WITHHELD)
    assert withheld.call == str(call_id)


async def test_a_lease_is_renewed_while_its_attempt_runs(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    release = asyncio.Event()

    async def send(call: OutgoingCall) -> Reply:
        await release.wait()
        return await takes_note(call)

    async def lease() -> dt.datetime | None:
        async with office.database.read() as conn:
            query = select(store.agency_call.c.lease_until).where(store.agency_call.c.call_id == call_id)
            found: dt.datetime | None = (await conn.execute(query)).scalar_one()
        return found

    office.agencies["wda"].on_send = send
    async with office.working(office.worker(lease_seconds=3.0)):
        await office.until_status(CallStatus.LEASED, call_id)
        first = await lease()
        assert first is not None

        async def renewed() -> bool:
            return (await lease() or first) > first

        await office.until(renewed)
        release.set()
        await office.until_status(CallStatus.DONE, call_id)

    assert office.agencies["wda"].sent == [call_id]
    assert office.agencies["wda"].asked == []


async def test_a_callback_that_comes_before_the_202_wins(office: Office) -> None:
    case, [call_id] = await office.ready(notice_to())

    async def send(call: OutgoingCall) -> Reply:
        async with office.database.write() as conn:
            held = await calls.load(conn, call.call_id, lock=True)
            assert held is not None
            await take_answer(conn, office.flow, held, b'{"reference": "R2"}', await store.now(conn))
        return accepted(call)

    office.agencies["wda"].on_send = send

    async with office.working():
        await office.until_status(CallStatus.DONE, call_id)

    assert (await office.call(call_id)).status is CallStatus.DONE  # also once the late 202 was committed
    assert await office.answers(case) == [call_id]
    assert (await office.case(case)).answers["wda.decision_notice"] == {"reference": "R2"}


async def test_an_accepted_call_is_asked_for_its_answer(office: Office) -> None:
    case, [call_id] = await office.ready(notice_to())
    agency = office.agencies["wda"]

    async def send(call: OutgoingCall) -> Reply:
        return accepted(call)

    async def ask(call: OutgoingCall) -> Reply | None:
        return accepted(call) if len(agency.asked) == 1 else await takes_note(call)

    agency.on_send, agency.on_ask = send, ask

    async with office.working():
        await office.until_status(CallStatus.WAITING, call_id)
        await office.until_status(CallStatus.DONE, call_id)

    assert (agency.sent, agency.asked) == ([call_id], [call_id] * 2)
    assert await office.answers(case) == [call_id]


async def test_answers_to_repeated_requests_are_forgotten_after_a_day(office: Office) -> None:
    long_ago = {"owner": "alice", "key": "k", "request_digest": b"", "status": 0, "created_at": PAST}
    async with office.database.write() as conn:
        await conn.execute(insert(store.idempotent_answer), long_ago)

    async def forgotten() -> bool:
        async with office.database.read() as conn:
            return not (await conn.execute(select(store.idempotent_answer))).all()

    async with office.working():
        await office.until(forgotten)


async def test_a_worker_that_is_stopped_finishes_what_is_in_flight(office: Office) -> None:
    case, [call_id] = await office.ready(notice_to())
    began, release = asyncio.Event(), asyncio.Event()

    async def send(call: OutgoingCall) -> Reply:
        began.set()
        await release.wait()
        return await takes_note(call)

    office.agencies["wda"].on_send = send
    async with office.working() as stop:
        await began.wait()
        stop.set()
        release.set()

    assert (await office.call(call_id)).status is CallStatus.DONE
    assert await office.answers(case) == [call_id]


async def test_a_timer_fires_once_whoever_sees_it(office: Office) -> None:
    cases = [await office.open_case(name) for name in "abcdefgh"]
    for case in cases:
        await office.carry_out(case, Moves(timers=(Timer(name="t", due_at=PAST),)))

    async def fired(case: Case) -> int:
        return sum(isinstance(event, ev.DeadlinePassed) for event in await office.events(case))

    async def all_fired() -> bool:
        return all([await fired(case) for case in cases])

    async with office.working(office.worker(), office.worker(), office.worker()):
        await office.until(all_fired)

    assert [await fired(case) for case in cases] == [1] * len(cases)


async def test_a_timer_that_was_taken_back_or_lies_ahead_does_not_fire(office: Office) -> None:
    ahead = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    quiet, loud = await office.open_case(), await office.open_case()
    await office.carry_out(
        quiet, Moves(timers=(Timer(name="back", due_at=PAST), Timer(name="ahead", due_at=ahead)))
    )
    await office.carry_out(quiet, Moves(timers=(Timer(name="back", due_at=None),)))
    await office.carry_out(loud, Moves(timers=(Timer(name="t", due_at=PAST),)))

    async def fired() -> bool:
        return ev.DeadlinePassed(timer="t") in await office.events(loud)

    async with office.working():
        await office.until(fired)

    assert not any(isinstance(event, ev.DeadlinePassed) for event in await office.events(quiet))


async def test_a_consent_past_its_time_expires(office: Office) -> None:
    case = await office.open_case()
    now = dt.datetime.now(dt.UTC)
    overdue = {"not_before": now - dt.timedelta(days=2), "expires_at": now - dt.timedelta(days=1)}
    consent = await office.consent(case, **overdue)
    other = await office.consent(case)

    async def state_of(basis_id: object) -> BasisState:
        async with office.database.read() as conn:
            held = await bases.of_case(conn, office.vault, case.case_id)
        return next(stored.basis.state for stored in held if stored.basis.basis_id == basis_id)

    async def expired() -> bool:
        return await state_of(consent.basis_id) is BasisState.EXPIRED

    async with office.working(office.worker(), office.worker()):
        await office.until(expired)

    assert await state_of(other.basis_id) is BasisState.GRANTED
    assert len(await office.logged(EventType.CONSENT_EXPIRED)) == 1
