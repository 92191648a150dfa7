"""Lawful bases in the database: a chain of revisions, uses that are counted once, withdrawals that hold."""

import asyncio
import datetime as dt
import hashlib
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from consent import bases, log, policy
from consent.database import machine_time
from consent.errors import KeyMissing, NotPermitted, TransitionRefused
from consent.ids import uuid7
from consent.keys import Vault, open_sealed
from consent.lifecycle import BasisEvent
from consent.model import BasisKind, BasisState, EventType, Grant, LawfulBasis
from consent.store import data_key, grant_use, lawful_basis, notice
from gateway.db import SqlDatabase

GRANT = Grant(agency="nia", resource="nia.residence", fields=("arc.number",), max_uses=1)


def consent(**changes: object) -> LawfulBasis:
    """A consent as it is shown, to one fetch."""
    now = dt.datetime.now(dt.UTC)
    basis = LawfulBasis(
        basis_id=uuid7(),
        kind=BasisKind.CONSENT,
        state=BasisState.SHOWN,
        subject="alice",
        case_id=UUID(int=1),
        service="gold_card",
        purpose_code="gold_card.residence_record",
        purpose_text="Get the residence record",
        grants=(GRANT,),
        not_before=now - dt.timedelta(minutes=1),
        expires_at=now + dt.timedelta(days=1),
    )
    return msgspec.structs.replace(basis, **changes)


async def recorded(
    database: SqlDatabase, vault: Vault, *events: BasisEvent, **changes: object
) -> LawfulBasis:
    """A basis, recorded and taken along these edges, each in a transaction of its own."""
    basis = consent(**changes)
    async with database.write() as conn:
        await bases.record(conn, vault, [basis])
    for event in events:
        async with database.write() as conn:
            basis = await bases.move(conn, vault, basis.basis_id, event)
    return basis


async def loaded(database: SqlDatabase, vault: Vault, basis_id: UUID) -> bases.StoredBasis:
    async with database.read() as conn:
        return await bases.load(conn, vault, basis_id)


async def types_logged(database: SqlDatabase, vault: Vault, subject: str = "alice") -> list[EventType]:
    async with database.read() as conn:
        return [event.type for event in await log.payloads(conn, vault, subject)]


async def test_every_revision_names_the_hash_of_the_one_before(database: SqlDatabase, vault: Vault) -> None:
    events = (BasisEvent.GRANT, BasisEvent.PAUSE, BasisEvent.RESUME, BasisEvent.WITHDRAW)
    basis = await recorded(database, vault, *events)

    async with database.read() as conn:
        rows = (await conn.execute(select(lawful_basis).order_by(lawful_basis.c.revision))).all()
        key = await vault.subject_key(conn, "alice", bases.RETENTION)

    previous = ""
    for revision, row in enumerate(rows, start=1):
        record = open_sealed(key, row.record, f"lawful_basis/{basis.basis_id}")
        found = msgspec.json.decode(record, type=LawfulBasis)
        assert (found.revision, found.previous_revision_sha256) == (revision, previous)
        previous = hashlib.sha256(record).hexdigest()
        assert row.record_sha256.hex() == previous
    assert [row.current for row in rows] == [0] * len(events) + [1]
    assert (await loaded(database, vault, basis.basis_id)).sha256 == previous


async def test_every_edge_is_one_entry_of_the_log(database: SqlDatabase, vault: Vault) -> None:
    await recorded(database, vault, BasisEvent.GRANT, BasisEvent.WITHDRAW)

    assert await types_logged(database, vault) == [
        EventType.NOTICE_SHOWN,
        EventType.CONSENT_GRANTED,
        EventType.CONSENT_WITHDRAWN,
    ]


async def test_the_database_refuses_a_second_current_revision(database: SqlDatabase, vault: Vault) -> None:
    basis = await recorded(database, vault)
    async with database.read() as conn:
        row = dict((await conn.execute(select(lawful_basis))).mappings().one())

    with pytest.raises(IntegrityError):
        async with database.write() as conn:
            await conn.execute(insert(lawful_basis), row | {"revision": 2})

    async with database.write() as conn:
        await conn.execute(insert(lawful_basis), row | {"revision": 2, "current": 0})
    assert (await loaded(database, vault, basis.basis_id)).basis.revision == 1


async def test_of_fifty_uses_at_once_of_a_one_time_consent_one_succeeds(
    database: SqlDatabase, vault: Vault
) -> None:
    basis = await recorded(database, vault, BasisEvent.GRANT)

    async def use() -> str:
        try:
            async with database.write() as conn:
                await bases.use(conn, basis.basis_id, 0, GRANT, uuid7())
        except NotPermitted as error:
            return error.reason
        return "used"

    outcomes = await asyncio.gather(*(use() for _ in range(50)))

    assert sorted(outcomes) == ["used"] + ["used-up"] * 49
    async with database.read() as conn:
        assert (await conn.execute(select(func.count()).select_from(grant_use))).scalar_one() == 1


async def test_items_are_counted_apart_and_a_basis_is_spent_when_all_are(
    database: SqlDatabase, vault: Vault
) -> None:
    other = msgspec.structs.replace(GRANT, resource="nia.entries", max_uses=2)
    basis = await recorded(database, vault, BasisEvent.GRANT, grants=(GRANT, other))

    spent = []
    async with database.write() as conn:
        for item, grant in ((0, GRANT), (1, other), (1, other)):
            await bases.use(conn, basis.basis_id, item, grant, uuid7())
            spent.append(await bases.spent(conn, basis))

    assert spent == [False, False, True]


async def test_a_duty_is_never_spent_by_its_uses(database: SqlDatabase, vault: Vault) -> None:
    duty = await recorded(
        database,
        vault,
        BasisEvent.TAKE_EFFECT,
        kind=BasisKind.STATUTORY_DUTY,
        state=BasisState.RECORDED,
    )

    async with database.write() as conn:
        await bases.use(conn, duty.basis_id, 0, GRANT, uuid7())
        assert not await bases.spent(conn, duty)


async def test_withdrawing_twice_changes_nothing(database: SqlDatabase, vault: Vault) -> None:
    basis = await recorded(database, vault, BasisEvent.GRANT, BasisEvent.WITHDRAW)

    async with database.write() as conn:
        again = await bases.move(conn, vault, basis.basis_id, BasisEvent.WITHDRAW)

    assert again == basis
    assert (await types_logged(database, vault)).count(EventType.CONSENT_WITHDRAWN) == 1


async def test_of_withdrawals_at_once_one_is_recorded_and_all_succeed(
    database: SqlDatabase, vault: Vault
) -> None:
    basis = await recorded(database, vault, BasisEvent.GRANT)

    async def withdraw() -> LawfulBasis:
        async with database.write() as conn:
            return await bases.move(conn, vault, basis.basis_id, BasisEvent.WITHDRAW)

    results = await asyncio.gather(*(withdraw() for _ in range(10)))

    assert {result.state for result in results} == {BasisState.WITHDRAWN}
    assert {result.revision for result in results} == {3}
    assert (await types_logged(database, vault)).count(EventType.CONSENT_WITHDRAWN) == 1


async def test_a_refused_edge_changes_nothing(database: SqlDatabase, vault: Vault) -> None:
    basis = await recorded(database, vault, BasisEvent.REFUSE)

    with pytest.raises(TransitionRefused):
        async with database.write() as conn:
            await bases.move(conn, vault, basis.basis_id, BasisEvent.GRANT)

    assert (await loaded(database, vault, basis.basis_id)).basis == basis
    assert len(await types_logged(database, vault)) == 2


@pytest.mark.parametrize("first", ["withdrawal", "answer"])
async def test_a_withdrawal_and_an_answer_come_in_one_order_and_the_second_sees_the_first(
    database: SqlDatabase, vault: Vault, first: str
) -> None:
    """Each holds the basis while the other is under way; what comes second waits and reads what is then."""
    basis = await recorded(database, vault, BasisEvent.GRANT)
    holds, seen = asyncio.Event(), []

    async def withdrawal() -> None:
        if first == "answer":
            await holds.wait()
        async with database.write() as conn:
            await bases.move(conn, vault, basis.basis_id, BasisEvent.WITHDRAW)
            holds.set()
            seen.append("withdrawn")

    async def answer() -> None:
        if first == "withdrawal":
            await holds.wait()
        async with database.write() as conn:
            stored = await bases.load(conn, vault, basis.basis_id, lock=True)
            holds.set()
            seen.append(_released(stored, await machine_time(conn)))

    await asyncio.gather(withdrawal(), answer())

    expected = ["withdrawn", "not-live"] if first == "withdrawal" else ["released", "withdrawn"]
    assert seen == expected


def _released(stored: bases.StoredBasis, now: dt.datetime) -> str:
    try:
        policy.permit(
            stored.basis,
            sha256=stored.sha256,
            call_id=uuid7(),
            agency="nia",
            resource="nia.residence",
            fields=(),
            status=stored.status,
            now=now,
        )
    except NotPermitted as error:
        return error.reason
    return "released"


async def test_many_changes_at_once_make_one_chain(database: SqlDatabase, vault: Vault) -> None:
    basis = await recorded(database, vault, BasisEvent.GRANT)

    async def change(event: BasisEvent) -> int:
        try:
            async with database.write() as conn:
                await bases.move(conn, vault, basis.basis_id, event)
        except TransitionRefused:
            return 0
        return 1

    taken = sum(await asyncio.gather(*(change(event) for event in _alternating(20))))

    async with database.read() as conn:
        current = lawful_basis.c.current == 1
        rows = (await conn.execute(select(lawful_basis.c.revision).where(current))).scalars().all()
    assert rows == [2 + taken]


def _alternating(count: int) -> Sequence[BasisEvent]:
    return [BasisEvent.PAUSE if n % 2 else BasisEvent.RESUME for n in range(count)]


async def test_expired_consents_are_found_oldest_first_and_nothing_else_is(
    database: SqlDatabase, vault: Vault
) -> None:
    now = dt.datetime.now(dt.UTC)
    ago = [now - dt.timedelta(hours=hours) for hours in (1, 3, 2)]
    overdue = [await recorded(database, vault, BasisEvent.GRANT, expires_at=at) for at in ago]
    await recorded(database, vault, BasisEvent.GRANT)
    await recorded(database, vault, expires_at=ago[0])
    await recorded(database, vault, BasisEvent.GRANT, BasisEvent.WITHDRAW, expires_at=ago[0])

    async with database.read() as conn:
        found = await bases.expired(conn, now)
        first = await bases.expired(conn, now, limit=1)

    assert found == [overdue[1].basis_id, overdue[2].basis_id, overdue[0].basis_id]
    assert first == found[:1]


async def test_a_basis_that_does_not_exist_is_not_permitted(database: SqlDatabase, vault: Vault) -> None:
    with pytest.raises(NotPermitted) as refused:
        await loaded(database, vault, uuid7())

    assert refused.value.reason == "unknown"


async def test_another_subject_s_key_does_not_open_a_record(database: SqlDatabase, vault: Vault) -> None:
    basis = await recorded(database, vault)
    await recorded(database, vault, subject="mallory")
    async with database.write() as conn:
        mine = lawful_basis.c.basis_id == basis.basis_id
        await conn.execute(update(lawful_basis).where(mine).values(subject="mallory"))

    with pytest.raises(KeyMissing):
        await loaded(database, vault, basis.basis_id)


async def test_a_record_moved_to_another_basis_does_not_open(database: SqlDatabase, vault: Vault) -> None:
    basis, other = await recorded(database, vault), await recorded(database, vault)
    async with database.write() as conn:
        query = select(lawful_basis.c.record).where(lawful_basis.c.basis_id == basis.basis_id)
        record = (await conn.execute(query)).scalar_one()
        there = lawful_basis.c.basis_id == other.basis_id
        await conn.execute(update(lawful_basis).where(there).values(record=record))

    with pytest.raises(KeyMissing):
        await loaded(database, vault, other.basis_id)


async def test_a_record_whose_key_was_destroyed_is_gone_and_others_are_read(
    database: SqlDatabase, vault: Vault
) -> None:
    basis, other = await recorded(database, vault), await recorded(database, vault, subject="bob")
    async with database.write() as conn:
        await conn.execute(update(data_key).where(data_key.c.owner_id == "alice").values(wrapped=None))

    with pytest.raises(KeyMissing):
        await loaded(database, vault, basis.basis_id)
    async with database.read() as conn:
        found = await bases.load_many(conn, vault, [basis.basis_id, other.basis_id])
        with pytest.raises(KeyMissing):
            await bases.of_subject(conn, vault, "alice")
    assert found.keys() == {other.basis_id}


async def test_records_are_stored_as_ciphertext(database: SqlDatabase, vault: Vault) -> None:
    await recorded(database, vault)

    async with database.read() as conn:
        record = (await conn.execute(select(lawful_basis.c.record))).scalar_one()

    assert b"gold_card" not in record
    assert b"arc.number" not in record


async def test_a_notice_is_kept_once_for_each_text(database: SqlDatabase) -> None:
    shown = bases.Notice(notice_id="residence", language="en", content=b'{"text":"..."}')
    changed = msgspec.structs.replace(shown, content=b'{"text":"...!"}')

    async with database.write() as conn:
        for each in (shown, shown, changed):
            await bases.keep_notice(conn, each)
        rows = (await conn.execute(select(notice.c.notice_sha256, notice.c.content))).all()

    assert {row.notice_sha256: row.content for row in rows} == {
        shown.sha256: shown.content,
        changed.sha256: changed.content,
    }


async def test_a_person_s_bases_come_in_pages_and_no_one_else_s_among_them(
    database: SqlDatabase, vault: Vault
) -> None:
    mine = [(await recorded(database, vault)).basis_id for _ in range(5)]
    await recorded(database, vault, subject="bob")

    found: list[UUID] = []
    async with database.read() as conn:
        while page := await bases.of_subject(
            conn, vault, "alice", after=found[-1] if found else None, limit=2
        ):
            found += [stored.basis.basis_id for stored in page]

    assert sorted(found) == sorted(mine)
    assert len(found) == 5
