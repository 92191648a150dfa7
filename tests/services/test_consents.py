"""Consents around a case: shown with their text, granted by its hash, withdrawn for good."""

import asyncio
import datetime as dt
from uuid import UUID

import pytest
from sqlalchemy import func, select

from consent import bases
from consent.errors import TransitionRefused
from consent.lifecycle import BasisEvent
from consent.model import BasisKind, BasisState, EventType, LawfulBasis
from consent.store import notice
from services import consents, store
from services.case import Case
from services.errors import CaseNotFound, NotAllowed
from services.outbox import CallStatus
from services.service import Identity, Proposal
from services.text import Language
from tests.services import applications as steps
from tests.services.fakes import Office, consent_basis

MARIE = Identity(passport_number="12AB34567", nationality="FRA", date_of_birth=dt.date(1985, 5, 17))


@pytest.fixture
def office(office: Office) -> Office:
    """The office with the reactions of the Gold Card itself."""
    return office.with_gold_card()


async def draft(office: Office) -> Case:
    """A draft that wants its residence record fetched."""
    stay = {"status": "arc", "residence_record": "fetched"}
    return await steps.save(office, await office.open_case(), steps.form(stay=stay))


async def propose(office: Office, case: Case, language: Language = "en") -> list[Proposal]:
    async with office.database.write() as conn:
        at = await store.now(conn)
        held = await store.load_case(conn, office.vault, case.case_id, lock=True)
        return list(await consents.propose(conn, office.flow, held, language, at))


async def grant(
    office: Office,
    basis: LawfulBasis,
    *,
    person: str = "alice",
    sha256: str = "",
    identity: Identity = MARIE,
) -> LawfulBasis:
    async with office.database.write() as conn:
        return await consents.grant(
            conn,
            office.flow,
            basis.basis_id,
            person,
            notice_sha256=sha256 or basis.notice_sha256,
            assurance=steps.ASSURANCE,
            identity=identity,
            at=await store.now(conn),
        )


async def withdraw(office: Office, basis_id: UUID, person: str = "alice") -> LawfulBasis:
    async with office.database.write() as conn:
        return await consents.withdraw(conn, office.flow, basis_id, person)


async def refuse(office: Office, basis_id: UUID, person: str = "alice") -> LawfulBasis:
    async with office.database.write() as conn:
        return await consents.refuse(conn, office.flow, basis_id, person)


async def state_of(office: Office, basis: LawfulBasis) -> BasisState:
    async with office.database.read() as conn:
        return (await bases.load(conn, office.vault, basis.basis_id)).basis.state


async def test_a_consent_is_shown_once_with_the_text_it_is_about(office: Office) -> None:
    case = await draft(office)

    [first] = await propose(office, case)
    [again] = await propose(office, case)

    assert first.basis == again.basis
    assert first.basis.notice_sha256 == first.notice.sha256
    assert first.basis.state is BasisState.SHOWN
    async with office.database.read() as conn:
        assert (await conn.execute(select(func.count()).select_from(notice))).scalar_one() == 1
    assert len(await office.logged(EventType.NOTICE_SHOWN)) == 1


async def test_another_language_is_another_text_and_shown_anew(office: Office) -> None:
    case = await draft(office)

    [english], [chinese] = await propose(office, case, "en"), await propose(office, case, "zh-TW")

    assert english.basis.basis_id != chinese.basis.basis_id
    assert english.notice.sha256 != chinese.notice.sha256


async def test_who_uploads_the_record_is_asked_for_no_consent(office: Office) -> None:
    case = await steps.save(office, await office.open_case(), steps.form())

    assert await propose(office, case) == []


async def test_nothing_is_fetched_before_the_grant(office: Office) -> None:
    case = await draft(office)
    await propose(office, case)

    assert (await office.case(case)).open_calls == ()


async def test_a_grant_fetches_the_record_and_keeps_how_it_was_given(office: Office) -> None:
    case = await draft(office)
    [shown] = await propose(office, case)

    granted = await grant(office, shown.basis)

    assert (granted.state, granted.acr) == (BasisState.GRANTED, steps.ASSURANCE.acr)
    [call] = (await office.case(case)).open_calls
    assert (call.agency, call.operation) == ("nia", "residence")


async def test_a_grant_of_another_text_than_the_one_shown_is_refused(office: Office) -> None:
    case = await draft(office)
    [shown] = await propose(office, case)

    with pytest.raises(NotAllowed):
        await grant(office, shown.basis, sha256="f" * 64)

    assert await state_of(office, shown.basis) is BasisState.SHOWN


async def test_a_grant_for_another_person_s_record_is_refused_and_leaves_nothing(office: Office) -> None:
    case = await draft(office)
    [shown] = await propose(office, case)

    with pytest.raises(NotAllowed):
        await grant(office, shown.basis, identity=Identity(passport_number="X1", nationality="FRA"))

    assert await state_of(office, shown.basis) is BasisState.SHOWN
    assert (await office.case(case)).open_calls == ()
    assert await office.logged(EventType.CONSENT_GRANTED) == []


async def test_another_person_s_consent_is_not_there(office: Office) -> None:
    case = await draft(office)
    [shown] = await propose(office, case)

    for act in (
        grant(office, shown.basis, person="mallory"),
        refuse(office, shown.basis.basis_id, "mallory"),
        withdraw(office, shown.basis.basis_id, "mallory"),
        withdraw(office, UUID(int=1)),
    ):
        with pytest.raises(CaseNotFound):
            await act

    assert await state_of(office, shown.basis) is BasisState.SHOWN


async def test_a_consent_is_granted_once_however_often_it_is_asked_for_at_once(office: Office) -> None:
    case = await draft(office)
    [shown] = await propose(office, case)

    results = await asyncio.gather(*(grant(office, shown.basis) for _ in range(5)), return_exceptions=True)

    assert sum(isinstance(result, LawfulBasis) for result in results) == 1
    assert sum(isinstance(result, TransitionRefused) for result in results) == 4
    assert len((await office.case(case)).open_calls) == 1


async def test_what_was_refused_is_not_granted_and_not_withdrawn(office: Office) -> None:
    case = await draft(office)
    [shown] = await propose(office, case)
    await refuse(office, shown.basis.basis_id)

    with pytest.raises(TransitionRefused):
        await grant(office, shown.basis)
    with pytest.raises(TransitionRefused):
        await withdraw(office, shown.basis.basis_id)

    assert await state_of(office, shown.basis) is BasisState.REFUSED


async def test_a_withdrawn_consent_stops_the_next_call_and_stays_withdrawn(office: Office) -> None:
    case = await draft(office)
    [shown] = await propose(office, case)
    await grant(office, shown.basis)
    await office.publish()
    [call] = (await office.case(case)).open_calls

    first = await withdraw(office, shown.basis.basis_id)
    second = await withdraw(office, shown.basis.basis_id)
    async with office.working():
        await office.until_status(CallStatus.REFUSED, call.call)

    assert first == second
    assert office.agencies["nia"].sent == []
    with pytest.raises(TransitionRefused):
        await grant(office, shown.basis)


async def test_what_rests_on_the_law_cannot_be_withdrawn(office: Office) -> None:
    case = await draft(office)
    duty = consent_basis(case, kind=BasisKind.STATUTORY_DUTY, state=BasisState.RECORDED)
    await office.record(duty, BasisEvent.TAKE_EFFECT)

    with pytest.raises(NotAllowed):
        await withdraw(office, duty.basis_id)

    assert await state_of(office, duty) is BasisState.IN_FORCE


async def test_an_expired_consent_that_the_person_withdrew_first_stays_withdrawn(office: Office) -> None:
    case = await draft(office)
    [shown] = await propose(office, case)
    await grant(office, shown.basis)
    await withdraw(office, shown.basis.basis_id)

    async with office.database.write() as conn:
        await consents.expire(conn, office.flow, shown.basis.basis_id)

    assert await state_of(office, shown.basis) is BasisState.WITHDRAWN


async def test_withdrawals_and_expiries_at_once_end_a_consent_once(office: Office) -> None:
    case = await draft(office)
    [shown] = await propose(office, case)
    await grant(office, shown.basis)

    async def expire() -> None:
        async with office.database.write() as conn:
            await consents.expire(conn, office.flow, shown.basis.basis_id)

    await asyncio.gather(
        *(withdraw(office, shown.basis.basis_id) for _ in range(3)),
        *(expire() for _ in range(3)),
        return_exceptions=True,
    )

    ended = await office.logged(EventType.CONSENT_WITHDRAWN) + await office.logged(EventType.CONSENT_EXPIRED)
    assert len(ended) == 1
