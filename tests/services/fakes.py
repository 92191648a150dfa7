"""What the tests of this folder set around the modules under test: agencies that answer as told, a service
whose reactions a test writes, and an office that puts it all together on one database.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from uuid import UUID

import msgspec

from adapters.boca import adapter as boca
from adapters.contract import Operation, OutgoingCall, Reply, ReplyStatus
from adapters.epay import adapter as epay
from adapters.field_authority import adapter as field_authority
from adapters.nia import adapter as nia
from adapters.notify import adapter as notify
from adapters.vocabulary import DecisionNotice, Passport, Person
from adapters.wda import adapter as wda
from consent import bases, log
from consent.ids import uuid7
from consent.keys import Vault
from consent.lifecycle import BasisEvent
from consent.model import BasisKind, BasisState, EventType, Grant, LawfulBasis
from consent.sequencer import Sequencer
from gateway.db import SqlDatabase
from services import calls, store
from services import events as ev
from services.case import At, Case, evolve
from services.flow import SYSTEM, Flow
from services.gold_card.service import GoldCard
from services.sealing import Sealer
from services.service import NOTHING, Moves, PlannedCall
from services.worker import Worker

UNTIL_SECONDS_MAX = 30.0
PUBLIC_URL = "https://onestop.example"

OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    "nia": nia.OPERATIONS,
    "wda": wda.OPERATIONS,
    "boca": boca.OPERATIONS,
    "field_authority:moc": field_authority.OPERATIONS,
    "epay": epay.OPERATIONS,
    "notify": notify.OPERATIONS,
}

PERSON = Person(surname="DUPONT", given_names="MARIE", date_of_birth=dt.date(1985, 5, 17), sex="F")
PASSPORT = Passport(number="12AB34567", nationality="FRA", expires_on=dt.date(2029, 5, 31))
ARC = {"number": "A800000014", "expires_on": "2027-01-31", "address": "臺北市中正區範例路 1 號"}
RESIDENCE = PlannedCall(
    agency="nia", operation="residence", data=nia.ResidenceRequest(person=PERSON, passport=PASSPORT)
)
RESIDENCE_FIELDS = (
    "person.surname",
    "person.given_names",
    "person.date_of_birth",
    "person.sex",
    "passport.number",
    "passport.nationality",
    "passport.expires_on",
    "arc.number",
    "arc.expires_on",
    "arc.address",
)


def notice_to(agency: str = "wda") -> PlannedCall:
    """A call that needs no lawful basis, since it carries nothing of the person."""
    told = DecisionNotice(outcome="approved", decided_on=dt.date(2026, 11, 2))
    return PlannedCall(agency=agency, operation="decision_notice", data=told)


def answered(call: OutgoingCall, data: object) -> Reply:
    """The agency's answer, at once."""
    return Reply(call=call.call_id, status=ReplyStatus.ANSWERED, data=msgspec.Raw(msgspec.json.encode(data)))


def accepted(call: OutgoingCall) -> Reply:
    """The agency's word that it will answer later."""
    return Reply(call=call.call_id, status=ReplyStatus.ACCEPTED, poll_after_seconds=1)


async def takes_note(call: OutgoingCall) -> Reply:
    """How an agency answers a notice."""
    return answered(call, {"reference": "R1"})


async def never_heard_of(call: OutgoingCall) -> Reply | None:
    """What an agency says that is asked about a call it does not know."""
    return None


class FakeAgency:
    """An agency that does what `on_send` and `on_ask` say, and remembers which calls reached it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.operations = OPERATIONS[name]
        self.sent: list[UUID] = []
        self.asked: list[UUID] = []
        self.on_send: Callable[[OutgoingCall], Awaitable[Reply]] = takes_note
        self.on_ask: Callable[[OutgoingCall], Awaitable[Reply | None]] = never_heard_of

    async def send(self, call: OutgoingCall) -> Reply:
        self.sent.append(call.call_id)
        return await self.on_send(call)

    async def ask(self, call: OutgoingCall) -> Reply | None:
        self.asked.append(call.call_id)
        return await self.on_ask(call)

    async def aclose(self) -> None:
        pass


class FakeAgencies:
    """All agencies; `broken` names those whose breaker is open."""

    def __init__(self) -> None:
        self.known = {name: FakeAgency(name) for name in OPERATIONS}
        self.broken: list[str] = []

    def __getitem__(self, name: str) -> FakeAgency:
        return self.known[name]

    def agency(self, name: str) -> FakeAgency:
        return self.known[name]

    def unavailable(self) -> Sequence[str]:
        return self.broken


class ScriptedService(GoldCard):
    """The Gold Card's forms, texts and purposes, with reactions that a test writes."""

    def __init__(self) -> None:
        super().__init__(PUBLIC_URL)
        self.script: Callable[[Case, ev.CaseEvent, At], Moves] = lambda case, event, at: NOTHING

    def react(self, case: Case, event: ev.CaseEvent, at: At) -> Moves:
        return self.script(case, event, at)


class Office:
    """Cases, calls and workers on one database."""

    def __init__(self, database: SqlDatabase, vault: Vault, sequencer: Sequencer) -> None:
        self.database = database
        self.vault = vault
        self.sequencer = sequencer
        self.agencies = FakeAgencies()
        self.service = ScriptedService()
        self.flow = self.flow_with(OPERATIONS)

    def flow_with(self, operations: Mapping[str, Mapping[str, Operation]]) -> Flow:
        """A flow that knows these agencies."""
        return Flow(
            self.vault,
            {GoldCard.service_id: self.service},
            operations,
            f"{PUBLIC_URL}/agency/v1/callbacks",
            Sealer(self.vault.key_store, PUBLIC_URL),
        )

    def with_gold_card(self) -> "Office":
        """The same office, with the reactions of the Gold Card itself."""
        self.flow = Flow(
            self.vault,
            {GoldCard.service_id: GoldCard(PUBLIC_URL)},
            OPERATIONS,
            f"{PUBLIC_URL}/agency/v1/callbacks",
            Sealer(self.vault.key_store, PUBLIC_URL),
        )
        return self

    async def open_case(self, applicant: str = "alice") -> Case:
        """A new draft."""
        async with self.database.write() as conn:
            return await self.flow.open_case(conn, GoldCard.service_id, applicant, "en")

    async def plan(self, case: Case, *planned: PlannedCall) -> list[UUID]:
        """Carry out these calls for the case; ids of those that went into the outbox."""
        before = {call.call for call in (await self.case(case)).open_calls}
        after = await self.carry_out(case, Moves(calls=planned))
        return [call.call for call in after.open_calls if call.call not in before]

    async def carry_out(self, case: Case, moves: Moves) -> Case:
        """Carry out moves that nothing caused."""
        async with self.database.write() as conn:
            held = await store.load_case(conn, self.vault, case.case_id, lock=True)
            return await self.flow.carry_out(conn, held, moves, actor=SYSTEM, at=await store.now(conn))

    async def advance(self, case: Case, *events: ev.CaseEvent) -> Case:
        """Let something happen to the case."""
        async with self.database.write() as conn:
            held = await store.load_case(conn, self.vault, case.case_id, lock=True)
            return await self.flow.advance(conn, held, events, actor=SYSTEM, at=await store.now(conn))

    async def ready(self, *planned: PlannedCall, applicant: str = "alice") -> tuple[Case, list[UUID]]:
        """A case with calls that may leave."""
        case = await self.open_case(applicant)
        call_ids = await self.plan(case, *planned)
        await self.publish()
        return case, call_ids

    async def publish(self) -> None:
        """Bring the log up to date, so that what is planned may leave."""
        while await self.sequencer.sequence_once():
            pass

    async def record(self, basis: LawfulBasis, *events: BasisEvent) -> LawfulBasis:
        """Record a basis and take it along these edges."""
        async with self.database.write() as conn:
            await bases.record(conn, self.vault, [basis])
            for event in events:
                basis = await bases.move(conn, self.vault, basis.basis_id, event)
        return basis

    async def consent(self, case: Case, **changes: object) -> LawfulBasis:
        """A granted consent to the one fetch of a residence record."""
        return await self.record(consent_basis(case, **changes), BasisEvent.GRANT)

    async def call(self, call_id: UUID) -> calls.Call:
        """A call as it is now."""
        async with self.database.read() as conn:
            call = await calls.load(conn, call_id)
        assert call is not None
        return call

    async def body(self, call_id: UUID) -> bytes | None:
        """The call's body as it is kept now."""
        async with self.database.read() as conn:
            return await calls.body_of(conn, self.vault, call_id)

    async def case(self, case: Case) -> Case:
        """The case as it is now."""
        async with self.database.read() as conn:
            return await store.load_case(conn, self.vault, case.case_id)

    async def events(self, case: Case) -> list[ev.CaseEvent]:
        """What has happened to the case."""
        async with self.database.read() as conn:
            return [item.event for item in await store.history(conn, self.vault, case.case_id)]

    async def failures(self, case: Case) -> list[tuple[str, str]]:
        """Status and reason of each call of the case that failed."""
        return [
            (event.status, event.reason)
            for event in await self.events(case)
            if isinstance(event, ev.CallFailed)
        ]

    async def answers(self, case: Case) -> list[UUID]:
        """Calls of the case that were answered, one entry an answer."""
        return [event.call for event in await self.events(case) if isinstance(event, ev.CallAnswered)]

    async def logged(self, event_type: EventType, subject: str = "alice") -> list[log.Payload]:
        """What the log holds of one type about a person."""
        async with self.database.read() as conn:
            events = await log.payloads(conn, self.vault, subject)
        return [event.payload for event in events if event.type is event_type]

    def worker(self, **settings: float) -> Worker:
        """A worker, not running yet."""
        return Worker(self.database, self.flow, self.agencies, **settings)

    @contextlib.asynccontextmanager
    async def working(self, *workers: Worker) -> AsyncIterator[asyncio.Event]:
        """Run workers (one, if none is given) inside the block; they have stopped when it ends."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(worker.run(stop)) for worker in workers or [self.worker()]]
        try:
            yield stop
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait for something to hold; fail when it takes absurdly long."""
        async with asyncio.timeout(UNTIL_SECONDS_MAX):
            while not await holds():  # noqa: ASYNC110 - what is waited for happens in the database
                await asyncio.sleep(0.02)

    async def until_status(self, status: str, *call_ids: UUID) -> None:
        """Wait until all these calls have this status."""

        async def reached() -> bool:
            return all([(await self.call(call_id)).status == status for call_id in call_ids])

        await self.until(reached)


def consent_basis(case: Case, **changes: object) -> LawfulBasis:
    """A consent as it is shown: one fetch of the residence record."""
    now = dt.datetime.now(dt.UTC)
    basis = LawfulBasis(
        basis_id=uuid7(),
        kind=BasisKind.CONSENT,
        state=BasisState.SHOWN,
        subject=case.applicant,
        case_id=case.case_id,
        service=case.service,
        purpose_code="gold_card.residence_record",
        purpose_text="Get the present residence record",
        grants=(Grant(agency="nia", resource="nia.residence", fields=RESIDENCE_FIELDS, max_uses=1),),
        not_before=now - dt.timedelta(minutes=1),
        expires_at=now + dt.timedelta(days=20),
        notice_sha256="0" * 64,
    )
    return msgspec.structs.replace(basis, **changes)


async def check_history(office: Office, case: Case) -> None:
    """The stored case is what its history makes of an empty one."""
    async with office.database.read() as conn:
        stored = await store.load_case(conn, office.vault, case.case_id)
        history = await store.history(conn, office.vault, case.case_id)
    derived = Case(case_id=case.case_id, number=case.number, service=case.service, applicant=case.applicant)
    for item in history:
        derived = evolve(derived, item.event, item.at)
    assert derived == stored
    assert [item.seq for item in history] == list(range(1, stored.seq + 1))
