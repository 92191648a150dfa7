"""What an agency's answer may bring in: what its lawful basis covers, while it lives, and nothing else."""

import asyncio
import datetime as dt
from uuid import UUID

import msgspec
import pytest

from adapters.errors import Unsupported
from consent import bases, log
from consent.lifecycle import BasisEvent
from consent.model import BasisState, EventType, LawfulBasis
from services import store
from services.case import At
from services.outbox import CallStatus
from tests.services.fakes import (
    ARC,
    RESIDENCE,
    Office,
    check_history,
    notice_to,
)


async def take(office: Office, call_id: UUID, answer: object) -> None:
    """Take an answer in, as a callback would."""
    async with office.database.write() as conn:
        held = await office.call(call_id)
        raw = msgspec.json.encode(answer)
        await office.flow.answer(conn, held, raw, await store.now(conn))


async def test_an_answer_within_its_basis_is_released_and_each_field_logged(office: Office) -> None:
    case = await office.open_case()
    consent = await office.consent(case)
    [call_id] = await office.plan(case, RESIDENCE)

    await take(office, call_id, {"arc": ARC})

    assert (await office.case(case)).answers["nia.residence"] == {"arc": ARC}
    [released] = await office.logged(EventType.DATA_RELEASED)
    assert released.fields == ("arc.number", "arc.expires_on", "arc.address")
    assert (released.call, released.basis_id) == (str(call_id), str(consent.basis_id))
    assert await office.logged(EventType.DATA_SURPLUS) == []
    await check_history(office, case)


async def test_what_lies_beyond_the_basis_is_dropped_and_named_in_the_log(office: Office) -> None:
    case = await office.open_case()
    await office.consent(case)
    [call_id] = await office.plan(case, RESIDENCE)

    await take(office, call_id, {"arc": {**ARC, "blood_type": "SECRET-O"}, "salary": "SECRET-1"})

    after = await office.case(case)
    assert after.answers["nia.residence"] == {"arc": ARC}
    assert b"SECRET" not in msgspec.json.encode(after)
    assert b"SECRET" not in msgspec.json.encode(await office.events(case))
    [surplus] = await office.logged(EventType.DATA_SURPLUS)
    assert surplus.fields == ("arc.blood_type", "salary")
    [released] = await office.logged(EventType.DATA_RELEASED)
    assert "salary" not in released.fields


async def test_surplus_names_that_an_agency_makes_up_are_bounded_in_the_log(office: Office) -> None:
    case = await office.open_case()
    await office.consent(case)
    [call_id] = await office.plan(case, RESIDENCE)

    await take(office, call_id, {"arc": ARC, **{f"{n}{'x' * 5000}": 1 for n in range(300)}})

    [surplus] = await office.logged(EventType.DATA_SURPLUS)
    assert len(surplus.fields) == 50
    assert max(map(len, surplus.fields)) == 80


async def test_surplus_of_a_call_without_a_basis_is_dropped_too(office: Office) -> None:
    case = await office.open_case()
    [call_id] = await office.plan(case, notice_to())

    await take(office, call_id, {"reference": "R1", "about": "SECRET"})

    assert (await office.case(case)).answers["wda.decision_notice"] == {"reference": "R1"}
    [surplus] = await office.logged(EventType.DATA_SURPLUS)
    assert surplus.fields == ("about",)


@pytest.mark.parametrize(
    "answer", [{"arc": {"number": 7}}, {"arc": {"number": "A1"}}, {"other": ARC}, [], "text", None]
)
async def test_an_answer_that_is_not_the_contract_s_is_not_taken(office: Office, answer: object) -> None:
    case = await office.open_case()
    await office.consent(case)
    [call_id] = await office.plan(case, RESIDENCE)

    with pytest.raises(Unsupported):
        await take(office, call_id, answer)

    assert (await office.case(case)).answers == {}
    assert (await office.call(call_id)).status is CallStatus.READY


@pytest.mark.parametrize(
    ("changes", "event", "reason"),
    [
        ({}, BasisEvent.WITHDRAW, "not-live"),
        ({}, BasisEvent.PAUSE, "not-live"),
        ({}, BasisEvent.REVOKE, "not-live"),
    ],
)
async def test_an_answer_after_the_end_of_its_basis_is_withheld(
    office: Office, changes: dict[str, object], event: BasisEvent, reason: str
) -> None:
    case = await office.open_case()
    consent = await office.consent(case, **changes)
    [call_id] = await office.plan(case, RESIDENCE)
    async with office.database.write() as conn:
        await bases.move(conn, office.vault, consent.basis_id, event)

    await take(office, call_id, {"arc": ARC})

    assert (await office.case(case)).answers == {}
    assert await office.failures(case) == [("refused", f"withheld: {reason}")]
    [withheld] = await office.logged(EventType.DATA_WITHHELD)
    assert withheld.details["reason"] == reason
    assert await office.logged(EventType.DATA_RELEASED) == []
    assert await office.body(call_id) is None
    await check_history(office, case)


async def test_an_answer_after_the_consent_s_time_is_withheld(office: Office) -> None:
    case = await office.open_case()
    await office.consent(case)
    [call_id] = await office.plan(case, RESIDENCE)
    async with office.database.write() as conn:
        at = await store.now(conn)
        late = At(machine=at.machine + dt.timedelta(days=21), legal=at.legal)
        await office.flow.answer(conn, await office.call(call_id), b'{"arc": null}', late)

    assert await office.failures(case) == [("refused", "withheld: expired")]


async def test_a_one_time_consent_is_used_up_by_its_answer(office: Office) -> None:
    case = await office.open_case()
    consent = await office.consent(case)
    [call_id] = await office.plan(case, RESIDENCE)
    await take(office, call_id, {"arc": ARC})

    assert await office.plan(case, RESIDENCE) == []

    async with office.database.read() as conn:
        stored = await bases.load(conn, office.vault, consent.basis_id)
    assert stored.basis.state is BasisState.CONSUMED
    assert await office.failures(case) == [("refused", "not permitted: not-live")]


async def test_an_answer_and_a_withdrawal_at_once_never_bring_data_in_after_the_withdrawal(
    office: Office,
) -> None:
    for _ in range(5):
        case = await office.open_case()
        basis = await office.consent(case)
        [call_id] = await office.plan(case, RESIDENCE)

        async def withdraw(basis: LawfulBasis = basis) -> None:
            async with office.database.write() as conn:
                await bases.move(conn, office.vault, basis.basis_id, BasisEvent.WITHDRAW)

        await asyncio.gather(take(office, call_id, {"arc": ARC}), withdraw(), return_exceptions=True)

        order = [event.type for event in await _events_of(office, basis)]
        came_in = EventType.DATA_RELEASED in order
        assert bool((await office.case(case)).answers) is came_in
        if EventType.CONSENT_WITHDRAWN in order and came_in:
            assert order.index(EventType.DATA_RELEASED) < order.index(EventType.CONSENT_WITHDRAWN)


async def _events_of(office: Office, basis: LawfulBasis) -> list[log.RecordedEvent]:
    async with office.database.read() as conn:
        events = await log.payloads(conn, office.vault, basis.subject)
    return [event for event in events if event.payload.basis_id == str(basis.basis_id)]
