"""Which documents were issued, so that anybody who holds one can ask whether it still holds.

A document is found by a keyed hash of its public id, which stands nowhere in the database, and its essential
facts are sealed under the case's key: a copy of the database finds and tells nothing, and once the key is
destroyed the document is as unknown as one that never was. A case has one notice in force: a new one revokes
those before it.
"""

from typing import Literal
from uuid import UUID

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.errors import KeyMissing
from consent.ids import shard_of
from consent.keys import Vault, open_sealed, seal
from services.case import At
from services.sealing import Essentials
from services.store import issued_document

Status = Literal["genuine", "revoked", "unknown"]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a document stands: its essential facts, unless it is unknown."""

    status: Status
    facts: Essentials | None = None


UNKNOWN = Standing(status="unknown")


async def record(
    conn: AsyncConnection,
    vault: Vault,
    case_id: UUID,
    *,
    document_id: UUID,
    public_id: str,
    facts: Essentials,
    at: At,
) -> None:
    """Enter a document as issued; what was issued for the case before is revoked."""
    await revoke(conn, case_id, at)
    key = await vault.case_key(conn, case_id)
    row = {
        "document_id": document_id,
        "shard": shard_of(document_id),
        "case_id": case_id,
        "lookup": _lookup(vault, public_id),
        "sealed": seal(key, msgspec.json.encode(facts), _place(document_id)),
        "revoked_at": None,
    }
    await conn.execute(insert(issued_document), row)


async def revoke(conn: AsyncConnection, case_id: UUID, at: At) -> None:
    """The documents of the case hold no longer."""
    await conn.execute(
        update(issued_document)
        .where(issued_document.c.case_id == case_id, issued_document.c.revoked_at.is_(None))
        .values(revoked_at=at.machine)
    )


async def standing(conn: AsyncConnection, vault: Vault, public_id: str) -> Standing:
    """How the document of this public id stands; whatever is no id is the id of no document."""
    query = select(issued_document).where(issued_document.c.lookup == _lookup(vault, public_id))
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        return UNKNOWN
    try:
        key = await vault.case_key(conn, row.case_id)
    except KeyMissing:
        return UNKNOWN
    facts = msgspec.json.decode(open_sealed(key, row.sealed, _place(row.document_id)), type=Essentials)
    return Standing(status="genuine" if row.revoked_at is None else "revoked", facts=facts)


def _lookup(vault: Vault, public_id: str) -> bytes:
    return vault.index_of(f"issued_document/{public_id}")


def _place(document_id: UUID) -> str:
    return f"issued_document/{document_id}"
