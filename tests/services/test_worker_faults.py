"""Whatever goes wrong with one call, case or step, the worker goes on with the others."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from typing import cast

import pytest
import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract import OutgoingCall, Reply
from consent import bases
from consent.store import data_key
from gateway.db import SqlDatabase
from services import events as ev
from services import worker
from services.case import At, Case
from services.outbox import CallStatus
from services.service import NOTHING, Moves, PlannedCall, Timer
from services.store import agency_call
from services.worker import Worker
from tests.services.fakes import (
    OPERATIONS,
    RESIDENCE,
    Office,
    answered,
    notice_to,
    takes_note,
)

PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize("fault", ["in the service", "in the database"])
async def test_a_result_that_cannot_be_taken_does_not_fail_its_neighbours(office: Office, fault: str) -> None:
    planned = [await office.ready(notice_to(), applicant=name) for name in ("alice", "bob", "carol")]
    bad = planned[1][0].case_id
    together = asyncio.Event()

    def react(case: Case, event: ev.CaseEvent, at: At) -> Moves:
        if case.case_id != bad or not isinstance(event, ev.CallAnswered):
            return NOTHING
        if fault == "in the service":
            raise RuntimeError("the service's own fault")
        return Moves(timers=(Timer(name=cast("str", None), due_at=PAST),))

    async def send(call: OutgoingCall) -> Reply:
        if len(office.agencies["wda"].sent) == len(planned):
            together.set()
        await together.wait()
        return await takes_note(call)

    office.service.script = react
    office.agencies["wda"].on_send = send

    async with office.working():
        await office.until_status(CallStatus.DONE, *planned[0][1], *planned[2][1])

    assert (await office.call(planned[1][1][0])).status is CallStatus.LEASED
    assert await office.answers(planned[1][0]) == []
    for case, call_ids in (planned[0], planned[2]):
        assert await office.answers(case) == call_ids


async def test_an_answer_of_another_shape_is_dead_and_nothing_of_it_is_kept(office: Office) -> None:
    case, [call_id] = await office.ready(notice_to())

    async def send(call: OutgoingCall) -> Reply:
        return answered(call, {"reference": ["not", "a", "text"]})

    office.agencies["wda"].on_send = send

    async with office.working():
        await office.until_status(CallStatus.DEAD, call_id)

    assert await office.failures(case) == [("dead", "not the contract")]
    assert (await office.case(case)).answers == {}


async def test_an_answer_that_leads_to_an_unknown_agency_is_dead_and_leaves_nothing_behind(
    office: Office,
) -> None:
    case, [call_id] = await office.ready(notice_to())
    consult = PlannedCall(agency="field_authority:none", operation="opinion", data=notice_to().data)
    office.service.script = lambda case, event, at: (
        Moves(calls=(consult,)) if isinstance(event, ev.CallAnswered) else NOTHING
    )

    async with office.working():
        await office.until_status(CallStatus.DEAD, call_id)

    assert await office.answers(case) == []
    assert await office.body(call_id) is not None
    assert (await office.call(call_id)).answer_digest is None


async def test_a_call_of_an_agency_that_is_gone_is_dead_and_others_go_on(office: Office) -> None:
    gone, [gone_id] = await office.ready(notice_to("boca"))
    _, [call_id] = await office.ready(notice_to("wda"))
    office.flow = office.flow_with({name: found for name, found in OPERATIONS.items() if name != "boca"})

    async with office.working():
        await office.until_status(CallStatus.DONE, call_id)
        await office.until_status(CallStatus.DEAD, gone_id)

    assert office.agencies["boca"].sent == []
    assert await office.failures(gone) == [("dead", "not the contract")]


async def test_calls_of_a_case_or_person_whose_key_was_destroyed_do_not_hold_up_others(
    office: Office,
) -> None:
    case, [case_gone] = await office.ready(notice_to())
    person = await office.open_case("bob")
    await office.consent(person)
    [person_gone] = await office.plan(person, RESIDENCE)
    _, [call_id] = await office.ready(notice_to())
    async with office.database.write() as conn:
        lost = (data_key.c.owner_id == str(case.case_id)) | (
            (data_key.c.owner_id == "bob") & (data_key.c.retention == bases.RETENTION)
        )
        await conn.execute(update(data_key).where(lost).values(wrapped=None))

    async with office.working():
        await office.until_status(CallStatus.DONE, call_id)
        await office.until_status(CallStatus.DEAD, case_gone)
        await office.until_status(CallStatus.REFUSED, person_gone)

    assert office.agencies["nia"].sent == []
    assert office.agencies["wda"].sent == [call_id]


async def test_an_attempt_that_never_ends_does_not_keep_a_worker_from_stopping(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, [call_id] = await office.ready(notice_to())
    monkeypatch.setattr(worker, "STOP_SECONDS", 0.1)
    began = asyncio.Event()

    async def send(call: OutgoingCall) -> Reply:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    office.agencies["wda"].on_send = send
    async with asyncio.timeout(20), office.working():
        await began.wait()

    left = await office.call(call_id)
    assert left.status is CallStatus.LEASED
    assert left.maybe_sent


async def test_a_slow_agency_does_not_keep_others_from_being_called(office: Office) -> None:
    release = asyncio.Event()

    async def send(call: OutgoingCall) -> Reply:
        await release.wait()
        return await takes_note(call)

    office.agencies["wda"].on_send = send
    _, slow = await office.ready(*[notice_to("wda")] * (worker.AGENCY_MAX + 8))
    _, [quick] = await office.ready(notice_to("boca"))

    async with office.working():
        await office.until_status(CallStatus.DONE, quick)
        assert len(office.agencies["wda"].sent) == worker.AGENCY_MAX
        release.set()
        await office.until_status(CallStatus.DONE, *slow)


async def test_calls_of_an_agency_whose_breaker_is_open_wait(office: Office) -> None:
    _, [waits] = await office.ready(notice_to("wda"))
    _, [goes] = await office.ready(notice_to("boca"))
    office.agencies.broken = ["wda"]

    async with office.working():
        await office.until_status(CallStatus.DONE, goes)
        assert (await office.call(waits)).status is CallStatus.READY
        office.agencies.broken = []
        await office.until_status(CallStatus.DONE, waits)

    assert office.agencies["wda"].sent == [waits]


async def test_a_timer_whose_case_cannot_move_does_not_hold_up_others(office: Office) -> None:
    bad, good = await office.open_case(), await office.open_case()
    for case, due_at in ((bad, PAST), (good, PAST + dt.timedelta(days=1))):
        await office.carry_out(case, Moves(timers=(Timer(name="t", due_at=due_at),)))

    def react(case: Case, event: ev.CaseEvent, at: At) -> Moves:
        if case.case_id == bad.case_id:
            raise RuntimeError("the service's own fault")
        return NOTHING

    async def fired() -> bool:
        return ev.DeadlinePassed(timer="t") in await office.events(good)

    office.service.script = react
    async with office.working():
        await office.until(fired)


async def test_a_step_that_raises_does_not_end_the_worker(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PAUSE_AFTER_ERROR_SECONDS", 0.01)
    _, [call_id] = await office.ready(notice_to())
    faults = iter([RuntimeError("ours"), OSError("the network's")])

    def unavailable() -> list[str]:
        if fault := next(faults, None):
            raise fault
        return []

    monkeypatch.setattr(office.agencies, "unavailable", unavailable)

    async with office.working():
        await office.until_status(CallStatus.DONE, call_id)

    assert next(faults, None) is None


class FaultyDatabase:
    """The database, but that the first `faults` transactions in which a call ends do not commit."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self.faults = 2  # the group that a result is in, and the result alone
        self.read = database.read
        self.wait_for_hint = database.wait_for_hint

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with self._database.write() as conn:
            yield conn
            ended = select(agency_call.c.call_id).where(agency_call.c.status == CallStatus.DONE)
            if self.faults and (await conn.execute(ended)).all():
                self.faults -= 1
                raise ValueError("not an error that anybody foresaw")


async def test_results_that_could_not_be_committed_are_asked_for_after_the_lease(office: Office) -> None:
    case, [call_id] = await office.ready(notice_to())
    database = FaultyDatabase(office.database)
    agency = office.agencies["wda"]

    agency.on_ask = takes_note

    async with office.working(Worker(database, office.flow, office.agencies, lease_seconds=1.0)):
        await office.until_status(CallStatus.DONE, call_id)

    assert (database.faults, agency.sent) == (0, [call_id])
    assert agency.asked
    assert await office.answers(case) == [call_id]


async def test_an_error_of_our_own_in_an_attempt_is_an_unknown_outcome(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    agency = office.agencies["wda"]

    async def send(call: OutgoingCall) -> Reply:
        raise ZeroDivisionError

    agency.on_send, agency.on_ask = send, takes_note

    async with office.working():
        await office.until_status(CallStatus.DONE, call_id)

    assert (agency.sent, agency.asked) == ([call_id], [call_id])


async def test_workers_that_move_the_same_people_s_cases_never_wait_for_each_other_in_a_ring(
    office: Office,
) -> None:
    people = ["alice", "bob", "carol", "dave"]
    cases = [await office.open_case(person) for person in people * 3]
    call_ids = []
    for agency in ("wda", "boca", "wda", "boca"):
        for case in cases if agency == "wda" else reversed(cases):
            call_ids += await office.plan(case, notice_to(agency))
    await office.publish()

    with structlog.testing.capture_logs() as logs:
        async with office.working(*[office.worker() for _ in range(3)]):
            await office.until_status(CallStatus.DONE, *call_ids)

    assert logs == []
    for case in cases:
        assert len(await office.answers(case)) == 4
