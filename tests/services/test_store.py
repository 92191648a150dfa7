"""Cases in the database: sealed, paged, timed by one clock."""

import contextlib
import datetime as dt

import msgspec
import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from consent.errors import KeyMissing
from consent.ids import uuid7
from consent.keys import Vault
from consent.store import data_key
from gateway.db import SqlDatabase
from services import events as ev
from services import store
from services.errors import CaseNotFound
from services.store import case_event, service_case
from tests.services.fakes import Office, check_history

SECRET = {"passport": {"number": "12AB34567"}}


async def test_a_case_reads_back_as_it_was_stored(office: Office) -> None:
    case = await office.open_case()
    saved = await office.advance(case, ev.FormSaved(form=SECRET))

    assert await office.case(case) == saved
    assert saved.form == SECRET
    await check_history(office, case)


async def test_neither_case_nor_history_shows_what_is_in_it(office: Office) -> None:
    case = await office.open_case()
    await office.advance(case, ev.FormSaved(form=SECRET))

    async with office.database.read() as conn:
        cases = (await conn.execute(select(service_case))).all()
        events = (await conn.execute(select(case_event))).all()

    assert "12AB34567" not in repr((cases, events))


async def test_a_history_is_read_in_pages(office: Office) -> None:
    case = await office.open_case()
    for n in range(5):
        await office.advance(case, ev.FormSaved(form={"n": n}))

    async with office.database.read() as conn:
        whole = await store.history(conn, office.vault, case.case_id)
        first = await store.history(conn, office.vault, case.case_id, limit=2)
        rest = await store.history(conn, office.vault, case.case_id, after=2)

    assert [*first, *rest] == whole
    assert [item.seq for item in whole] == [1, 2, 3, 4, 5, 6]


async def test_a_person_s_cases_come_newest_first_and_no_one_else_s_among_them(office: Office) -> None:
    mine = [(await office.open_case("alice")).case_id for _ in range(5)]
    await office.open_case("bob")

    async with office.database.read() as conn:
        first = await store.cases_of(conn, office.vault, "alice", limit=3)
        rest = await store.cases_of(conn, office.vault, "alice", before=first[-1].case_id, limit=3)

    found = [case.case_id for case in (*first, *rest)]
    assert found == sorted(mine, reverse=True)


async def test_a_case_whose_key_was_destroyed_is_gone_and_others_are_listed(office: Office) -> None:
    gone, kept = await office.open_case(), await office.open_case()
    async with office.database.write() as conn:
        lost = data_key.c.owner_id == str(gone.case_id)
        await conn.execute(update(data_key).where(lost).values(wrapped=None))

    with pytest.raises(KeyMissing):
        await office.case(gone)
    async with office.database.read() as conn:
        assert await store.cases_of(conn, office.vault, "alice") == [kept]


async def test_an_event_moved_in_its_history_does_not_open(office: Office) -> None:
    case = await office.open_case()
    await office.advance(case, ev.FormSaved(form=SECRET))
    async with office.database.write() as conn:
        for seq, to in ((1, 9), (2, 1), (9, 2)):
            await conn.execute(update(case_event).where(case_event.c.seq == seq).values(seq=to))

    with pytest.raises(KeyMissing):
        await office.events(case)


async def test_a_case_that_does_not_exist_is_not_found(database: SqlDatabase, vault: Vault) -> None:
    with pytest.raises(CaseNotFound):
        async with database.read() as conn:
            await store.load_case(conn, vault, uuid7())


async def test_two_cases_never_have_one_number(office: Office) -> None:
    case = await office.open_case()

    twin = msgspec.structs.replace(case, case_id=uuid7())

    async with office.database.read() as conn:
        at = await store.now(conn)
    with pytest.raises(IntegrityError):
        async with office.database.write() as conn:
            await store.insert_case(conn, office.vault, twin, at)


async def test_cases_are_locked_by_id_and_moved_by_applicant(office: Office) -> None:
    cases = {(await office.open_case(name)).case_id: name for name in ("carol", "alice", "bob", "alice")}

    async with office.database.write() as conn:
        order = await store.lock_cases(conn, [*cases, uuid7()])

    assert [cases[case_id] for case_id in order] == ["alice", "alice", "bob", "carol"]


async def test_legal_time_moves_ahead_of_machine_time_by_whole_days(database: SqlDatabase) -> None:
    async with database.write() as conn:
        before = await store.now(conn)
        await store.move_legal_clock(conn, 3)
        after = await store.move_legal_clock(conn, 4)

        assert await store.legal_offset_seconds(conn) == 7 * 86_400
    assert before.legal == before.machine
    assert after.legal - after.machine == dt.timedelta(days=7)


async def test_a_savepoint_that_is_rolled_back_takes_only_its_own_writes_with_it(office: Office) -> None:
    kept = await office.open_case()
    async with office.database.write() as conn:
        at = await store.now(conn)
        for n in range(3):
            with contextlib.suppress(IntegrityError):
                async with conn.begin_nested():
                    await conn.execute(update(service_case).values(state="approved"))
                    await store.insert_case(conn, office.vault, kept, at)
            async with conn.begin_nested():
                await conn.execute(update(service_case).values(version=n))

    async with office.database.read() as conn:
        row = (await conn.execute(select(service_case.c.state, service_case.c.version))).one()
    assert tuple(row) == ("draft", 2)
