"""The orchestration: what an event sets off, and what an agency's answer means. The only place that does both.

`advance` appends events to a case, lets the service react, and carries its moves out: further events, agency
calls (`services.planning`), timers, bases that begin or end. All of it is in the caller's transaction, so that
a case never stands between two states and no call exists without its reason.

`answer` is where data comes in: the lawful basis is checked again as it is now, what lies beyond it is dropped
and logged before anything is stored, and only then does the answer's strict shape apply.
"""

import asyncio
import datetime as dt
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from uuid import UUID

import msgspec
from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract import Operation, Request
from adapters.errors import Unsupported
from consent import bases, log, policy
from consent.errors import NotPermitted
from consent.ids import uuid7
from consent.keys import Vault
from consent.lifecycle import BasisEvent
from consent.model import BasisState, EventType, Grant, LogEvent
from services import calls, documents, issued, store
from services import events as ev
from services.case import At, Case, evolve, new_number
from services.errors import CaseNotFound, ServiceNotFound
from services.outbox import CallStatus
from services.planning import Operations, Planner, object_in
from services.sealing import Sealer
from services.service import Moves, Service
from services.text import Language

# How a basis ends with its case: a consent has no purpose left either, whether it was used or not.
ENDS = {
    BasisState.RECORDED: BasisEvent.END,
    BasisState.IN_FORCE: BasisEvent.END,
    BasisState.SHOWN: BasisEvent.LAPSE,
    BasisState.GRANTED: BasisEvent.EXPIRE,
    BasisState.PAUSED: BasisEvent.EXPIRE,
}
EVENTS_MAX = 200
SYSTEM = "system"


class Flow:
    """Moves cases. Holds no state of its own: any number of processes may have one."""

    def __init__(
        self,
        vault: Vault,
        services: Mapping[str, Service],
        operations: Operations,
        callback_url: str,
        sealer: Sealer,
    ) -> None:
        self.vault = vault
        self.services = services
        self.planner = Planner(vault, operations, callback_url)
        self._sealer = sealer

    def service_of(self, case: Case) -> Service:
        """The service a case is for."""
        return self.service(case.service)

    def service(self, service_id: str) -> Service:
        """A service by id. Raises ServiceNotFound."""
        try:
            return self.services[service_id]
        except KeyError:
            raise ServiceNotFound(f"there is no service '{service_id}'") from None

    async def open_case(
        self, conn: AsyncConnection, service_id: str, applicant: str, language: Language
    ) -> Case:
        """A new draft."""
        at = await store.now(conn)
        self.service(service_id).edition_on(at.legal_date)
        case = Case(
            case_id=uuid7(), number=new_number(at.legal_date), service=service_id, applicant=applicant
        )
        await store.insert_case(conn, self.vault, case, at)
        return await self.advance(conn, case, [ev.Created(language=language)], actor=applicant, at=at)

    async def advance(
        self, conn: AsyncConnection, case: Case, first: Sequence[ev.CaseEvent], *, actor: str, at: At
    ) -> Case:
        """Append the events and everything that follows from them; returns the case as it then is.

        The caller holds the case (loaded with `lock=True`, or just made).
        """
        service = self.service_of(case)
        queue = deque(first)
        added: list[tuple[int, ev.CaseEvent]] = []
        while queue:
            if len(added) >= EVENTS_MAX:
                raise RuntimeError(f"one step of service '{case.service}' made over {EVENTS_MAX} events")
            event = queue.popleft()
            case = evolve(case, event, at)
            added.append((case.seq, event))
            queue.extend(await self._carry_out(conn, case, service.react(case, event, at), at))
        await store.save_case(conn, self.vault, case, added, actor, at)
        return case

    async def carry_out(self, conn: AsyncConnection, case: Case, moves: Moves, *, actor: str, at: At) -> Case:
        """Carry out moves that no event caused (a consent was granted)."""
        return await self.advance(
            conn, case, await self._carry_out(conn, case, moves, at), actor=actor, at=at
        )

    async def answer(self, conn: AsyncConnection, call: calls.Call, raw: bytes, at: At) -> None:
        """Take an agency's answer in: check, filter, log, end the call, move the case.

        Raises Unsupported when the answer has not the operation's shape. A basis that no longer holds
        withholds the answer: nothing of it is stored, and the case is told that the call failed.
        """
        operation = self.planner.operation(call.agency, call.operation)
        case = await store.load_case(conn, self.vault, call.case_id, lock=True)
        try:
            grant, stored = await self._answer_grant(conn, call, operation, at)
        except NotPermitted as error:
            await self._log(conn, case, call, EventType.DATA_WITHHELD, details={"reason": error.reason})
            await self._fail(conn, case, call, CallStatus.REFUSED, f"withheld: {error.reason}", at)
            return
        data = object_in(raw)
        allowed = operation.answer.__struct_fields__ if grant is None else grant.fields
        released = policy.release(allowed, data)
        if released.surplus:
            await self._log(conn, case, call, EventType.DATA_SURPLUS, stored, _named(released.surplus))
        _check_shape(operation, released)
        answered = ev.CallAnswered(
            call=call.call_id, agency=call.agency, operation=call.operation, data=released.data
        )
        async with (
            conn.begin_nested()
        ):  # an answer that leads nowhere (an unknown agency) leaves nothing behind
            await calls.end(conn, call.call_id, CallStatus.DONE, answer=raw)
            if stored is not None:
                await self._log(conn, case, call, EventType.DATA_RELEASED, stored, released.fields)
            if stored is not None and await bases.spent(conn, stored.basis):
                await bases.move(conn, self.vault, stored.basis.basis_id, BasisEvent.CONSUME)
            await self.advance(conn, case, [answered], actor=call.agency, at=at)

    async def fail(
        self, conn: AsyncConnection, call: calls.Call, status: CallStatus, reason: str, at: At
    ) -> None:
        """End a call without an answer, and tell its case."""
        case = await store.load_case(conn, self.vault, call.case_id, lock=True)
        await self._fail(conn, case, call, status, reason, at)

    async def withhold(self, conn: AsyncConnection, call: calls.Call, error: NotPermitted, at: At) -> None:
        """End a call that its lawful basis no longer covers before it left, and log that it did not."""
        case = await store.load_case(conn, self.vault, call.case_id, lock=True)
        await self._log(conn, case, call, EventType.DATA_WITHHELD, details={"reason": error.reason})
        await self._fail(conn, case, call, CallStatus.REFUSED, f"not permitted: {error.reason}", at)

    async def _fail(
        self, conn: AsyncConnection, case: Case, call: calls.Call, status: CallStatus, reason: str, at: At
    ) -> None:
        if status is CallStatus.DEAD:
            await calls.bury(conn, call.call_id, reason)
        else:
            await calls.end(conn, call.call_id, status, reason=reason)
        failed = ev.CallFailed(
            call=call.call_id, agency=call.agency, operation=call.operation, status=status, reason=reason
        )
        await self.advance(conn, case, [failed], actor=SYSTEM, at=at)

    async def release_document(
        self, conn: AsyncConnection, call: calls.Call, document_id: UUID, at: At
    ) -> bytes:
        """Content of a document that an open call names, while its basis is live; each release is logged.

        Raises CaseNotFound when the call does not name it, NotPermitted when the basis no longer holds.
        """
        body = await calls.body_of(conn, self.vault, call.call_id)
        if body is None or call.basis_id is None or str(document_id) not in _named_documents(body):
            raise CaseNotFound("no such document")
        operation = self.planner.operation(call.agency, call.operation)
        case = await store.load_case(conn, self.vault, call.case_id, lock=True)
        _, stored = await self._answer_grant(conn, call, operation, at)
        details = {"document": str(document_id)}
        await self._log(conn, case, call, EventType.DATA_RELEASED, stored, ("documents",), details)
        return await documents.read(conn, self.vault, call.case_id, document_id)

    async def _carry_out(self, conn: AsyncConnection, case: Case, moves: Moves, at: At) -> list[ev.CaseEvent]:
        """Do what the moves ask for beyond events; returns the events that this and they make."""
        if moves.take_effect:
            await self._move_bases(conn, case, {BasisState.RECORDED: BasisEvent.TAKE_EFFECT})
        following: list[ev.CaseEvent] = list(moves.events)
        if moves.calls:
            following.extend(await self.planner.plan(conn, case, moves.calls, at))
        for timer in moves.timers:
            await _set_timer(conn, case.case_id, timer.name, timer.due_at)
        if moves.issue_outcome:
            following.append(await self._issue(conn, case, at))
        if moves.end_bases:
            await self._move_bases(conn, case, ENDS, lasting=moves.lasting)
        return following

    async def _answer_grant(
        self, conn: AsyncConnection, call: calls.Call, operation: Operation, at: At
    ) -> tuple[Grant | None, bases.StoredBasis | None]:
        """The item under which an answer may come in, checked as the basis is now; none for control calls."""
        if call.basis_id is None:
            return None, None
        stored = await bases.load(conn, self.vault, call.basis_id, lock=True)
        policy.permit(
            stored.basis,
            sha256=stored.sha256,
            call_id=call.call_id,
            agency=call.agency,
            resource=operation.resource,
            fields=(),
            status=stored.status,
            now=at.machine,
        )
        return policy.item_for(stored.basis, call.agency, operation.resource)[1], stored

    async def _log(
        self,
        conn: AsyncConnection,
        case: Case,
        call: calls.Call,
        event_type: EventType,
        stored: bases.StoredBasis | None = None,
        fields: tuple[str, ...] = (),
        details: dict[str, str] | None = None,
    ) -> None:
        basis = stored.basis if stored else None
        event = LogEvent(
            type=event_type,
            subject=case.applicant,
            agency=call.agency,
            basis=basis.kind if basis else "",
            basis_id=str(call.basis_id or ""),
            call=str(call.call_id),
            case=str(case.case_id),
            purpose=basis.purpose_code if basis else "",
            fields=fields,
            details={"operation": call.operation, **(details or {})},
        )
        await log.append(conn, self.vault, [event])

    async def _move_bases(
        self,
        conn: AsyncConnection,
        case: Case,
        edges: Mapping[BasisState, BasisEvent],
        lasting: Collection[str] = (),
    ) -> None:
        for stored in await bases.of_case(conn, self.vault, case.case_id):
            event = edges.get(stored.basis.state)
            if event and stored.basis.purpose_code not in lasting:
                await bases.move(conn, self.vault, stored.basis.basis_id, event)

    async def _issue(self, conn: AsyncConnection, case: Case, at: At) -> ev.OutcomeIssued:
        service = self.service_of(case)
        facts = service.outcome_essentials(case)
        # In a thread: setting and sealing compute for longer than the event loop may stand still.
        made = await asyncio.to_thread(
            self._sealer.issue, facts, partial(service.render_outcome, case), at.machine
        )
        kept = await documents.keep(
            conn, self.vault, case.case_id, slot="outcome", media_type="application/pdf", content=made.pdf
        )
        await issued.record(
            conn,
            self.vault,
            case.case_id,
            document_id=kept.document_id,
            public_id=made.public_id,
            facts=facts,
            at=at,
        )
        return ev.OutcomeIssued(document=kept)


def _check_shape(operation: Operation, released: policy.Released) -> None:
    """What the basis lets through must be an answer. Raises Unsupported.

    An answer all of which lies beyond the basis is none: the rest of it must not pass for "no such record".
    """
    if released.surplus and not released.fields:
        raise Unsupported(f"nothing in the answer to '{operation.name}' is the contract's")
    try:
        msgspec.convert(released.data, operation.answer)
    except msgspec.ValidationError as error:
        raise Unsupported(f"the answer to '{operation.name}' has not the contract's shape") from error


def _named_documents(body: bytes) -> set[str]:
    """Ids of the documents that a stored request refers to."""
    data = object_in(bytes(msgspec.json.decode(body, type=Request).data))
    named = data.get("documents", [])
    return {str(item["document"]) for item in named} if isinstance(named, list) else set()


def _named(surplus: Sequence[str]) -> tuple[str, ...]:
    """Names of surplus members as the log may hold them: an agency chose these words, so they are bounded."""
    names_max, length_max = 50, 80
    return tuple(name[:length_max] for name in surplus[:names_max])


async def _set_timer(conn: AsyncConnection, case_id: UUID, name: str, due_at: dt.datetime | None) -> None:
    await conn.execute(
        delete(store.timer).where(store.timer.c.case_id == case_id, store.timer.c.name == name)
    )
    if due_at is not None:
        await conn.execute(insert(store.timer), {"case_id": case_id, "name": name, "due_at": due_at})
