"""The outbox: what may leave, who works on it, and what is left of it."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, insert, select, text, update

from consent.database import machine_time
from consent.ids import shard_of, uuid7
from consent.store import data_key, log_entry, log_published
from services import calls
from services.errors import NotAllowed
from services.outbox import CallStatus
from services.store import agency_call
from tests.services.fakes import Office, notice_to

LEASE_SECONDS = 60.0
OVER = -1.0  # a lease that has run out when it is given


async def claim(
    office: Office,
    *,
    owner: UUID | None = None,
    lease_seconds: float = LEASE_SECONDS,
    limit: int = 10,
    skip: Sequence[str] = (),
    later_seconds: float = 0,
) -> list[calls.Claimed]:
    """Claim as a worker does, in a transaction of its own."""
    async with office.database.write() as conn:
        now = await machine_time(conn) + dt.timedelta(seconds=later_seconds)
        return await calls.claim(
            conn, office.vault, owner or uuid7(), now=now, lease_seconds=lease_seconds, limit=limit, skip=skip
        )


def ids(claimed: Sequence[calls.Claimed]) -> list[UUID]:
    return [item.call.call_id for item in claimed]


async def test_a_call_does_not_leave_before_its_leaf_is_published(office: Office) -> None:
    case = await office.open_case()
    [call_id] = await office.plan(case, notice_to())
    assert await claim(office) == []

    await office.publish()

    assert ids(await claim(office)) == [call_id]


async def test_a_call_whose_leaf_is_sequenced_but_not_published_waits(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    async with office.database.write() as conn:
        size = (await conn.execute(select(log_published.c.size))).scalar_one()
        await conn.execute(update(log_published).values(size=size - 1))

    assert await claim(office) == []

    async with office.database.write() as conn:
        await conn.execute(update(log_published).values(size=size))
    assert ids(await claim(office)) == [call_id]


async def test_workers_that_claim_at_once_share_the_calls_and_none_has_one_twice(office: Office) -> None:
    _, call_ids = await office.ready(*[notice_to()] * 40)

    claimed = await asyncio.gather(*(claim(office, limit=10) for _ in range(8)))

    found = [call_id for part in claimed for call_id in ids(part)]
    assert len(found) == len(set(found))
    rest = ids(await claim(office, limit=40))
    assert sorted([*found, *rest]) == sorted(call_ids)


async def test_a_held_call_is_not_claimed_again(office: Office) -> None:
    await office.ready(notice_to())
    assert len(await claim(office)) == 1

    assert await claim(office) == []


async def test_expired_leases_come_before_calls_that_are_due(office: Office) -> None:
    _, [old] = await office.ready(notice_to())
    assert ids(await claim(office, lease_seconds=OVER)) == [old]
    _, [new] = await office.ready(notice_to())

    assert ids(await claim(office, limit=1)) == [old]
    assert ids(await claim(office, limit=1)) == [new]


async def test_a_claimed_call_counts_as_maybe_sent_from_then_on(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())

    [first] = await claim(office, lease_seconds=OVER)
    [second] = await claim(office)

    assert (first.ask_first, second.ask_first) == (False, True)
    assert (await office.call(call_id)).maybe_sent
    assert second.lease.fence > first.lease.fence


async def test_the_old_owner_s_result_is_fenced_out_after_a_takeover(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    [old] = await claim(office, lease_seconds=OVER)
    [new] = await claim(office)

    async with office.database.write() as conn:
        held = await calls.held(conn, [old.lease, new.lease])
        assert list(held) == [call_id]
        assert await calls.held(conn, [old.lease]) == {}


async def test_the_same_worker_s_earlier_claim_is_fenced_out_too(office: Office) -> None:
    owner = uuid7()
    await office.ready(notice_to())
    [old] = await claim(office, owner=owner, lease_seconds=OVER)
    await claim(office, owner=owner)

    async with office.database.write() as conn:
        assert await calls.held(conn, [old.lease]) == {}


async def test_a_lease_that_was_lost_cannot_be_renewed(office: Office) -> None:
    await office.ready(notice_to())
    [old] = await claim(office, lease_seconds=OVER)
    [new] = await claim(office, lease_seconds=OVER)

    async with office.database.write() as conn:
        await calls.renew(conn, [old.lease], now=await machine_time(conn), lease_seconds=LEASE_SECONDS)
    [again] = await claim(office)
    async with office.database.write() as conn:
        await calls.renew(conn, [again.lease], now=await machine_time(conn), lease_seconds=10 * LEASE_SECONDS)

    assert new.lease.fence + 1 == again.lease.fence
    assert await claim(office, later_seconds=5 * LEASE_SECONDS) == []


@pytest.mark.parametrize(("maybe_sent", "status"), [(True, CallStatus.UNKNOWN), (False, CallStatus.READY)])
async def test_a_call_given_back_is_due_later_and_remembers_whether_it_may_have_left(
    office: Office, maybe_sent: bool, status: CallStatus
) -> None:
    await office.ready(notice_to())
    [first] = await claim(office)
    async with office.database.write() as conn:
        held = (await calls.held(conn, [first.lease]))[first.call.call_id]
        now = await machine_time(conn)
        await calls.again(conn, held, status, now=now, after_seconds=60, maybe_sent=maybe_sent)

    assert await claim(office) == []
    [second] = await claim(office, later_seconds=61)
    assert second.ask_first is maybe_sent
    assert second.call.attempts == 1


async def test_a_waiting_call_is_polled_and_polls_are_not_attempts(office: Office) -> None:
    await office.ready(notice_to())
    for _ in range(calls.ATTEMPTS_MAX + 3):
        [item] = await claim(office)
        async with office.database.write() as conn:
            now = await machine_time(conn)
            await calls.again(conn, item.call, CallStatus.WAITING, now=now, after_seconds=0, attempts=0)

    [item] = await claim(office)
    assert item.ask_first


async def test_a_call_whose_results_are_always_lost_is_given_up_in_the_end(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    for _ in range(calls.ATTEMPTS_MAX):
        assert ids(await claim(office, lease_seconds=OVER)) == [call_id]

    assert await claim(office) == []

    given_up = await office.call(call_id)
    assert (given_up.status, given_up.reason) == (CallStatus.DEAD, "attempts spent")


async def test_a_call_of_a_destroyed_case_is_given_up_and_does_not_hold_up_others(office: Office) -> None:
    case, [gone] = await office.ready(notice_to())
    _, [other] = await office.ready(notice_to())
    async with office.database.write() as conn:
        mine = data_key.c.owner_id == str(case.case_id)
        await conn.execute(update(data_key).where(mine).values(wrapped=None))

    assert ids(await claim(office)) == [other]
    assert (await office.call(gone)).reason == "key destroyed"


async def test_calls_of_skipped_agencies_are_not_claimed(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to("wda"))
    _, [other] = await office.ready(notice_to("boca"))

    assert ids(await claim(office, skip=["wda"])) == [other]
    assert ids(await claim(office)) == [call_id]


async def test_a_dead_call_keeps_its_body_and_an_ended_one_loses_it(office: Office) -> None:
    _, [ended, dead] = await office.ready(notice_to(), notice_to())
    async with office.database.write() as conn:
        await calls.end(conn, ended, CallStatus.DONE, answer=b'{"reference": "R1"}')
        await calls.bury(conn, dead, "attempts spent")

    assert await office.body(ended) is None
    assert await office.body(dead) is not None
    assert await claim(office) == []


@pytest.mark.parametrize("status", [CallStatus.DEAD, CallStatus.READY, CallStatus.WAITING])
async def test_a_call_cannot_end_in_a_status_that_is_no_end(office: Office, status: CallStatus) -> None:
    _, [call_id] = await office.ready(notice_to())

    with pytest.raises(ValueError, match="does not end"):
        async with office.database.write() as conn:
            await calls.end(conn, call_id, status)


async def test_a_dead_call_that_is_retried_has_all_its_attempts_and_is_asked_about_first(
    office: Office,
) -> None:
    _, [call_id] = await office.ready(notice_to())
    async with office.database.write() as conn:
        await calls.bury(conn, call_id, "attempts spent")
        assert [call.call_id for call in await calls.stuck(conn)] == [call_id]
        assert await calls.retry(conn, call_id, await machine_time(conn))

    [item] = await claim(office)
    assert (item.call.call_id, item.ask_first, item.call.attempts) == (call_id, True, 0)


async def test_a_call_that_is_not_dead_is_not_retried(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())

    async with office.database.write() as conn:
        assert not await calls.retry(conn, call_id, await machine_time(conn))
        assert not await calls.retry(conn, uuid7(), await machine_time(conn))
        await calls.end(conn, call_id, CallStatus.REFUSED, reason="agency: no")
        assert not await calls.retry(conn, call_id, await machine_time(conn))


async def test_a_second_answer_must_be_the_first_one_however_it_is_spelled(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    async with office.database.write() as conn:
        await calls.end(conn, call_id, CallStatus.DONE, answer=b'{"a": 1, "b": [2]}')

    call = await office.call(call_id)
    calls.check_same_answer(call, b'{ "b":[2],"a":1}')
    with pytest.raises(NotAllowed):
        calls.check_same_answer(call, b'{"a": 1, "b": [3]}')


async def test_bodies_are_stored_as_ciphertext(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())

    async with office.database.read() as conn:
        query = select(agency_call.c.body).where(agency_call.c.call_id == call_id)
        stored = (await conn.execute(query)).scalar_one()

    plain = await office.body(call_id)
    assert plain is not None
    assert b"approved" in plain
    assert b"approved" not in stored
    assert str(call_id).encode() not in stored


async def test_a_body_moved_to_another_call_does_not_open(office: Office) -> None:
    _, [one, two] = await office.ready(notice_to(), notice_to())
    async with office.database.write() as conn:
        query = select(agency_call.c.body).where(agency_call.c.call_id == one)
        body = (await conn.execute(query)).scalar_one()
        await conn.execute(update(agency_call).where(agency_call.c.call_id == two).values(body=body))

    with pytest.raises(Exception, match="does not open"):
        await office.body(two)


async def test_a_claim_finds_its_calls_by_index(office: Office) -> None:
    """Of 5,000 calls, most of which have ended, a claim reads those that are due and no others."""
    case, _ = await office.ready(notice_to())
    async with office.database.write() as conn:
        now = await machine_time(conn)
        await conn.execute(insert(log_entry), [_leaf(idx) for idx in range(100, 5_100)])
        leaves = (await conn.execute(select(log_entry.c.event_id).where(log_entry.c.idx >= 100))).scalars()
        await conn.execute(insert(agency_call), [_row(case.case_id, leaf, now) for leaf in leaves])
    async with office.database.write() as conn:
        await conn.execute(text("ANALYZE"))

    plans = await _plans_of_a_claim(office)

    assert len(plans) == 2
    for plan, index in zip(plans, ("lease_until", "due_at"), strict=True):
        assert f"agency_call_status_{index}_idx" in plan
        assert "Seq Scan on agency_call" not in plan
        assert "SCAN agency_call" not in plan


def _leaf(idx: int) -> dict[str, object]:
    return {"idx": idx, "event_id": uuid7(), "leaf": b"{}"}


def _row(case_id: UUID, event_id: UUID, now: dt.datetime) -> dict[str, object]:
    call_id = uuid7()
    live = event_id.int % 50 == 0
    return {
        "call_id": call_id,
        "shard": shard_of(call_id),
        "case_id": case_id,
        "case_number": "110000000019",
        "agency": "wda",
        "operation": "decision_notice",
        "kind": "control",
        "event_id": event_id,
        "digest": b"",
        "body": b"",
        "status": CallStatus.READY if live else CallStatus.DONE,
        "maybe_sent": 0,
        "attempts": 0,
        "due_at": now,
        "fence": 0,
        "reason": "",
    }


async def _plans_of_a_claim(office: Office) -> list[str]:
    """How the database would carry out each SELECT that a claim makes on the calls."""
    async with office.database.write() as conn:
        statements: list[tuple[str, Any]] = []

        def remember(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
            statements.append((statement, parameters))

        engine = office.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", remember)
        try:
            now = await machine_time(conn) - dt.timedelta(
                days=1
            )  # nothing is due: the claim stays a question
            await calls.claim(conn, office.vault, uuid7(), now=now, lease_seconds=LEASE_SECONDS, limit=16)
        finally:
            event.remove(engine, "before_cursor_execute", remember)
        verb = "EXPLAIN" if conn.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        return [
            "\n".join(str(row[-1]) for row in await conn.exec_driver_sql(f"{verb} {statement}", parameters))
            for statement, parameters in statements
            if statement.startswith("SELECT") and "FROM agency_call" in statement
        ]
