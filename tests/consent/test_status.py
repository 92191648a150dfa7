"""Status lists: places are random and kept, and a withdrawn basis shows in the published list."""

import asyncio
import base64
import json
import random
import zlib
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, insert, select

from consent import jws, status
from consent.keys import FileKeyStore
from consent.store import status_slot
from consent.verifier import StatusList, VerificationError
from gateway.db import SqlDatabase
from tests.consent.forge import ISSUER, NOW, SECONDS

URI = f"{ISSUER}/oauth/status/0"


async def published(database: SqlDatabase, key_store: FileKeyStore, list_number: int = 0) -> str:
    async with database.read() as conn:
        return await status.list_token(
            conn, list_number, key=key_store.signing_key("status-list"), uri=URI, now=NOW
        )


def read(token: str, key_store: FileKeyStore) -> StatusList:
    keys = jws.jwks([key_store.signing_key("status-list").public_key()])
    return StatusList.from_token(token, keys, URI, NOW.timestamp())


async def fill(database: SqlDatabase, list_number: int, every: int) -> None:
    """Take every n-th place of a list."""
    rows = [
        {"list": list_number, "idx": index, "basis_id": UUID(int=index), "revoked": 0}
        for index in range(0, status.LIST_ENTRIES, every)
    ]
    async with database.write() as conn:
        await conn.execute(insert(status_slot), rows)


async def test_basis_keeps_the_place_it_was_given(database: SqlDatabase) -> None:
    basis_id = uuid4()
    async with database.write() as conn:
        first = await status.allot(conn, basis_id)
    async with database.write() as conn:
        again = await status.allot(conn, basis_id)
        rows = (await conn.execute(select(func.count()).select_from(status_slot))).scalar_one()

    assert first == again
    assert first[0] == 0
    assert 0 <= first[1] < 2**17
    assert rows == 1


async def test_places_do_not_show_the_order_of_their_bases(database: SqlDatabase) -> None:
    async with database.write() as conn:
        places = [await status.allot(conn, uuid4()) for _ in range(40)]

    assert len(set(places)) == 40
    assert [index for _, index in places] != sorted(index for _, index in places)


async def test_bases_that_come_together_have_a_place_each(database: SqlDatabase) -> None:
    async def allot() -> tuple[int, int]:
        async with database.write() as conn:
            return await status.allot(conn, uuid4())

    places = await asyncio.gather(*(allot() for _ in range(16)))

    assert len(set(places)) == 16


async def test_half_full_list_still_takes_bases(database: SqlDatabase) -> None:
    await fill(database, 0, every=2)

    async with database.write() as conn:
        number, index = await status.allot(conn, uuid4())

    assert number == 0
    assert index % 2 == 1


async def test_full_list_is_followed_by_the_next(database: SqlDatabase) -> None:
    await fill(database, 0, every=1)

    async with database.write() as conn:
        numbers = [(await status.allot(conn, uuid4()))[0] for _ in range(3)]

    assert numbers == [1, 1, 1]


async def test_revoked_basis_shows_in_the_list_and_no_other_does(
    database: SqlDatabase, key_store: FileKeyStore
) -> None:
    async with database.write() as conn:
        kept = [(await status.allot(conn, uuid4()))[1] for _ in range(5)]
        ended = uuid4()
        _, index = await status.allot(conn, ended)
    before = read(await published(database, key_store), key_store)
    async with database.write() as conn:
        await status.revoke(conn, ended)
        await status.revoke(conn, ended)
    after = read(await published(database, key_store), key_store)

    assert before.is_valid(index)
    assert not after.is_valid(index)
    assert all(after.is_valid(other) for other in kept)


async def test_revoking_what_was_never_allotted_changes_nothing(
    database: SqlDatabase, key_store: FileKeyStore
) -> None:
    async with database.write() as conn:
        _, index = await status.allot(conn, uuid4())
        await status.revoke(conn, uuid4())

    assert read(await published(database, key_store), key_store).is_valid(index)


async def test_revoked_basis_of_one_list_does_not_show_in_another(
    database: SqlDatabase, key_store: FileKeyStore
) -> None:
    async with database.write() as conn:
        await conn.execute(insert(status_slot), [{"list": 1, "idx": 9, "basis_id": uuid4(), "revoked": 1}])

    assert read(await published(database, key_store, 0), key_store).is_valid(9)
    assert not read(await published(database, key_store, 1), key_store).is_valid(9)


async def test_list_is_published_in_the_form_of_the_draft(
    database: SqlDatabase, key_store: FileKeyStore
) -> None:
    async with database.write() as conn:
        await conn.execute(
            insert(status_slot),
            [{"list": 0, "idx": index, "basis_id": uuid4(), "revoked": 1} for index in (0, 9, 2**17 - 1)],
        )

    token = await published(database, key_store)

    header, claims = (decoded(segment) for segment in token.split(".")[:2])
    assert header["typ"] == "statuslist+jwt"
    status_list = claims.pop("status_list")
    assert claims == {"sub": URI, "iat": SECONDS, "exp": SECONDS + 300, "ttl": 60}
    assert status_list["bits"] == 1
    content = zlib.decompress(base64.urlsafe_b64decode(status_list["lst"] + "=="))
    assert content[:2] == b"\x01\x02"
    assert content[-1] == 0x80
    assert len(content) == 2**14


async def test_most_scattered_list_still_fits_the_verifier(
    database: SqlDatabase, key_store: FileKeyStore
) -> None:
    scattered = random.Random(1)
    revoked = [index for index in range(status.LIST_ENTRIES) if scattered.random() < 0.5]
    rows = [{"list": 0, "idx": index, "basis_id": UUID(int=index), "revoked": 1} for index in revoked]
    async with database.write() as conn:
        await conn.execute(insert(status_slot), rows)

    content = read(await published(database, key_store), key_store)

    assert [index for index in range(status.LIST_ENTRIES) if not content.is_valid(index)] == revoked


async def test_list_for_another_key_set_is_refused(database: SqlDatabase, key_store: FileKeyStore) -> None:
    token = await published(database, key_store)
    keys = jws.jwks([key_store.signing_key("agency-token").public_key()])

    with pytest.raises(VerificationError) as refused:
        StatusList.from_token(token, keys, URI, NOW.timestamp())
    assert refused.value.step == 8


def decoded(segment: str) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return members
