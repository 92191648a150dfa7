"""The outbox: duties towards agencies, kept in SQL until each has had its one answer.

A call is planned in the transaction that made it necessary, together with its log leaf; it may leave once
that leaf is under a published checkpoint. A worker claims due calls with a lease: expired leases first, then
by due time, skipping rows that others hold. Every claim raises the fence, so that a worker that lost its
lease cannot write a result. A claimed call counts as maybe sent until its result says otherwise, and what was
maybe sent is asked about before it is sent again.

The functions here take the caller's connection and move rows; `services.worker` drives them and
`services.flow` says what an answer means for a case. Times are machine time.
"""

import datetime as dt
import hashlib
import random
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract import OperationKind
from adapters.limits import backoff_seconds
from consent.database import hint
from consent.ids import shard_of
from consent.keys import Vault, open_sealed, seal
from consent.store import log_entry, log_published
from services.errors import NotAllowed
from services.outbox import CLAIMABLE, ENDED, CallStatus, Lease
from services.store import agency_call

ATTEMPTS_MAX = 24  # with back-off of up to 15 minutes, an agency may be away for some two hours
TOPIC = "call.ready"

_jitter = random.Random()  # noqa: S311 - spreads retries, guards nothing


class NewCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call about to be stored, with the log event that authorises it."""

    call_id: UUID
    case_id: UUID
    case_number: str
    agency: str
    operation: str
    kind: OperationKind
    basis_id: UUID | None
    basis_revision: int | None
    event_id: UUID
    body: bytes


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A stored call, without its body."""

    call_id: UUID
    case_id: UUID
    case_number: str
    agency: str
    operation: str
    kind: OperationKind
    basis_id: UUID | None
    status: CallStatus
    maybe_sent: bool
    attempts: int
    answer_digest: bytes | None
    reason: str


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A call that this worker holds: its lease, its body, and whether to ask before sending."""

    call: Call
    lease: Lease
    body: bytes
    ask_first: bool


async def store(conn: AsyncConnection, vault: Vault, calls: Sequence[NewCall], now: dt.datetime) -> None:
    """Put calls into the outbox, due at once (their leaves permitting)."""
    if not calls:
        return
    keys = await vault.case_keys(conn, {call.case_id for call in calls})
    rows = [
        {
            "call_id": call.call_id,
            "shard": shard_of(call.call_id),
            "case_id": call.case_id,
            "case_number": call.case_number,
            "agency": call.agency,
            "operation": call.operation,
            "kind": call.kind,
            "basis_id": call.basis_id,
            "basis_revision": call.basis_revision,
            "event_id": call.event_id,
            "digest": hashlib.sha256(call.body).digest(),
            "body": seal(keys[call.case_id], call.body, f"agency_call/{call.call_id}"),
            "status": CallStatus.READY,
            "maybe_sent": 0,
            "attempts": 0,
            "due_at": now,
            "fence": 0,
            "reason": "",
        }
        for call in calls
    ]
    await conn.execute(insert(agency_call), rows)


async def anything_due(conn: AsyncConnection, now: dt.datetime) -> bool:
    """Whether a claim would find something, but for other workers' locks."""
    query = (
        select(agency_call.c.call_id)
        .where(
            or_(
                and_(agency_call.c.status.in_(CLAIMABLE), agency_call.c.due_at <= now),
                and_(agency_call.c.status == CallStatus.LEASED, agency_call.c.lease_until <= now),
            )
        )
        .limit(1)
    )
    return (await conn.execute(query)).one_or_none() is not None


async def claim(
    conn: AsyncConnection,
    vault: Vault,
    owner: UUID,
    *,
    now: dt.datetime,
    lease_seconds: float,
    limit: int,
    skip: Sequence[str] = (),
) -> list[Claimed]:
    """Lease up to `limit` calls whose leaves are published: expired leases first, then by due time.

    `skip` names agencies that are not called now (breaker open, or all their places taken). A call that cannot
    be worked on is buried here, so that it never keeps others from being claimed.
    """
    expired = await _claimable(
        conn,
        and_(agency_call.c.status == CallStatus.LEASED, agency_call.c.lease_until <= now),
        agency_call.c.lease_until,
        limit,
        skip,
    )
    due: Sequence[Row[tuple[object, ...]]] = []
    if len(expired) < limit:
        due = await _claimable(
            conn,
            and_(agency_call.c.status.in_(CLAIMABLE), agency_call.c.due_at <= now),
            agency_call.c.due_at,
            limit - len(expired),
            skip,
        )
    rows = [*expired, *due]
    keys = await vault.case_keys(conn, {row.case_id for row in rows})
    for row in rows:
        if reason := _hopeless(row, keys):
            await bury(conn, row.call_id, reason)
    rows = [row for row in rows if not _hopeless(row, keys)]
    if not rows:
        return []
    await conn.execute(
        update(agency_call)
        .where(agency_call.c.call_id.in_([row.call_id for row in rows]))
        .values(
            status=CallStatus.LEASED,
            lease_owner=owner,
            lease_until=now + dt.timedelta(seconds=lease_seconds),
            fence=agency_call.c.fence + 1,
            attempts=agency_call.c.attempts + 1,
            maybe_sent=1,
        )
    )
    return [
        Claimed(
            call=_call(row),
            lease=Lease(call_id=row.call_id, owner=owner, fence=row.fence + 1),
            body=open_sealed(keys[row.case_id], row.body, f"agency_call/{row.call_id}"),
            ask_first=bool(row.maybe_sent),
        )
        for row in rows
    ]


async def renew(
    conn: AsyncConnection, leases: Sequence[Lease], *, now: dt.datetime, lease_seconds: float
) -> None:
    """Prolong leases that are still their owner's; one whose result is being written needs it no more."""
    fences = {lease.call_id: (lease.owner, lease.fence) for lease in leases}
    query = select(agency_call.c.call_id, agency_call.c.lease_owner, agency_call.c.fence).where(
        agency_call.c.call_id.in_(list(fences)), agency_call.c.status == CallStatus.LEASED
    )
    if conn.dialect.name == "postgresql":
        query = query.with_for_update(skip_locked=True)
    rows = (await conn.execute(query)).all()
    mine = [row.call_id for row in rows if fences[row.call_id] == (row.lease_owner, row.fence)]
    await conn.execute(
        update(agency_call)
        .where(agency_call.c.call_id.in_(mine))
        .values(lease_until=now + dt.timedelta(seconds=lease_seconds))
    )


async def load(conn: AsyncConnection, call_id: UUID, *, lock: bool = False) -> Call | None:
    """One call; locked where it is about to end."""
    query = select(agency_call).where(agency_call.c.call_id == call_id)
    if lock and conn.dialect.name == "postgresql":
        query = query.with_for_update()
    row = (await conn.execute(query)).one_or_none()
    return None if row is None else _call(row)


async def body_of(conn: AsyncConnection, vault: Vault, call_id: UUID) -> bytes | None:
    """The stored body of a call that has not ended."""
    query = select(agency_call.c.case_id, agency_call.c.body).where(agency_call.c.call_id == call_id)
    row = (await conn.execute(query)).one_or_none()
    if row is None or row.body is None:
        return None
    return open_sealed(await vault.case_key(conn, row.case_id), row.body, f"agency_call/{call_id}")


async def held(conn: AsyncConnection, leases: Sequence[Lease]) -> dict[UUID, Call]:
    """The calls that their leases still hold, locked in the order of their ids.

    A call that another worker took over, or that has ended, is not among them.
    """
    fences = {lease.call_id: (lease.owner, lease.fence) for lease in leases}
    query = (
        select(agency_call)
        .where(agency_call.c.call_id.in_(list(fences)), agency_call.c.status == CallStatus.LEASED)
        .order_by(agency_call.c.call_id)
    )
    if conn.dialect.name == "postgresql":
        query = query.with_for_update()
    rows = (await conn.execute(query)).all()
    return {row.call_id: _call(row) for row in rows if fences[row.call_id] == (row.lease_owner, row.fence)}


async def end(
    conn: AsyncConnection, call_id: UUID, status: CallStatus, *, reason: str = "", answer: bytes = b""
) -> None:
    """End a call for good: its body goes, its fence rises so that no worker's late result counts."""
    if status not in ENDED:
        raise ValueError(f"'{status}' does not end a call")
    digest = _digest(answer) if answer else None
    await _release(conn, call_id, status=status, reason=reason, body=None, answer_digest=digest)


async def bury(conn: AsyncConnection, call_id: UUID, reason: str) -> None:
    """Give a call up: dead, but kept whole for an operator or a late answer."""
    await _release(conn, call_id, status=CallStatus.DEAD, reason=reason)


async def retry(conn: AsyncConnection, call_id: UUID, now: dt.datetime) -> bool:
    """Make a dead call due again, with all its attempts; False when it is not dead."""
    revived = await conn.execute(
        update(agency_call)
        .where(agency_call.c.call_id == call_id, agency_call.c.status == CallStatus.DEAD)
        .values(status=CallStatus.UNKNOWN, attempts=0, due_at=now, maybe_sent=1)
    )
    await hint(conn, TOPIC)
    return revived.rowcount == 1


async def stuck(conn: AsyncConnection, limit: int = 100) -> list[Call]:
    """Dead calls and those whose outcome is unknown, oldest first."""
    query = (
        select(agency_call)
        .where(agency_call.c.status.in_([CallStatus.DEAD, CallStatus.UNKNOWN]))
        .order_by(agency_call.c.due_at)
        .limit(limit)
    )
    return [_call(row) for row in (await conn.execute(query)).all()]


def _digest(answer: bytes) -> bytes:
    """Equal for equal JSON: a callback and a polled reply may be spelled differently."""
    return hashlib.sha256(msgspec.json.encode(msgspec.json.decode(answer), order="sorted")).digest()


async def _release(conn: AsyncConnection, call_id: UUID, **values: object) -> None:
    await conn.execute(
        update(agency_call)
        .where(agency_call.c.call_id == call_id)
        .values(lease_owner=None, lease_until=None, fence=agency_call.c.fence + 1, **values)
    )


async def again(
    conn: AsyncConnection,
    call: Call,
    status: CallStatus,
    *,
    now: dt.datetime,
    after_seconds: float,
    reason: str = "",
    maybe_sent: bool = True,
    attempts: int | None = None,
) -> None:
    """Give the lease back and make the call due again later; `attempts` where this one is not to count."""
    await conn.execute(
        update(agency_call)
        .where(agency_call.c.call_id == call.call_id)
        .values(
            status=status,
            reason=reason,
            maybe_sent=int(maybe_sent),
            attempts=call.attempts if attempts is None else attempts,
            due_at=now + dt.timedelta(seconds=after_seconds),
            lease_owner=None,
            lease_until=None,
        )
    )
    await hint(conn, TOPIC)


def check_same_answer(call: Call, answer: bytes) -> None:
    """A second answer to a call that has ended must be the first one again. Raises NotAllowed."""
    if call.answer_digest is not None and call.answer_digest != _digest(answer):
        raise NotAllowed("answer", "此案件已有不同的回復", "this call has been answered otherwise before")


def delay_seconds(call: Call, retry_after_seconds: float | None) -> float:
    """How long a failed call rests: the agency's own wish, or back-off with jitter by its attempts."""
    if retry_after_seconds is not None:
        return retry_after_seconds
    return backoff_seconds(call.attempts, _jitter)


def _hopeless(row: Row[tuple[object, ...]], keys: Mapping[UUID, bytes]) -> str:
    """Why there is no use in claiming a call once more; empty when there is."""
    if row.case_id not in keys:
        return "key destroyed"
    return "attempts spent" if row.attempts >= ATTEMPTS_MAX else ""


async def _claimable(
    conn: AsyncConnection,
    condition: ColumnElement[bool],
    order: ColumnElement[dt.datetime],
    limit: int,
    skip: Sequence[str],
) -> Sequence[Row[tuple[object, ...]]]:
    published = select(log_published.c.size).scalar_subquery()
    query = (
        select(agency_call)
        .join(log_entry, log_entry.c.event_id == agency_call.c.event_id)
        .where(condition, log_entry.c.idx < published)
        .order_by(order)
        .limit(limit)
    )
    if skip:
        query = query.where(agency_call.c.agency.not_in(list(skip)))
    if conn.dialect.name == "postgresql":
        query = query.with_for_update(of=agency_call, skip_locked=True)
    return (await conn.execute(query)).all()


def _call(row: Row[tuple[object, ...]]) -> Call:
    return Call(
        call_id=row.call_id,
        case_id=row.case_id,
        case_number=row.case_number,
        agency=row.agency,
        operation=row.operation,
        kind=OperationKind(row.kind),
        basis_id=row.basis_id,
        status=CallStatus(row.status),
        maybe_sent=bool(row.maybe_sent),
        attempts=row.attempts,
        answer_digest=row.answer_digest,
        reason=row.reason,
    )
