"""The audit of a log that is as it should be, while it rests and while it grows."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select

from consent import audit, store
from consent.checkpoint import Checkpoint, public_keys
from consent.keys import FileKeyStore
from consent.merkle import EMPTY_ROOT
from consent.second_store import SqlSecondStore
from consent.sequencer import Sequencer
from gateway.db import SqlDatabase

Record = Callable[..., Awaitable[None]]
Verify = Callable[..., Awaitable[audit.Report]]


@pytest.fixture
def verify(
    database: SqlDatabase, second_store: SqlSecondStore, key_store: FileKeyStore, origin: str
) -> Verify:
    async def verify(progress: audit.Progress | None = None) -> audit.Report:
        return await audit.verify(database, second_store, public_keys(key_store), origin, progress)

    return verify


async def test_empty_log_is_whole(verify: Verify) -> None:
    assert await verify() == audit.Report(size=0, root=EMPTY_ROOT, heads=0, published=0, pending=0)


async def test_report_says_what_was_verified(
    record: Record, sequencer: Sequencer, second_store: SqlSecondStore, verify: Verify, origin: str
) -> None:
    for count in (1, 255, 44):
        await record(count)
        await sequencer.sequence_once()
    await record(2)

    report = await verify()

    assert (report.size, report.heads, report.published, report.pending) == (300, 3, 300, 2)
    assert await second_store.read(origin) == Checkpoint(300, report.root)


@pytest.mark.parametrize("size", [255, 256, 257])
async def test_log_around_a_full_tile_is_whole(
    record: Record, sequencer: Sequencer, verify: Verify, size: int
) -> None:
    await record(size)
    await sequencer.sequence_once()

    assert (await verify()).size == size


async def test_log_of_several_batches_is_read_in_batches(
    monkeypatch: pytest.MonkeyPatch, record: Record, sequencer: Sequencer, verify: Verify
) -> None:
    monkeypatch.setattr(audit, "BATCH_TILES", 1)
    monkeypatch.setattr(audit, "BATCH_LEAVES", 256)
    monkeypatch.setattr(audit, "BATCH_HEADS", 2)
    monkeypatch.setattr(audit, "BATCH_EVENTS", 100)
    for count in (200, 200, 200, 168):
        await record(count)
        await sequencer.sequence_once()
    told: list[tuple[int, int]] = []

    report = await verify(lambda done, total: told.append((done, total)))

    assert (report.size, report.heads) == (768, 4)
    assert told == [(256, 768), (512, 768), (768, 768), (768, 768)]


async def test_unpublished_head_is_no_fault(
    database: SqlDatabase, record: Record, sequencer: Sequencer, verify: Verify
) -> None:
    """A crash between commit and compare-and-swap leaves a head that the second store has not seen."""
    await record(2)
    await sequencer.sequence_once()
    await record(3)
    await sequencer._drain()  # the first of a run's two steps

    report = await verify()

    assert (report.size, report.published) == (5, 2)


async def test_growing_log_is_audited_as_it_was_at_one_moment(
    database: SqlDatabase, record: Record, sequencer: Sequencer, verify: Verify
) -> None:
    stop = asyncio.Event()

    async def grow() -> None:
        for _ in range(40):
            await record(8)

    async with asyncio.TaskGroup() as group:
        group.create_task(sequencer.run(stop))
        growing = group.create_task(grow())
        while not growing.done():
            await verify()
        stop.set()

    await sequencer.sequence_once()
    assert (await verify()).size == 320
    async with database.read() as conn:
        assert (await conn.execute(select(store.log_pending))).all() == []
