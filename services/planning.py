"""Calls before they are made: planned with the log leaf that authorises them, authorised again when claimed.

A data call finds the lawful basis that covers it, is held to its fields and to the bounds of its purpose,
counts as one use, and is stored together with its log event. A control call names its ground. What no basis
covers is no call at all: the case is told so at once. When a worker has claimed a call, the same question is
asked anew, by the basis as it is then.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract import Operation, OperationKind, Request, members_of
from adapters.errors import Unsupported
from consent import bases, log, policy
from consent.errors import CeilingExceeded, NotPermitted
from consent.ids import uuid7
from consent.keys import Vault
from consent.lifecycle import LIVE_STATES
from consent.model import Authority, EventType, LawfulBasis, LogEvent, Permit
from services import calls, catalog
from services import events as ev
from services.case import At, Case
from services.outbox import CallStatus
from services.service import PlannedCall

Operations = Mapping[str, Mapping[str, Operation]]  # agency name -> operation name -> operation


class Planner:
    """Plans calls and authorises them. Holds no state of its own."""

    def __init__(self, vault: Vault, operations: Operations, callback_url: str) -> None:
        self._vault = vault
        self._operations = operations
        self._callback_url = callback_url

    def operation(self, agency: str, name: str) -> Operation:
        """An agency's operation. Raises Unsupported."""
        try:
            return self._operations[agency][name]
        except KeyError:
            raise Unsupported(f"agency '{agency}' has no operation '{name}'") from None

    async def plan(
        self, conn: AsyncConnection, case: Case, planned: Sequence[PlannedCall], at: At
    ) -> list[ev.CaseEvent]:
        """Store calls with the log leaves that authorise them; one that no basis covers fails at once."""
        held = await bases.of_case(conn, self._vault, case.case_id)
        following: list[ev.CaseEvent] = []
        authorised: list[tuple[calls.NewCall, LogEvent]] = []
        for wanted in planned:
            call_id = uuid7()
            try:
                authorised.append(await self._authorise(conn, case, wanted, call_id, held, at))
            except NotPermitted as error:
                following.append(
                    ev.CallFailed(
                        call=call_id,
                        agency=wanted.agency,
                        operation=wanted.operation,
                        status=CallStatus.REFUSED,
                        reason=f"not permitted: {error.reason}",
                    )
                )
            else:
                following.append(
                    ev.CallPlanned(call=call_id, agency=wanted.agency, operation=wanted.operation)
                )
        event_ids = await log.append(conn, self._vault, [event for _, event in authorised])
        stored = [
            msgspec.structs.replace(call, event_id=event_id)
            for (call, _), event_id in zip(authorised, event_ids, strict=True)
        ]
        await calls.store(conn, self._vault, stored, at.machine)
        return following

    async def _authorise(
        self,
        conn: AsyncConnection,
        case: Case,
        wanted: PlannedCall,
        call_id: UUID,
        held: Sequence[bases.StoredBasis],
        at: At,
    ) -> tuple[calls.NewCall, LogEvent]:
        """The call as it will be stored and the log event that states why it may be made."""
        operation = self.operation(wanted.agency, wanted.operation)
        data = msgspec.json.encode(wanted.data)
        basis = None
        purpose = operation.ground
        fields: tuple[str, ...] = ()
        if operation.kind is OperationKind.DATA:
            found = _covering(held, wanted.agency, operation.resource)
            _check_purpose(case, found.basis)
            item, grant = policy.item_for(found.basis, wanted.agency, operation.resource)
            policy.permit(
                found.basis,
                sha256=found.sha256,
                call_id=call_id,
                agency=wanted.agency,
                resource=operation.resource,
                fields=members_of(object_in(data)),
                status=found.status,
                now=at.machine,
            )
            await bases.use(conn, found.basis.basis_id, item, grant, call_id)
            basis, purpose, fields = found.basis, found.basis.purpose_code, grant.fields
        body = Request(
            call=call_id,
            case=case.number,
            purpose=purpose,
            filed_at=_rfc3339(case.submitted_at),
            callback=self._callback_url,
            data=msgspec.Raw(data),
        )
        call = calls.NewCall(
            call_id=call_id,
            case_id=case.case_id,
            case_number=case.number,
            agency=wanted.agency,
            operation=wanted.operation,
            kind=operation.kind,
            basis_id=basis.basis_id if basis else None,
            basis_revision=basis.revision if basis else None,
            event_id=call_id,  # replaced by the leaf's own id once it is appended
            body=msgspec.json.encode(body),
        )
        event = LogEvent(
            type=EventType.CALL_AUTHORIZED,
            subject=case.applicant,
            agency=wanted.agency,
            basis=basis.kind if basis else "",
            basis_id=str(basis.basis_id) if basis else "",
            call=str(call_id),
            case=str(case.case_id),
            purpose=purpose,
            fields=fields,
            details={"operation": wanted.operation},
        )
        return call, event

    async def authorities(
        self, conn: AsyncConnection, claimed: Sequence[calls.Call], now: dt.datetime
    ) -> list[Permit | Authority | NotPermitted | Unsupported]:
        """What each call may be made with, by its basis as it is now; the refusal where there is nothing."""
        wanted = {call.basis_id for call in claimed if call.basis_id is not None}
        held = await bases.load_many(conn, self._vault, wanted) if wanted else {}
        return [self._authority(call, held, now) for call in claimed]

    def _authority(
        self, call: calls.Call, held: Mapping[UUID, bases.StoredBasis], now: dt.datetime
    ) -> Permit | Authority | NotPermitted | Unsupported:
        try:
            operation = self.operation(call.agency, call.operation)
        except Unsupported as error:  # the agency is no longer configured
            return error
        if call.basis_id is None:
            return Authority(
                call_id=call.call_id,
                case_reference=call.case_number,
                agency=call.agency,
                resource=operation.resource,
                ground=operation.ground,
            )
        stored = held.get(call.basis_id)
        if stored is None:
            return NotPermitted("unknown", "the lawful basis is gone or cannot be read")
        try:
            return policy.permit(
                stored.basis,
                sha256=stored.sha256,
                call_id=call.call_id,
                agency=call.agency,
                resource=operation.resource,
                fields=(),
                status=stored.status,
                now=now,
            )
        except NotPermitted as error:
            return error


def _covering(held: Sequence[bases.StoredBasis], agency: str, resource: str) -> bases.StoredBasis:
    """The basis for an agency and resource: a live one before any other, the newest before older ones."""
    covering = [
        stored
        for stored in held
        if any(grant.agency == agency and grant.resource == resource for grant in stored.basis.grants)
    ]
    if not covering:
        raise NotPermitted("no-basis", f"no lawful basis covers {resource} at {agency}")
    live = [stored for stored in covering if stored.basis.state in LIVE_STATES]
    return (live or covering)[-1]


def _check_purpose(case: Case, basis: LawfulBasis) -> None:
    """Raise NotPermitted when a basis asks for more than its purpose allows, as the catalogue is today."""
    try:
        catalog.service_info(case.service).purpose(basis.purpose_code).check(basis)
    except (CeilingExceeded, KeyError) as error:
        raise NotPermitted("beyond-purpose", "the basis asks for more than its purpose allows") from error


def object_in(raw: bytes) -> dict[str, object]:
    """A JSON object's raw members. Raises Unsupported for anything else."""
    try:
        return msgspec.json.decode(raw, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unsupported("the answer is not a JSON object") from error


def _rfc3339(instant: dt.datetime | None) -> str:
    return "" if instant is None else instant.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
