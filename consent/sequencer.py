"""Gives each pending leaf its place in the tree, and publishes how far the tree has come.

One run is two steps.

1. In one transaction: take what is pending (DELETE ... RETURNING, so that an event whose transaction
   committed late is not skipped), number it on, write entries, tiles, the new head and its signed note.
   Either all of it is there or none.
2. Advance the second store to the new checkpoint by compare-and-swap, then record the published size. Only
   what stands below that size may leave this system.

A crash between the steps is mended by the next run of any process, which publishes the newest head first.

Several sequencers may run. On PostgreSQL step 1 holds an advisory lock of its transaction, and is ended after
two idle seconds, so that a stopped process blocks nobody for long; on SQLite there is one write lock. Should
a stale one write all the same, the entry's index as primary key stops it. What a sequencer remembers of the
tree's edge is used only while it yields the root of the stored head.

The second store is compared before it is trusted: a checkpoint there that is not among our heads means that
this database was restored or rewritten. That is a LogFault, which ends the sequencer: it needs a human.
"""

import asyncio
import contextlib
import datetime as dt
from typing import Any

import msgspec
import structlog
from sqlalchemy import delete, exists, func, insert, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from consent import log
from consent.checkpoint import Checkpoint, check_origin, sign
from consent.database import Database, fault_name, hint, machine_time
from consent.errors import LogFault
from consent.keys import KeyStore
from consent.merkle import EMPTY_ROOT, RightEdge, Tile, edge_places, leaf_hash
from consent.second_store import SecondStore
from consent.store import insert_into, log_entry, log_head, log_pending, log_published, log_tile

BATCH_LEAVES_MAX = 4_096
POLL_SECONDS = 0.1
PUBLISH_ATTEMPTS_MAX = 3
BACKOFF_SECONDS_MAX = 5.0
# The lock of step 1, with its limits, in one round trip; the limits end with the transaction.
_LOCK_DRAIN = text(
    "SELECT set_config('idle_in_transaction_session_timeout', '2s', true),"
    " set_config('lock_timeout', '5s', true), pg_advisory_xact_lock(7885099)"
)
# What there is to do: the newest head's size, the published size, whether anything is pending.
_STATE = select(
    select(func.max(log_head.c.size)).scalar_subquery().label("size"),
    select(log_published.c.size).scalar_subquery().label("published"),
    exists().select_from(log_pending).label("pending"),
)

_logger = structlog.get_logger(__name__)


class Head(msgspec.Struct, frozen=True):
    """A head of the log as stored: the checkpoint and its signed note."""

    checkpoint: Checkpoint
    note: bytes


class Sequencer:
    """Sequences and publishes; one at a time makes progress, however many there are."""

    def __init__(
        self, database: Database, second_store: SecondStore, key_store: KeyStore, origin: str
    ) -> None:
        """Raises ValueError for an origin that cannot name the log's keys."""
        check_origin(origin)
        self._database = database
        self._second_store = second_store
        self._key_store = key_store
        self._origin = origin
        # The edge after our own last commit; None when unknown.
        self._edge: RightEdge | None = None
        # What the second store held when we last heard from it, and is known to be a prefix of `_edge`.
        self._held: Checkpoint | None = None

    async def check_start(self) -> None:
        """Raise LogFault when the database is behind the second store, or tells another history."""
        held = await self._second_store.read(self._origin)
        async with self._database.read() as conn:
            await _check_held(conn, held)

    async def sequence_once(self) -> int:
        """Publish what is not, sequence one batch, publish it; the number of leaves sequenced.

        Raises LogFault when the stored tree or the second store contradicts the log.
        """
        async with self._database.read() as conn:
            state = (await conn.execute(_STATE)).one()
            unpublished = await _newest_head(conn) if (state.size or 0) > (state.published or 0) else None
        if unpublished is not None:
            await self._publish(unpublished)
        if not state.pending:
            return 0
        count, head = await self._drain()
        if head is not None:
            await self._publish(head)
        return count

    async def run(self, stop: asyncio.Event) -> None:
        """Sequence until stopped. A passing fault is waited out; a LogFault is raised."""
        failures = 0
        while not stop.is_set():
            try:
                count = await self.sequence_once()
            except LogFault:
                raise
            except Exception as error:  # a lost connection, a full disk: nothing was committed, so try again
                failures += 1
                if failures == 1:
                    _logger.warning("log.sequencer_unavailable", error=fault_name(error))
                await _wait(stop, min(POLL_SECONDS * 2**failures, BACKOFF_SECONDS_MAX))
                continue
            if failures:
                _logger.info("log.sequencer_available", failures=failures)
                failures = 0
            if count < BATCH_LEAVES_MAX:
                await self._database.wait_for_hint(log.PENDING_TOPIC, POLL_SECONDS)

    async def _drain(self) -> tuple[int, Head | None]:
        """Step 1."""
        # Taken out of its place: when this transaction fails, the next one must not build on it.
        remembered, self._edge = self._edge, None
        async with self._database.write() as conn:
            if conn.dialect.name == "postgresql":
                await conn.execute(_LOCK_DRAIN)
            leaves = await _take_pending(conn)
            if not leaves:
                self._edge = remembered
                return 0, None
            edge = await self._edge_now(conn, remembered)
            entries = [
                {"idx": idx, "event_id": event_id, "leaf": leaf}
                for idx, (event_id, leaf) in enumerate(leaves, edge.size)
            ]
            for _, leaf in leaves:
                edge.append(leaf_hash(leaf))
            await conn.execute(insert(log_entry), entries)
            await _write_tiles(conn, edge.take_changed())
            head = await self._write_head(conn, Checkpoint(edge.size, edge.root()), await machine_time(conn))
        self._edge = edge
        return len(leaves), head

    async def _edge_now(self, conn: AsyncConnection, remembered: RightEdge | None) -> RightEdge:
        """The edge of the stored tree: the one remembered, or read anew when another has gone on."""
        newest = await _newest_head(conn)
        checkpoint = newest.checkpoint if newest else Checkpoint(0, EMPTY_ROOT)
        if remembered is not None and Checkpoint(remembered.size, remembered.root()) == checkpoint:
            return remembered
        # Another history may have been restored meanwhile: ask the second store again before publishing.
        self._held = None
        return await _read_edge(conn, checkpoint)

    async def _write_head(self, conn: AsyncConnection, checkpoint: Checkpoint, time: dt.datetime) -> Head:
        note = sign(
            self._origin,
            checkpoint,
            time,
            self._key_store.log_signing_key(),
            self._key_store.log_cosigning_key(),
        )
        await conn.execute(
            insert(log_head).values(size=checkpoint.size, root=checkpoint.root, time=time, note=note)
        )
        return Head(checkpoint, note)

    async def _publish(self, head: Head) -> None:
        """Step 2. When another sequencer is always faster, it publishes for us, or the next run does."""
        for _ in range(PUBLISH_ATTEMPTS_MAX):
            held = self._held or await self._read_held()
            if held is None or held.size < head.checkpoint.size:
                try:
                    await self._second_store.advance(self._origin, held, head.checkpoint, head.note)
                except LogFault:
                    self._held = None  # another was faster, or tells another history: look
                    continue
                held = head.checkpoint
            self._held = held
            async with self._database.write() as conn:
                await _record_published(conn, held.size)
                await hint(conn, log.READY_TOPIC)
            return

    async def _read_held(self) -> Checkpoint | None:
        """What the second store holds, once it is seen to be one of our heads.

        It is read before the database: whatever stands there was committed here before.
        """
        held = await self._second_store.read(self._origin)
        async with self._database.read() as conn:
            await _check_held(conn, held)
        return held


async def _check_held(conn: AsyncConnection, held: Checkpoint | None) -> None:
    """Raise LogFault unless the second store's checkpoint is one of our heads."""
    if held is None:
        published = await log.published_size(conn)
        if published:
            raise LogFault(f"checkpoint {published}", "the second store has lost what was published")
        return
    row = (await conn.execute(select(log_head.c.root).where(log_head.c.size == held.size))).one_or_none()
    if row is None:
        raise LogFault(
            f"checkpoint {held.size}",
            "the second store holds it and the log does not: the database is behind, or another one",
        )
    if row.root != held.root:
        raise LogFault(f"checkpoint {held.size}", "the second store holds another root: the log has forked")


async def _newest_head(conn: AsyncConnection) -> Head | None:
    query = (
        select(log_head.c.size, log_head.c.root, log_head.c.note).order_by(log_head.c.size.desc()).limit(1)
    )
    row = (await conn.execute(query)).one_or_none()
    return None if row is None else Head(Checkpoint(row.size, row.root), row.note)


async def _take_pending(conn: AsyncConnection) -> list[tuple[Any, bytes]]:
    """Remove a batch of what is pending; event id and leaf, roughly in the order in which it came."""
    batch = select(log_pending.c.event_id).order_by(log_pending.c.event_id).limit(BATCH_LEAVES_MAX)
    rows = await conn.execute(
        delete(log_pending)
        .where(log_pending.c.event_id.in_(batch.scalar_subquery()))
        .returning(log_pending.c.event_id, log_pending.c.leaf)
    )
    return sorted((row.event_id, row.leaf) for row in rows)


async def _read_edge(conn: AsyncConnection, checkpoint: Checkpoint) -> RightEdge:
    """The edge of the tree from its partial tiles. Raises LogFault when they do not make the head's root."""
    places = [(level, n) for level, n, _ in edge_places(checkpoint.size)]
    rows = await conn.execute(select(log_tile).where(tuple_(log_tile.c.level, log_tile.c.n).in_(places)))
    edge = RightEdge.from_tiles(checkpoint.size, [Tile(row.level, row.n, row.hashes) for row in rows])
    if edge.root() != checkpoint.root:
        raise LogFault(f"checkpoint {checkpoint.size}", "the stored tiles do not make its root")
    return edge


async def _write_tiles(conn: AsyncConnection, tiles: list[Tile]) -> None:
    statement = insert_into(conn, log_tile)
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["level", "n"], set_={"hashes": statement.excluded.hashes}
        ),
        [{"level": tile.level, "n": tile.n, "hashes": tile.hashes} for tile in tiles],
    )


async def _record_published(conn: AsyncConnection, size: int) -> None:
    """Raise the published size; it never falls, whichever sequencer comes last."""
    statement = insert_into(conn, log_published)
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["id"],
            set_={"size": statement.excluded.size},
            where=log_published.c.size < statement.excluded.size,
        ),
        {"id": 1, "size": size},
    )


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
