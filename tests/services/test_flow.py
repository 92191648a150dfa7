"""What a step may send out, and that a case is what its history says."""

import asyncio
import datetime as dt
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import func, select

from adapters.contract import Request
from adapters.errors import Unsupported
from adapters.vocabulary import DocumentReference, Qualification
from adapters.wda.adapter import QualificationRequest
from consent import bases
from consent.errors import NotPermitted
from consent.ids import uuid7
from consent.lifecycle import BasisEvent
from consent.model import Authority, BasisKind, BasisState, EventType, Grant, LawfulBasis, Permit
from services import documents, store
from services import events as ev
from services.case import At, Case
from services.errors import CaseNotFound, ServiceNotFound
from services.outbox import CallStatus
from services.service import NOTHING, Moves, PlannedCall, Timer
from services.store import agency_call
from tests.services.fakes import (
    PASSPORT,
    PERSON,
    RESIDENCE,
    Office,
    check_history,
    consent_basis,
    notice_to,
)


async def outbox_size(office: Office) -> int:
    async with office.database.read() as conn:
        return (await conn.execute(select(func.count()).select_from(agency_call))).scalar_one()


def duty(case: Case, **changes: object) -> LawfulBasis:
    """A basis on duty: the labour review."""
    fields = (
        "person.surname", "person.given_names", "person.date_of_birth", "person.sex", "passport.number",
        "passport.nationality", "passport.expires_on", "qualification.field", "qualification.clause",
        "documents", "decision.outcome",
    )  # fmt: skip
    basis = consent_basis(
        case,
        kind=BasisKind.STATUTORY_DUTY,
        state=BasisState.RECORDED,
        purpose_code="gold_card.review",
        grants=(Grant(agency="wda", resource="gold_card.qualification_review", fields=fields, max_uses=2),),
    )
    return msgspec.structs.replace(basis, **changes)


def review(*named: DocumentReference) -> PlannedCall:
    data = QualificationRequest(
        person=PERSON,
        passport=PASSPORT,
        qualification=Qualification(field="culture", clause="award"),
        documents=named,
    )
    return PlannedCall(agency="wda", operation="qualification_review", data=data)


async def test_a_planned_call_says_why_it_may_be_made(office: Office) -> None:
    case = await office.open_case()
    consent = await office.consent(case)

    [call_id] = await office.plan(case, RESIDENCE)

    [authorised] = await office.logged(EventType.CALL_AUTHORIZED)
    assert (authorised.call, authorised.basis_id) == (str(call_id), str(consent.basis_id))
    assert authorised.purpose == "gold_card.residence_record"
    body = await office.body(call_id)
    assert body is not None
    request = msgspec.json.decode(body, type=Request)
    assert (request.call, request.case, request.purpose) == (call_id, case.number, authorised.purpose)


async def test_without_a_basis_nothing_goes_into_the_outbox_and_the_case_is_told(office: Office) -> None:
    case = await office.open_case()

    assert await office.plan(case, RESIDENCE) == []

    assert await outbox_size(office) == 0
    assert await office.failures(case) == [("refused", "not permitted: no-basis")]
    assert await office.logged(EventType.CALL_AUTHORIZED) == []
    await check_history(office, case)


@pytest.mark.parametrize(
    ("changes", "event", "reason"),
    [
        ({}, None, "not-live"),
        ({}, BasisEvent.REFUSE, "not-live"),
        ({"expires_at": dt.datetime(2022, 1, 2, tzinfo=dt.UTC)}, BasisEvent.GRANT, "expired"),
        ({"not_before": dt.datetime(2099, 1, 1, tzinfo=dt.UTC)}, BasisEvent.GRANT, "expired"),
        ({"expires_at": dt.datetime(2099, 1, 2, tzinfo=dt.UTC)}, BasisEvent.GRANT, "beyond-purpose"),
        ({"purpose_code": "gold_card.marketing"}, BasisEvent.GRANT, "beyond-purpose"),
        ({"kind": BasisKind.SEPARATE_CONSENT}, BasisEvent.GRANT, "beyond-purpose"),
    ],
)
async def test_a_basis_that_does_not_hold_carries_no_call(
    office: Office, changes: dict[str, object], event: BasisEvent | None, reason: str
) -> None:
    case = await office.open_case()
    await office.record(consent_basis(case, **changes), *([event] if event else []))

    assert await office.plan(case, RESIDENCE) == []

    assert await office.failures(case) == [("refused", f"not permitted: {reason}")]
    assert await outbox_size(office) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_uses": 9}, "beyond-purpose"),
        ({"max_uses": None}, "beyond-purpose"),
        ({"fields": tuple(f"f{n}" for n in range(11))}, "beyond-purpose"),
        ({"fields": ("passport.number",)}, "field-not-covered"),
        ({"agency": "wda"}, "no-basis"),
        ({"resource": "nia.entries"}, "no-basis"),
    ],
)
async def test_a_basis_carries_what_it_lists_and_no_more_than_its_purpose_allows(
    office: Office, changes: dict[str, object], reason: str
) -> None:
    case = await office.open_case()
    grant = msgspec.structs.replace(consent_basis(case).grants[0], **changes)
    await office.consent(case, grants=(grant,))

    assert await office.plan(case, RESIDENCE) == []

    assert await office.failures(case) == [("refused", f"not permitted: {reason}")]


async def test_another_case_s_consent_carries_nothing(office: Office) -> None:
    case, other = await office.open_case(), await office.open_case()
    await office.consent(other)

    assert await office.plan(case, RESIDENCE) == []


async def test_uses_beyond_those_granted_are_refused(office: Office) -> None:
    case = await office.open_case()
    await office.record(duty(case), BasisEvent.TAKE_EFFECT)

    planned = [await office.plan(case, review()) for _ in range(3)]

    assert [len(part) for part in planned] == [1, 1, 0]
    assert await office.failures(case) == [("refused", "not permitted: used-up")]


async def test_a_call_s_authority_is_looked_at_anew_when_it_is_made(office: Office) -> None:
    case = await office.open_case()
    consent = await office.consent(case)
    [data, notice] = await office.plan(case, RESIDENCE, notice_to())

    async def authorities() -> list[object]:
        async with office.database.write() as conn:
            held = [await office.call(data), await office.call(notice)]
            return list(await office.flow.planner.authorities(conn, held, (await store.now(conn)).machine))

    before = await authorities()
    async with office.database.write() as conn:
        await bases.move(conn, office.vault, consent.basis_id, BasisEvent.WITHDRAW)
    after = await authorities()

    assert [type(item) for item in before] == [Permit, Authority]
    assert [type(item) for item in after] == [NotPermitted, Authority]


# Documents that an agency fetches.


async def test_a_document_is_released_to_the_call_that_names_it_while_its_basis_lives(
    office: Office,
) -> None:
    case = await office.open_case()
    basis = await office.record(duty(case), BasisEvent.TAKE_EFFECT)
    async with office.database.write() as conn:
        named, other = [
            await documents.keep(
                conn, office.vault, case.case_id, slot="photo", media_type="image/png", content=content
            )
            for content in (b"named", b"other")
        ]
    reference = DocumentReference(
        document=named.document_id, slot="photo", media_type="image/png", size=5, sha256=named.sha256
    )
    [call_id] = await office.plan(case, review(reference))

    async def release(document_id: UUID) -> bytes:
        async with office.database.write() as conn:
            held = await office.call(call_id)
            return await office.flow.release_document(
                conn,
                held,
                document_id,
                await store.now(conn),
            )

    assert await release(named.document_id) == b"named"
    [released] = await office.logged(EventType.DATA_RELEASED)
    assert released.details["document"] == str(named.document_id)
    with pytest.raises(CaseNotFound):
        await release(other.document_id)
    async with office.database.write() as conn:
        await bases.move(conn, office.vault, basis.basis_id, BasisEvent.END)
    with pytest.raises(NotPermitted):
        await release(named.document_id)
    assert len(await office.logged(EventType.DATA_RELEASED)) == 1


# Steps.


async def test_a_step_without_end_is_refused_and_leaves_the_case_as_it_was(office: Office) -> None:
    case = await office.open_case()
    office.service.script = lambda case, event, at: Moves(events=(ev.FormSaved(form={}),))

    with pytest.raises(RuntimeError, match="200 events"):
        await office.advance(case, ev.FormSaved(form={}))

    assert await office.case(case) == case
    await check_history(office, case)


async def test_a_step_with_nothing_to_do_changes_nothing(office: Office) -> None:
    case = await office.open_case()

    assert await office.carry_out(case, NOTHING) == case

    await check_history(office, case)


async def test_a_step_that_fails_half_way_leaves_nothing(office: Office) -> None:
    case = await office.open_case()

    def react(case: Case, event: ev.CaseEvent, at: At) -> Moves:
        if isinstance(event, ev.CallPlanned):
            raise RuntimeError("the service's own fault")
        return Moves(calls=(notice_to(),), timers=(Timer(name="t", due_at=at.legal),))

    office.service.script = react
    with pytest.raises(RuntimeError):
        await office.advance(case, ev.FormSaved(form={"a": 1}))

    assert await office.case(case) == case
    assert await outbox_size(office) == 0
    assert await office.logged(EventType.CALL_AUTHORIZED) == []
    async with office.database.read() as conn:
        assert (await conn.execute(select(store.timer))).all() == []


async def test_bases_begin_and_end_with_the_case_s_moves(office: Office) -> None:
    case = await office.open_case()
    recorded = await office.record(duty(case))
    consent = await office.consent(case)

    async def states() -> dict[object, BasisState]:
        async with office.database.read() as conn:
            held = await bases.of_case(conn, office.vault, case.case_id)
        return {stored.basis.basis_id: stored.basis.state for stored in held}

    await office.carry_out(case, Moves(take_effect=True))
    assert (await states())[recorded.basis_id] is BasisState.IN_FORCE
    await office.carry_out(case, Moves(end_bases=True))

    assert (await states())[recorded.basis_id] is BasisState.ENDED
    assert (await states())[consent.basis_id] is BasisState.EXPIRED


async def test_events_at_once_are_numbered_without_gap_or_loss(office: Office) -> None:
    case = await office.open_case()

    await asyncio.gather(*(office.advance(case, ev.FormSaved(form={"n": n})) for n in range(12)))

    assert (await office.case(case)).version == 12
    await check_history(office, case)


async def test_a_service_that_is_not_there_opens_no_case(office: Office) -> None:
    with pytest.raises(ServiceNotFound):
        async with office.database.write() as conn:
            await office.flow.open_case(conn, "dog_licence", "alice", "en")


async def test_an_operation_that_is_not_there_is_unsupported(office: Office) -> None:
    for agency, name in (("nia", "fly"), ("nobody", "residence")):
        with pytest.raises(Unsupported):
            office.flow.planner.operation(agency, name)


async def test_a_call_of_no_case_is_not_found(office: Office) -> None:
    _, [call_id] = await office.ready(notice_to())
    call = msgspec.structs.replace(await office.call(call_id), case_id=uuid7())

    with pytest.raises(CaseNotFound):
        async with office.database.write() as conn:
            await office.flow.fail(conn, call, CallStatus.REFUSED, "agency: no", await store.now(conn))
