"""The tables of this package, and how a case is kept in them.

`service_case` holds what queries need and the case as derived from its history, sealed under the case's key;
`case_event` holds the history, each payload sealed. Both are written in one transaction. Whoever moves a case
loads it with `lock=True` first: on PostgreSQL that locks its row, on SQLite the writer is alone anyway. Locks
are taken in one order everywhere, so that no two transactions wait for each other: calls, then their cases,
then a case's lawful bases, then its applicant's place in the log.
"""

import datetime as dt
from collections.abc import Collection
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Uuid,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.database import Instant, machine_time
from consent.ids import shard_of
from consent.keys import Vault, open_sealed, seal
from consent.store import metadata as consent_metadata
from consent.store import one_of
from services import events as ev
from services.case import At, Case
from services.errors import CaseNotFound
from services.outbox import CallStatus

metadata = MetaData(naming_convention=consent_metadata.naming_convention)

service_case = Table(
    "service_case",
    metadata,
    Column("case_id", Uuid, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("number", String(12), nullable=False, unique=True),
    Column("service", String(40), nullable=False),
    Column("edition", String(10), nullable=False),
    Column("applicant", String(36), nullable=False),
    Column("state", String(24), nullable=False),
    Column("version", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    one_of("state", ev.State),
    Index(None, "applicant", "case_id"),
)

case_event = Table(
    "case_event",
    metadata,
    Column("case_id", Uuid, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("type", String(32), nullable=False),
    Column("v", SmallInteger, nullable=False),
    Column("machine_time", Instant, nullable=False),
    Column("legal_time", Instant, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

# `sha256` stands in the case only: an address made under the case's key says nothing once the key is gone.
document = Table(
    "document",
    metadata,
    Column("document_id", Uuid, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("case_id", Uuid, nullable=False),
    Column("address", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Index(None, "case_id"),
)

document_chunk = Table(
    "document_chunk",
    metadata,
    Column("document_id", Uuid, primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("sealed", LargeBinary, nullable=False),
)

# What was issued and can be verified: found by a keyed hash of its public id, told from what is sealed.
issued_document = Table(
    "issued_document",
    metadata,
    Column("document_id", Uuid, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("case_id", Uuid, nullable=False),
    Column("lookup", LargeBinary, nullable=False, unique=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("revoked_at", Instant),
    Index(None, "case_id"),
)

agency_call = Table(
    "agency_call",
    metadata,
    Column("call_id", Uuid, primary_key=True),  # also idempotency key and the token's `txn`
    Column("shard", SmallInteger, nullable=False),
    Column("case_id", Uuid, nullable=False),
    Column("case_number", String(12), nullable=False),
    Column("agency", String(60), nullable=False),
    Column("operation", String(60), nullable=False),
    Column("kind", String(7), nullable=False),
    Column("basis_id", Uuid),
    Column("basis_revision", Integer),
    Column("event_id", Uuid, nullable=False),  # the log leaf that must be published before the call leaves
    Column("digest", LargeBinary, nullable=False),
    Column("body", LargeBinary),  # sealed; NULL once the call has ended
    Column("status", String(8), nullable=False),
    Column("maybe_sent", Integer, nullable=False),  # 1: it may have taken effect, so ask before sending
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("lease_owner", Uuid),
    Column("lease_until", Instant),
    Column("fence", Integer, nullable=False),
    Column("answer_digest", LargeBinary),
    Column("reason", String(60), nullable=False),
    one_of("status", CallStatus),
    Index(None, "status", "due_at"),
    Index(None, "status", "lease_until"),
    Index(None, "case_id"),
)

# Every payment notice ever taken, by the payment service's own number: a second one changes nothing.
payment = Table(
    "payment",
    metadata,
    Column("payment", String(80), primary_key=True),
    Column("call_id", Uuid, nullable=False),
    Column("amount_ntd", Integer, nullable=False),
    Column("paid_at", Instant, nullable=False),
)

# Waits in legal time; due ones are found by one index whatever their number.
timer = Table(
    "timer",
    metadata,
    Column("case_id", Uuid, primary_key=True),
    Column("name", String(40), primary_key=True),
    Column("due_at", Instant, nullable=False, index=True),
)

idempotent_answer = Table(
    "idempotent_answer",
    metadata,
    Column("owner", String(36), primary_key=True),
    Column("key", String(80), primary_key=True),
    Column("request_digest", LargeBinary, nullable=False),
    Column("case_id", Uuid),  # this and `sealed` are NULL only inside the transaction that does the work
    Column("status", SmallInteger, nullable=False),
    Column("sealed", LargeBinary),
    Column("created_at", Instant, nullable=False, index=True),
)

# One row: how far legal time runs ahead of machine time. Zero in production.
legal_clock = Table(
    "legal_clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("offset_seconds", BigInteger, nullable=False),
)


async def now(conn: AsyncConnection) -> At:
    """Machine time and legal time of the database, read once."""
    machine = await machine_time(conn)
    offset = (await conn.execute(select(legal_clock.c.offset_seconds))).scalar_one_or_none() or 0
    return At(machine=machine, legal=machine + dt.timedelta(seconds=offset))


async def move_legal_clock(conn: AsyncConnection, days: int) -> At:
    """Move legal time ahead by whole days. Only a sandbox has a route to this."""
    moved = update(legal_clock).values(offset_seconds=legal_clock.c.offset_seconds + days * 86_400)
    if (await conn.execute(moved)).rowcount == 0:
        await conn.execute(insert(legal_clock), {"id": 1, "offset_seconds": days * 86_400})
    return await now(conn)


async def legal_offset_seconds(conn: AsyncConnection) -> int:
    """How far legal time runs ahead of machine time."""
    return (await conn.execute(select(legal_clock.c.offset_seconds))).scalar_one_or_none() or 0


async def insert_case(conn: AsyncConnection, vault: Vault, case: Case, at: At) -> None:
    """Store a new case, before its first event."""
    row = {
        "case_id": case.case_id,
        "shard": shard_of(case.case_id),
        "number": case.number,
        "service": case.service,
        "applicant": case.applicant,
        **await _changing(conn, vault, case, at),
    }
    await conn.execute(insert(service_case), row)


async def load_case(conn: AsyncConnection, vault: Vault, case_id: UUID, *, lock: bool = False) -> Case:
    """The case; locked where it is about to be moved. Raises CaseNotFound."""
    query = select(service_case.c.sealed).where(service_case.c.case_id == case_id)
    if lock and conn.dialect.name == "postgresql":
        query = query.with_for_update()
    sealed = (await conn.execute(query)).scalar_one_or_none()
    if sealed is None:
        raise CaseNotFound("no such case")
    return _open_case(await vault.case_key(conn, case_id), case_id, sealed)


async def save_case(
    conn: AsyncConnection,
    vault: Vault,
    case: Case,
    added: list[tuple[int, ev.CaseEvent]],
    actor: str,
    at: At,
) -> None:
    """Append the events (with their numbers) and store the case that they made, in the caller's transaction."""
    key = await vault.case_key(conn, case.case_id)
    rows = [
        {
            "case_id": case.case_id,
            "seq": seq,
            "type": ev.type_of(event),
            "v": ev.VERSION,
            "machine_time": at.machine,
            "legal_time": at.legal,
            "actor": actor,
            "sealed": seal(key, ev.encode(event), f"case_event/{case.case_id}/{seq}"),
        }
        for seq, event in added
    ]
    if rows:
        await conn.execute(insert(case_event), rows)
    await conn.execute(
        update(service_case)
        .where(service_case.c.case_id == case.case_id)
        .values(await _changing(conn, vault, case, at))
    )


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a history, as read back."""

    seq: int
    at: At
    actor: str
    event: ev.CaseEvent


async def history(
    conn: AsyncConnection, vault: Vault, case_id: UUID, *, after: int = 0, limit: int = 1000
) -> list[RecordedEvent]:
    """The case's events after a number, in order, at most `limit`."""
    key = await vault.case_key(conn, case_id)
    query = (
        select(case_event)
        .where(case_event.c.case_id == case_id, case_event.c.seq > after)
        .order_by(case_event.c.seq)
        .limit(limit)
    )
    return [
        RecordedEvent(
            seq=row.seq,
            at=At(machine=row.machine_time, legal=row.legal_time),
            actor=row.actor,
            event=ev.decode(open_sealed(key, row.sealed, f"case_event/{case_id}/{row.seq}"), row.v),
        )
        for row in (await conn.execute(query)).all()
    ]


async def cases_of(
    conn: AsyncConnection, vault: Vault, applicant: str, *, before: UUID | None = None, limit: int = 50
) -> list[Case]:
    """One page of a person's cases, newest first, before the given id; without those whose key is gone."""
    query = (
        select(service_case.c.case_id, service_case.c.sealed)
        .where(service_case.c.applicant == applicant)
        .order_by(service_case.c.case_id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(service_case.c.case_id < before)
    rows = (await conn.execute(query)).all()
    keys = await vault.case_keys(conn, {row.case_id for row in rows})
    found = [_open_case(keys[row.case_id], row.case_id, row.sealed) for row in rows if row.case_id in keys]
    # The column only finds them: whose a case is stands in what is sealed, which nobody can write by hand.
    return [case for case in found if case.applicant == applicant]


async def lock_cases(conn: AsyncConnection, case_ids: Collection[UUID]) -> list[UUID]:
    """Lock several cases, in the order of their ids; gives them in the order in which they may be moved.

    That is the order of their applicants: moving a case locks its applicant's place in the log, and two
    transactions that lock the same things in one order never wait for each other.
    """
    query = (
        select(service_case.c.case_id, service_case.c.applicant)
        .where(service_case.c.case_id.in_(list(case_ids)))
        .order_by(service_case.c.case_id)
    )
    if conn.dialect.name == "postgresql":
        query = query.with_for_update()
    rows = (await conn.execute(query)).all()
    return [row.case_id for row in sorted(rows, key=lambda row: row.applicant)]


def _open_case(key: bytes, case_id: UUID, sealed: bytes) -> Case:
    return msgspec.json.decode(open_sealed(key, sealed, f"service_case/{case_id}"), type=Case)


async def _changing(conn: AsyncConnection, vault: Vault, case: Case, at: At) -> dict[str, object]:
    key = await vault.case_key(conn, case.case_id)
    return {
        "edition": case.edition,
        "state": case.state,
        "version": case.version,
        "seq": case.seq,
        "updated_at": at.machine,
        "sealed": seal(key, msgspec.json.encode(case), f"service_case/{case.case_id}"),
    }
