"""Documents of a case: chunks of 1 MiB, each sealed under the case's key, in the database.

One backup holds everything, a range read opens only the chunks it needs, and destroying the case's key makes
all of them unreadable. The address is an HMAC of the content's SHA-256 under the case's key: equal content in
one case has one address, and nothing is shared across cases.

What an upload is, is read from its own bytes; the name and type that a browser claims are not believed.
"""

import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import puremagic
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.ids import shard_of, uuid7
from consent.keys import Vault, open_sealed, seal
from services import store
from services.errors import CaseNotFound, TooLarge, UnsupportedMedia
from services.events import Document

CHUNK_BYTES = 1 << 20
SNIFF_BYTES = 4096
PDF_HEADER = b"%PDF-"
PDF_HEADER_WITHIN = 1024


async def receive(stream: AsyncIterator[bytes], bytes_max: int) -> bytes:
    """Read an upload, at most `bytes_max`. Raises TooLarge as soon as there is more."""
    content = bytearray()
    async for part in stream:
        content += part
        if len(content) > bytes_max:
            raise TooLarge(bytes_max)
    return bytes(content)


def sniff(content: bytes, accepted: Sequence[str]) -> str:
    """The media type that the content itself shows. Raises UnsupportedMedia unless it is accepted.

    The first bytes decide, and they must decide alone. Readers of PDF look for its header in the first 1,024
    bytes (PDF Reference 1.7, appendix H.3, note 13), so that a picture that carries one there would be
    opened as either: it is refused.
    """
    try:
        matches = puremagic.magic_string(content[:SNIFF_BYTES])
    except (puremagic.PureError, ValueError):
        matches = []
    found = {
        match.mime_type for match in matches if match.byte_match and content.startswith(match.byte_match)
    }
    taken = sorted(found.intersection(accepted))
    if taken and PDF_HEADER in content[1:PDF_HEADER_WITHIN]:
        taken.append("application/pdf")
    if len(set(taken)) != 1:
        raise UnsupportedMedia("of several types at once" if taken else "of another type", accepted)
    return str(taken[0])


async def keep(
    conn: AsyncConnection, vault: Vault, case_id: UUID, *, slot: str, media_type: str, content: bytes
) -> Document:
    """Seal and store a document."""
    key = await vault.case_key(conn, case_id)
    digest = hashlib.sha256(content)
    document_id = uuid7()
    await conn.execute(
        insert(store.document),
        {
            "document_id": document_id,
            "shard": shard_of(document_id),
            "case_id": case_id,
            "address": hmac.digest(key, digest.digest(), hashlib.sha256),
            "size": len(content),
        },
    )
    chunks = [
        {
            "document_id": document_id,
            "n": n,
            "sealed": seal(key, content[start : start + CHUNK_BYTES], f"document_chunk/{document_id}/{n}"),
        }
        for n, start in enumerate(range(0, len(content), CHUNK_BYTES))
    ]
    if chunks:
        await conn.execute(insert(store.document_chunk), chunks)
    return Document(
        document_id=document_id,
        slot=slot,
        media_type=media_type,
        size=len(content),
        sha256=digest.hexdigest(),
    )


async def read(
    conn: AsyncConnection,
    vault: Vault,
    case_id: UUID,
    document_id: UUID,
    *,
    start: int = 0,
    end: int | None = None,
) -> bytes:
    """Bytes `start` to `end` (exclusive) of a document of this case. Raises CaseNotFound."""
    owner = select(store.document.c.case_id, store.document.c.size).where(
        store.document.c.document_id == document_id
    )
    row = (await conn.execute(owner)).one_or_none()
    if row is None or row.case_id != case_id:
        raise CaseNotFound("no such document")
    stop = row.size if end is None else min(end, row.size)
    if start >= stop:
        return b""
    first, last = start // CHUNK_BYTES, (stop - 1) // CHUNK_BYTES
    query = (
        select(store.document_chunk.c.n, store.document_chunk.c.sealed)
        .where(
            store.document_chunk.c.document_id == document_id, store.document_chunk.c.n.between(first, last)
        )
        .order_by(store.document_chunk.c.n)
    )
    key = await vault.case_key(conn, case_id)
    content = b"".join(
        open_sealed(key, chunk.sealed, f"document_chunk/{document_id}/{chunk.n}")
        for chunk in (await conn.execute(query)).all()
    )
    return content[start - first * CHUNK_BYTES : stop - first * CHUNK_BYTES]
