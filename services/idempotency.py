"""One answer to one key: a repeated POST gets the answer that the first one got.

The key's row is written first in the transaction that does the work: a second request with the same key waits
on it (a row conflict on PostgreSQL, the write lock on SQLite) and then finds the answer. The same key with
another request is refused. Answers are sealed under the key of the case they are about and kept for a day.
"""

import datetime as dt
from uuid import UUID

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.keys import Vault, open_sealed, seal
from consent.store import insert_or_ignore
from services.errors import IdempotencyConflict
from services.store import idempotent_answer

KEPT = dt.timedelta(days=1)
KEY_LENGTH_MAX = 80


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered: status, entity tag, body, and the case it is about."""

    case_id: UUID
    status: int
    body: bytes
    etag: str = ""


async def begin(
    conn: AsyncConnection, vault: Vault, owner: str, key: str, request_digest: bytes, now: dt.datetime
) -> Answer | None:
    """Take the key for this transaction, or return the answer it already has.

    Raises IdempotencyConflict when the key stands for another request.
    """
    taken = await conn.execute(
        insert_or_ignore(conn, idempotent_answer),
        {"owner": owner, "key": key, "request_digest": request_digest, "status": 0, "created_at": now},
    )
    if taken.rowcount == 1:
        return None
    query = select(idempotent_answer).where(
        idempotent_answer.c.owner == owner, idempotent_answer.c.key == key
    )
    row = (await conn.execute(query)).one()
    if row.request_digest != request_digest:
        raise IdempotencyConflict("this idempotency key was used with another request")
    encoded = open_sealed(
        await vault.case_key(conn, row.case_id), row.sealed, f"idempotent_answer/{owner}/{key}"
    )
    return msgspec.json.decode(encoded, type=Answer)


async def finish(conn: AsyncConnection, vault: Vault, owner: str, key: str, answer: Answer) -> None:
    """Keep the answer under the key taken by `begin` in this transaction."""
    case_key = await vault.case_key(conn, answer.case_id)
    await conn.execute(
        update(idempotent_answer)
        .where(idempotent_answer.c.owner == owner, idempotent_answer.c.key == key)
        .values(
            case_id=answer.case_id,
            status=answer.status,
            sealed=seal(case_key, msgspec.json.encode(answer), f"idempotent_answer/{owner}/{key}"),
        )
    )


async def forget_old(conn: AsyncConnection, now: dt.datetime) -> int:
    """Delete answers older than a day; returns how many."""
    old = delete(idempotent_answer).where(idempotent_answer.c.created_at < now - KEPT)
    return (await conn.execute(old)).rowcount
