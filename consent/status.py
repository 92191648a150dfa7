"""Status lists: how agencies learn within a minute that a lawful basis has ended.

Each basis has a place in a published list of bits (draft-ietf-oauth-status-list: `statuslist+jwt`, one bit,
1 means invalid). An agency fetches a whole list, so that nobody learns from the fetch whose basis was looked
at; and places are drawn at random, so that they tell nothing about order or kinship of two bases.

A place is drawn by offering several at once: one INSERT of many rows, of which the unique key on the basis
keeps the first whose place is free. Were all of them taken, the list is about three quarters full, and the
last row offered, in the next list, is the one that stays.
"""

import datetime as dt
import secrets
import zlib
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from consent import jws
from consent.store import insert_or_ignore, status_slot

LIST_ENTRIES = 2**17
PLACES_OFFERED = 24  # all taken: 3 in 10,000 times at 70 % full, 10 in 10,000 at 75 %
STATUS_LIST_TYP = "statuslist+jwt"
TTL_SECONDS = 60
LIFETIME_SECONDS = 300


class StatusBits(msgspec.Struct, frozen=True, kw_only=True):
    """The list itself: `lst` is zlib over the bits, in base64url; entry i is bit i % 8 of byte i // 8."""

    bits: int
    lst: str


class StatusListClaims(msgspec.Struct, frozen=True, kw_only=True):
    """Claims of a published list; `sub` is its address, `ttl` how many seconds a copy may be used."""

    sub: str
    iat: int
    exp: int
    ttl: int
    status_list: StatusBits


async def allot(conn: AsyncConnection, basis_id: UUID) -> tuple[int, int]:
    """List and index of a basis; drawn at the first call, the same at every later one."""
    newest = (await conn.execute(select(func.max(status_slot.c.list)))).scalar_one() or 0
    places = [(newest, secrets.randbelow(LIST_ENTRIES)) for _ in range(PLACES_OFFERED)]
    places.append((newest + 1, secrets.randbelow(LIST_ENTRIES)))
    rows = [{"list": list_, "idx": idx, "basis_id": basis_id, "revoked": 0} for list_, idx in places]
    await conn.execute(insert_or_ignore(conn, status_slot).values(rows))
    query = select(status_slot.c.list, status_slot.c.idx).where(status_slot.c.basis_id == basis_id)
    slot = (await conn.execute(query)).one()
    return slot.list, slot.idx


async def revoke(conn: AsyncConnection, basis_id: UUID) -> None:
    """Mark the basis as ended, for good; one that never had a place has no token either."""
    await conn.execute(update(status_slot).where(status_slot.c.basis_id == basis_id).values(revoked=1))


async def list_token(
    conn: AsyncConnection, list_number: int, *, key: ec.EllipticCurvePrivateKey, uri: str, now: dt.datetime
) -> str:
    """The signed list as published at `uri`; a list that has no entries yet has no bit set."""
    query = select(status_slot.c.idx).where(status_slot.c.list == list_number, status_slot.c.revoked == 1)
    content = bytearray(LIST_ENTRIES // 8)
    for index in (await conn.execute(query)).scalars():
        content[index // 8] |= 1 << index % 8
    issued_at = int(now.timestamp())
    claims = StatusListClaims(
        sub=uri,
        iat=issued_at,
        exp=issued_at + LIFETIME_SECONDS,
        ttl=TTL_SECONDS,
        status_list=StatusBits(bits=1, lst=jws.base64url(zlib.compress(content, level=9))),
    )
    return jws.sign(claims, key, STATUS_LIST_TYP)
