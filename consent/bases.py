"""Lawful bases in the database: record, show, move along the life cycle, count uses, load.

Each change is a new revision that names the hash of the one before; the newest row has `current = 1`. The
record itself is sealed under its subject's key; beside it stand only the columns that queries need. A change
locks the basis first, and a release (`load(..., lock=True)`) locks it too: on PostgreSQL a withdrawal and a
reply therefore come in one order, and a reply that comes second sees the withdrawal. What is locked is the
basis' place in the status list, which stays the same row: whoever waited for it then reads the newest revision.
"""

import datetime as dt
import hashlib
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from consent import log, status
from consent.errors import KeyMissing, NotPermitted
from consent.ids import shard_of
from consent.keys import Vault, open_sealed, seal
from consent.lifecycle import LIVE_STATES, BasisEvent, next_state
from consent.model import BasisState, EventType, Grant, LawfulBasis, LogEvent
from consent.store import grant_use, insert_or_ignore, lawful_basis, notice, status_slot

RETENTION = "basis"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """The exact text that a person is shown: `content` is canonical JSON, its SHA-256 the address."""

    notice_id: str
    language: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Lower-case hex of the content's SHA-256."""
        return hashlib.sha256(self.content).hexdigest()


class StoredBasis(msgspec.Struct, frozen=True, kw_only=True):
    """A basis as loaded: the record, the hash of this revision, its place in the status lists."""

    basis: LawfulBasis
    sha256: str
    status: tuple[int, int]


async def keep_notice(conn: AsyncConnection, shown: Notice) -> None:
    """Keep a notice under its hash, so that the same text can be shown again."""
    await conn.execute(
        insert_or_ignore(conn, notice),
        {
            "notice_sha256": shown.sha256,
            "notice_id": shown.notice_id,
            "language": shown.language,
            "content": shown.content,
        },
    )


async def kept_notice(conn: AsyncConnection, sha256: str) -> Notice | None:
    """A notice that was shown, by the hash of its content."""
    row = (await conn.execute(select(notice).where(notice.c.notice_sha256 == sha256))).one_or_none()
    if row is None:
        return None
    return Notice(notice_id=row.notice_id, language=row.language, content=row.content)


async def record(conn: AsyncConnection, vault: Vault, bases: Sequence[LawfulBasis]) -> None:
    """Store new bases in their first state: a consent that is `shown`, another kind that is `recorded`."""
    for basis in bases:
        await status.allot(conn, basis.basis_id)
        await _insert(conn, vault, basis)
    await log.append(conn, vault, [_first_event(basis) for basis in bases])


async def move(
    conn: AsyncConnection,
    vault: Vault,
    basis_id: UUID,
    event: BasisEvent,
    *,
    reason: str = "",
    grants: tuple[Grant, ...] | None = None,
    changes: Mapping[str, object] | None = None,
) -> LawfulBasis:
    """Take one edge of the life cycle and log it; returns the record after it.

    Raises TransitionRefused for a pair that is no edge; withdrawing what is withdrawn changes nothing.
    Raises NotPermitted when the basis does not exist.
    """
    stored = await load(conn, vault, basis_id, lock=True)
    if event is BasisEvent.WITHDRAW and stored.basis.state is BasisState.WITHDRAWN:
        return stored.basis
    state, event_type = next_state(stored.basis.state, event)
    basis = msgspec.structs.replace(
        stored.basis,
        state=state,
        state_reason=reason,
        revision=stored.basis.revision + 1,
        previous_revision_sha256=stored.sha256,
        grants=stored.basis.grants if grants is None else grants,
        **(changes or {}),
    )
    await conn.execute(
        update(lawful_basis)
        .where(lawful_basis.c.basis_id == basis_id, lawful_basis.c.current == 1)
        .values(current=0)
    )
    await _insert(conn, vault, basis)
    if state in {BasisState.WITHDRAWN, BasisState.REVOKED, BasisState.EXPIRED, BasisState.ENDED}:
        await status.revoke(conn, basis_id)
    await log.append(conn, vault, [_event(basis, event_type)])
    return basis


async def load(conn: AsyncConnection, vault: Vault, basis_id: UUID, *, lock: bool = False) -> StoredBasis:
    """The newest revision. Raises NotPermitted (`unknown`) when there is none.

    Raises KeyMissing when it cannot be read, since its subject's key was destroyed.
    """
    if lock:
        await _lock(conn, basis_id)
    found = await _opened(conn, vault, _current().where(lawful_basis.c.basis_id == basis_id))
    if not found:
        raise NotPermitted("unknown", "no such lawful basis")
    return found[0]


async def load_many(
    conn: AsyncConnection, vault: Vault, basis_ids: Collection[UUID]
) -> dict[UUID, StoredBasis]:
    """The newest revisions of these bases, by id; one that cannot be read any more is left out."""
    query = _current().where(lawful_basis.c.basis_id.in_(list(basis_ids)))
    found = await _opened(conn, vault, query, leave_out=True)
    return {stored.basis.basis_id: stored for stored in found}


async def of_case(conn: AsyncConnection, vault: Vault, case_id: UUID) -> list[StoredBasis]:
    """The newest revisions of a case's bases, oldest basis first."""
    query = _current().where(lawful_basis.c.case_id == case_id).order_by(lawful_basis.c.basis_id)
    return await _opened(conn, vault, query)


async def of_subject(
    conn: AsyncConnection, vault: Vault, subject: str, *, after: UUID | None = None, limit: int = 100
) -> list[StoredBasis]:
    """One page of a person's bases, oldest first, after the given id."""
    query = _current().where(lawful_basis.c.subject == subject).order_by(lawful_basis.c.basis_id).limit(limit)
    if after is not None:
        query = query.where(lawful_basis.c.basis_id > after)
    return await _opened(conn, vault, query)


async def expired(conn: AsyncConnection, now: dt.datetime, limit: int = 100) -> list[UUID]:
    """Ids of granted consents past their expiry, oldest expiry first."""
    query = (
        select(lawful_basis.c.basis_id)
        .where(
            lawful_basis.c.state == BasisState.GRANTED,
            lawful_basis.c.current == 1,
            lawful_basis.c.expires_at <= now,
        )
        .order_by(lawful_basis.c.expires_at)
        .limit(limit)
    )
    return list((await conn.execute(query)).scalars())


async def use(conn: AsyncConnection, basis_id: UUID, item: int, grant: Grant, call_id: UUID) -> None:
    """Count one use of an item by a call; uses of one basis wait for each other.

    Raises NotPermitted (`used-up`) when the item's uses are spent.
    """
    await _lock(conn, basis_id)
    if grant.max_uses is not None:
        count = select(func.count()).where(grant_use.c.basis_id == basis_id, grant_use.c.item == item)
        if (await conn.execute(count)).scalar_one() >= grant.max_uses:
            raise NotPermitted("used-up", f"all {grant.max_uses} uses of this item are spent")
    await conn.execute(insert(grant_use), {"basis_id": basis_id, "call_id": call_id, "item": item})


def _current() -> Select[tuple[UUID, str, bytes, bytes, int, int, int]]:
    return (
        select(
            lawful_basis.c.basis_id,
            lawful_basis.c.subject,
            lawful_basis.c.record,
            lawful_basis.c.record_sha256,
            status_slot.c.list,
            status_slot.c.idx,
            status_slot.c.revoked,
        )
        .join(status_slot, status_slot.c.basis_id == lawful_basis.c.basis_id)
        .where(lawful_basis.c.current == 1)
    )


async def _lock(conn: AsyncConnection, basis_id: UUID) -> None:
    """Hold the basis until the transaction ends; on SQLite the writer is alone anyway."""
    if conn.dialect.name == "postgresql":
        held = select(status_slot.c.basis_id).where(status_slot.c.basis_id == basis_id)
        await conn.execute(held.with_for_update())


async def _opened(
    conn: AsyncConnection,
    vault: Vault,
    query: Select[tuple[UUID, str, bytes, bytes, int, int, int]],
    *,
    leave_out: bool = False,
) -> list[StoredBasis]:
    """What the query finds, opened. A record whose key was destroyed is left out, or raises KeyMissing."""
    rows = (await conn.execute(query)).all()
    keys = await vault.subject_keys(conn, {row.subject for row in rows}, RETENTION) if rows else {}
    if not leave_out and any(row.subject not in keys for row in rows):
        raise KeyMissing("the subject key for this record was destroyed")
    return [_open(row, keys[row.subject]) for row in rows if row.subject in keys]


def _open(row: Row[tuple[UUID, str, bytes, bytes, int, int, int]], key: bytes) -> StoredBasis:
    encoded = open_sealed(key, row.record, f"lawful_basis/{row.basis_id}")
    basis = msgspec.json.decode(encoded, type=LawfulBasis)
    if row.revoked and basis.state in LIVE_STATES:
        # What was published as ended has ended: an older revision was put back in the newest one's place.
        basis = msgspec.structs.replace(basis, state=BasisState.REVOKED)
    return StoredBasis(
        basis=basis,
        sha256=row.record_sha256.hex(),
        status=(row.list, row.idx),
    )


async def _insert(conn: AsyncConnection, vault: Vault, basis: LawfulBasis) -> None:
    encoded = msgspec.json.encode(basis, order="sorted")
    key = await vault.subject_key(conn, basis.subject, RETENTION)
    await conn.execute(
        insert(lawful_basis),
        {
            "basis_id": basis.basis_id,
            "revision": basis.revision,
            "shard": shard_of(basis.basis_id),
            "subject": basis.subject,
            "case_id": basis.case_id,
            "kind": basis.kind,
            "state": basis.state,
            "current": 1,
            "expires_at": basis.expires_at,
            "record_sha256": hashlib.sha256(encoded).digest(),
            "record": seal(key, encoded, f"lawful_basis/{basis.basis_id}"),
        },
    )


def _first_event(basis: LawfulBasis) -> LogEvent:
    return _event(basis, EventType.NOTICE_SHOWN if basis.kind.is_consent else EventType.BASIS_RECORDED)


def _event(basis: LawfulBasis, event_type: EventType) -> LogEvent:
    """The log entry of a revision; one item's fields are listed, those of several are joined in order."""
    details = {"revision": str(basis.revision), "state": str(basis.state)}
    if basis.notice_sha256:
        details["notice"] = f"sha-256:{basis.notice_sha256}"
    if basis.law:
        details["law"] = basis.law
    if basis.state_reason:
        details["reason"] = basis.state_reason
    return LogEvent(
        type=event_type,
        subject=basis.subject,
        agency=",".join(dict.fromkeys(grant.agency for grant in basis.grants)),
        basis=basis.kind,
        basis_id=str(basis.basis_id),
        case=str(basis.case_id or ""),
        purpose=basis.purpose_code,
        fields=tuple(dict.fromkeys(field for grant in basis.grants for field in grant.fields)),
        details=details,
    )


async def spent(conn: AsyncConnection, basis: LawfulBasis) -> bool:
    """Whether a consent's uses are all counted, so that it is consumed. Other kinds end with their purpose."""
    if not basis.kind.is_consent or any(grant.max_uses is None for grant in basis.grants):
        return False
    query = (
        select(grant_use.c.item, func.count().label("uses"))
        .where(grant_use.c.basis_id == basis.basis_id)
        .group_by(grant_use.c.item)
    )
    used = {row.item: row.uses for row in (await conn.execute(query)).all()}
    return all(used.get(item, 0) >= (grant.max_uses or 0) for item, grant in enumerate(basis.grants))
