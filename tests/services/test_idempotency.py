"""One effect and one answer for each key, whatever is repeated, at once or after a fault."""

import asyncio
import datetime as dt

import pytest
from sqlalchemy import func, insert, select, update

from consent.database import machine_time
from consent.errors import KeyMissing
from consent.ids import uuid7
from consent.keys import Vault
from consent.store import data_key
from gateway.db import SqlDatabase
from services import idempotency
from services.errors import IdempotencyConflict
from services.idempotency import Answer
from services.store import idempotent_answer, timer

ANSWER = Answer(case_id=uuid7(), status=201, body=b'{"case": "1"}', etag='"v1"')
DIGEST, OTHER_DIGEST = bytes(32), bytes([1]) * 32
LATER = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


class Crash(Exception):
    """The process ends in the middle of the work."""


async def post(
    database: SqlDatabase,
    vault: Vault,
    *,
    owner: str = "alice",
    key: str = "k",
    digest: bytes = DIGEST,
    crash: bool = False,
) -> Answer:
    """What a route does; its effect is one row a time that the work is done."""
    async with database.write() as conn:
        now = await machine_time(conn)
        kept = await idempotency.begin(conn, vault, owner, key, digest, now)
        if kept is not None:
            return kept
        await conn.execute(insert(timer), {"case_id": uuid7(), "name": "effect", "due_at": LATER})
        if crash:
            raise Crash
        await idempotency.finish(conn, vault, owner, key, ANSWER)
        return ANSWER


async def effects(database: SqlDatabase) -> int:
    async with database.read() as conn:
        return (await conn.execute(select(func.count()).select_from(timer))).scalar_one()


async def test_a_repeated_request_gets_the_first_answer(database: SqlDatabase, vault: Vault) -> None:
    answers = [await post(database, vault) for _ in range(3)]

    assert answers == [ANSWER] * 3
    assert await effects(database) == 1


async def test_requests_at_once_with_one_key_have_one_effect(database: SqlDatabase, vault: Vault) -> None:
    answers = await asyncio.gather(*(post(database, vault) for _ in range(12)))

    assert answers == [ANSWER] * 12
    assert await effects(database) == 1


async def test_one_key_with_another_request_is_refused(database: SqlDatabase, vault: Vault) -> None:
    await post(database, vault)

    with pytest.raises(IdempotencyConflict):
        await post(database, vault, digest=OTHER_DIGEST)

    assert await effects(database) == 1
    assert await post(database, vault) == ANSWER


async def test_of_two_requests_at_once_with_one_key_one_is_refused(
    database: SqlDatabase, vault: Vault
) -> None:
    results = await asyncio.gather(
        post(database, vault), post(database, vault, digest=OTHER_DIGEST), return_exceptions=True
    )

    assert sorted(type(result).__name__ for result in results) == ["Answer", "IdempotencyConflict"]
    assert await effects(database) == 1


async def test_a_key_is_its_owner_s_own(database: SqlDatabase, vault: Vault) -> None:
    await post(database, vault, owner="alice")
    await post(database, vault, owner="bob", digest=OTHER_DIGEST)

    assert await effects(database) == 2


async def test_a_crash_inside_the_work_leaves_the_key_free(database: SqlDatabase, vault: Vault) -> None:
    with pytest.raises(Crash):
        await post(database, vault, crash=True)
    assert await effects(database) == 0

    assert await post(database, vault, digest=OTHER_DIGEST) == ANSWER
    assert await effects(database) == 1


async def test_who_waited_for_a_request_that_crashed_does_the_work(
    database: SqlDatabase, vault: Vault
) -> None:
    results = await asyncio.gather(
        post(database, vault, crash=True),
        *(post(database, vault) for _ in range(5)),
        return_exceptions=True,
    )

    assert [result for result in results if isinstance(result, Answer)] == [ANSWER] * 5
    assert await effects(database) == 1


async def test_answers_are_forgotten_after_a_day_and_not_before(database: SqlDatabase, vault: Vault) -> None:
    for key in ("old", "new"):
        await post(database, vault, key=key)
    async with database.write() as conn:
        now = await machine_time(conn)
        old = idempotent_answer.c.key == "old"
        before = now - idempotency.KEPT - dt.timedelta(seconds=1)
        await conn.execute(update(idempotent_answer).where(old).values(created_at=before))

    async with database.write() as conn:
        assert await idempotency.forget_old(conn, now) == 1
        assert await idempotency.forget_old(conn, now) == 0

    await post(database, vault, key="new", digest=DIGEST)
    assert await effects(database) == 2
    await post(database, vault, key="old", digest=OTHER_DIGEST)
    assert await effects(database) == 3


async def test_an_answer_is_sealed_under_its_case_s_key(database: SqlDatabase, vault: Vault) -> None:
    await post(database, vault)
    async with database.write() as conn:
        sealed = (await conn.execute(select(idempotent_answer.c.sealed))).scalar_one()
        await conn.execute(update(data_key).values(wrapped=None))

    assert ANSWER.body not in sealed
    with pytest.raises(KeyMissing):
        await post(database, vault)


async def test_an_answer_copied_to_another_key_does_not_open(database: SqlDatabase, vault: Vault) -> None:
    for key in ("k", "l"):
        await post(database, vault, key=key)
    async with database.write() as conn:
        query = select(idempotent_answer.c.sealed).where(idempotent_answer.c.key == "k")
        sealed = (await conn.execute(query)).scalar_one()
        there = idempotent_answer.c.key == "l"
        await conn.execute(update(idempotent_answer).where(there).values(sealed=sealed))

    with pytest.raises(KeyMissing):
        await post(database, vault, key="l")
