"""The sequencer: one tree without gaps, published by compare-and-swap, whatever is cut off in between."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import insert, select, update

from consent import log, merkle, store
from consent.checkpoint import Checkpoint, open_note, public_keys
from consent.errors import LogFault
from consent.ids import uuid7
from consent.keys import FileKeyStore, Vault
from consent.model import EventType, LogEvent
from consent.second_store import SqlSecondStore
from consent.sequencer import Sequencer
from gateway.db import SqlDatabase

ORIGIN = "onestop.example/log"

Record = Callable[..., Awaitable[None]]


class UnreachableOnce(SqlSecondStore):
    """A second store whose first compare-and-swap is lost on the way."""

    def __init__(self, database: SqlDatabase) -> None:
        super().__init__(database)
        self.is_reachable = False

    async def advance(self, origin: str, old: Checkpoint | None, new: Checkpoint, note: bytes) -> None:
        if not self.is_reachable:
            self.is_reachable = True
            raise ConnectionError("the second store is away")
        await super().advance(origin, old, new, note)


async def leaf_hashes(database: SqlDatabase) -> list[bytes]:
    """Hashes of all entries; asserts on the way that the indexes have no gap."""
    async with database.read() as conn:
        rows = (await conn.execute(select(store.log_entry).order_by(store.log_entry.c.idx))).all()
    assert [row.idx for row in rows] == list(range(len(rows)))
    return [merkle.leaf_hash(row.leaf) for row in rows]


async def published(database: SqlDatabase) -> int:
    async with database.read() as conn:
        return await log.published_size(conn)


async def assert_whole(database: SqlDatabase, second_store: SqlSecondStore, size: int) -> None:
    """Entries, second store and published size agree on `size` leaves, and nothing is pending."""
    hashes = await leaf_hashes(database)
    assert len(hashes) == size
    assert await second_store.read(ORIGIN) == Checkpoint(size, merkle.root(hashes))
    assert await published(database) == size
    async with database.read() as conn:
        assert (await conn.execute(select(store.log_pending))).all() == []


async def test_pending_leaves_are_entered_signed_and_published(
    database: SqlDatabase,
    record: Record,
    key_store: FileKeyStore,
    sequencer: Sequencer,
    second_store: SqlSecondStore,
) -> None:
    await record(3)

    assert await sequencer.sequence_once() == 3
    assert await sequencer.sequence_once() == 0

    await assert_whole(database, second_store, 3)
    async with database.read() as conn:
        note = (await conn.execute(select(store.log_head.c.note))).scalar_one()
    assert open_note(note, ORIGIN, public_keys(key_store)) == await second_store.read(ORIGIN)


async def test_tree_grows_over_full_tiles_and_restarts(
    database: SqlDatabase, record: Record, key_store: FileKeyStore, second_store: SqlSecondStore
) -> None:
    for count in (1, 255, 1, 300):
        await record(count)
        await Sequencer(database, second_store, key_store, ORIGIN).sequence_once()

    await assert_whole(database, second_store, 557)
    async with database.read() as conn:
        tiles = {(row.level, row.n): row.hashes for row in await conn.execute(select(store.log_tile))}
    hashes = await leaf_hashes(database)
    assert {place: len(tile) // 32 for place, tile in tiles.items()} == {
        (0, 0): 256, (0, 1): 256, (0, 2): 45, (1, 0): 2,
    }  # fmt: skip
    assert b"".join(tiles[0, n] for n in range(3)) == b"".join(hashes)


async def test_batch_is_bounded_and_the_rest_follows(
    database: SqlDatabase, sequencer: Sequencer, second_store: SqlSecondStore
) -> None:
    async with database.write() as conn:
        rows = [{"event_id": uuid7(), "leaf": b"%d" % number} for number in range(5_000)]
        await conn.execute(insert(store.log_pending), rows)

    assert await sequencer.sequence_once() == 4_096
    assert await sequencer.sequence_once() == 904

    await assert_whole(database, second_store, 5_000)


async def test_late_commit_is_not_skipped(
    database: SqlDatabase, sequencer: Sequencer, second_store: SqlSecondStore
) -> None:
    """An event with an early id whose transaction commits after later ones have been sequenced."""
    early, late = uuid7(), uuid7()
    for event_id in (late, early):
        async with database.write() as conn:
            await conn.execute(insert(store.log_pending).values(event_id=event_id, leaf=event_id.bytes))
        await sequencer.sequence_once()

    await assert_whole(database, second_store, 2)


async def test_open_transaction_is_waited_for_by_nobody(
    database: SqlDatabase, vault: Vault, record: Record, sequencer: Sequencer, second_store: SqlSecondStore
) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    async with database.write() as conn:
        await log.append(conn, vault, [LogEvent(type=EventType.DATA_RELEASED, subject="bob")])
        await record(2)
        assert await sequencer.sequence_once() == 2
    assert await sequencer.sequence_once() == 1

    await assert_whole(database, second_store, 3)


async def test_concurrent_sequencers_leave_no_gap_and_no_duplicate(
    database: SqlDatabase, record: Record, key_store: FileKeyStore, second_store: SqlSecondStore
) -> None:
    sequencers = [Sequencer(database, second_store, key_store, ORIGIN) for _ in range(3)]
    stop = asyncio.Event()

    async def feed(subject: str) -> None:
        for _ in range(15):
            await record(2, subject)

    async with asyncio.TaskGroup() as group:
        for sequencer in sequencers:
            group.create_task(sequencer.run(stop))
        await asyncio.gather(*(feed(f"subject-{number}") for number in range(4)))
        async with asyncio.timeout(30):
            while await published(database) < 120:
                await database.wait_for_hint("call.ready", 0.05)
        stop.set()

    await assert_whole(database, second_store, 120)


async def test_sequencer_that_slept_continues_from_where_another_has_come(
    database: SqlDatabase, record: Record, key_store: FileKeyStore, second_store: SqlSecondStore
) -> None:
    first = Sequencer(database, second_store, key_store, ORIGIN)
    second = Sequencer(database, second_store, key_store, ORIGIN)

    for sequencer in (first, second, second, first, second, first):
        await record(2)
        assert await sequencer.sequence_once() == 2

    await assert_whole(database, second_store, 12)


async def test_crash_between_commit_and_swap_is_mended_by_any_other_process(
    database: SqlDatabase, record: Record, key_store: FileKeyStore, second_database: SqlDatabase
) -> None:
    second_store = UnreachableOnce(second_database)
    crashing = Sequencer(database, second_store, key_store, ORIGIN)
    await record(2)
    with pytest.raises(ConnectionError):
        await crashing.sequence_once()
    assert len(await leaf_hashes(database)) == 2
    assert await published(database) == 0

    assert await Sequencer(database, second_store, key_store, ORIGIN).sequence_once() == 0

    await assert_whole(database, second_store, 2)


async def test_crash_between_swap_and_published_size_is_mended(
    database: SqlDatabase, record: Record, sequencer: Sequencer, second_store: SqlSecondStore
) -> None:
    await record(2)
    await sequencer.sequence_once()
    async with database.write() as conn:
        await conn.execute(update(store.log_published).values(size=1))

    await sequencer.sequence_once()

    await assert_whole(database, second_store, 2)


async def test_passing_fault_does_not_end_the_sequencer(
    database: SqlDatabase, record: Record, key_store: FileKeyStore, second_database: SqlDatabase
) -> None:
    second_store = UnreachableOnce(second_database)
    stop = asyncio.Event()
    await record(1)

    async with asyncio.TaskGroup() as group:
        group.create_task(Sequencer(database, second_store, key_store, ORIGIN).run(stop))
        async with asyncio.timeout(30):
            while await published(database) < 1:
                await database.wait_for_hint("call.ready", 0.05)
        stop.set()

    await assert_whole(database, second_store, 1)


async def test_failed_transaction_leaves_nothing_behind(
    database: SqlDatabase, record: Record, key_store: FileKeyStore, sequencer: Sequencer,
    second_store: SqlSecondStore,
) -> None:  # fmt: skip
    """An index that is already taken stands for a stale writer: it loses, and its leaves stay pending."""
    await record(2)
    await sequencer.sequence_once()
    await record(2)
    async with database.write() as conn:
        await conn.execute(insert(store.log_entry).values(idx=3, event_id=uuid7(), leaf=b"stale"))

    with pytest.raises(Exception, match=r"(?i)unique"):
        await sequencer.sequence_once()

    async with database.write() as conn:
        assert len((await conn.execute(select(store.log_pending))).all()) == 2
        await conn.execute(store.log_entry.delete().where(store.log_entry.c.idx == 3))
    assert await sequencer.sequence_once() == 2
    await assert_whole(database, second_store, 4)


async def test_second_store_moves_forward_by_compare_and_swap_only(second_store: SqlSecondStore) -> None:
    one, two, other = Checkpoint(1, bytes(32)), Checkpoint(2, bytes(32)), Checkpoint(2, b"\x01" * 32)
    await second_store.advance(ORIGIN, None, one, b"one")
    await second_store.advance(ORIGIN, one, two, b"two")
    await second_store.advance(ORIGIN, one, two, b"two")  # said twice: nothing to do

    refused = ((None, one), (one, other), (two, one), (two, other), (other, Checkpoint(3, bytes(32))))
    for old, new in refused:
        with pytest.raises(LogFault):
            await second_store.advance(ORIGIN, old, new, b"")

    assert await second_store.read(ORIGIN) == two
    assert await second_store.read("another.example/log") is None


async def test_second_store_is_made_once_by_many(second_database: SqlDatabase) -> None:
    await asyncio.gather(*(SqlSecondStore(second_database).create() for _ in range(4)))

    assert await SqlSecondStore(second_database).read(ORIGIN) is None
