"""Reads the whole log again and believes nothing: `onestop audit verify`.

Everything is computed anew from the leaves, in batches and in bounded memory, on one snapshot of the
database. The steps, which the code carries by number:

1. The published size is read first, then the second store's checkpoint, then the snapshot is taken: each
   must be within the next, however the log grows meanwhile.
2. Each head's note is signed by both keys of the log and says the head's size and root.
3. Each entry stands at the next index, is in the leaf's one form, names its row's event, agrees with the
   event beside it, and has the hash that the tile of its place holds.
4. The tree grown from the leaves has each head's root at that head's size.
5. Each tile above the leaves is the one that grows from them, and no other tile is stored.
6. The second store's checkpoint and the published size are heads of this log, not ahead of it.
7. Each recorded event is in the log or waits to be, once; and nothing waits without its event.

The first contradiction ends it with a LogFault whose `where` names the place. A leaf that disagrees with its
tile is at fault when the tile agrees with what stands above it; otherwise the tile is.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from itertools import zip_longest
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, and_, exists, func, not_, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from consent import log, merkle
from consent.checkpoint import Checkpoint, LogKeys, open_note
from consent.database import Database
from consent.errors import LogFault
from consent.merkle import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, RightEdge, Tile
from consent.second_store import SecondStore
from consent.store import log_entry, log_event, log_head, log_pending, log_tile

BATCH_TILES = 16
BATCH_LEAVES = BATCH_TILES * TILE_WIDTH
BATCH_HEADS = 256
BATCH_EVENTS = 4_096
IDX_MIN = -(2**63)
NO_EVENT = UUID(int=0)

Progress = Callable[[int, int], None]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was verified: every leaf below `size`, every head, every event; `pending` are still to come."""

    size: int
    root: bytes
    heads: int
    published: int
    pending: int


async def verify(
    database: Database,
    second_store: SecondStore,
    keys: LogKeys,
    origin: str,
    progress: Progress | None = None,
) -> Report:
    """Verify the whole log; `progress` is told (leaves done, leaves in all). Raises LogFault."""
    async with database.read() as conn:  # 1
        published = await log.published_size(conn)
    held = await second_store.read(origin)
    async with database.read() as conn:
        if conn.dialect.name == "postgresql":
            await conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        size = (await conn.execute(select(func.max(log_head.c.size)))).scalar_one() or 0
        edge, heads = await _verify_tree(conn, keys, origin, size, progress or _no_progress)
        await _verify_edge_tiles(conn, edge)
        await _verify_published(conn, published, held, size)
        pending = await _verify_events(conn)
    return Report(size=size, root=edge.root(), heads=heads, published=published, pending=pending)


async def _verify_tree(
    conn: AsyncConnection, keys: LogKeys, origin: str, size: int, progress: Progress
) -> tuple[RightEdge, int]:
    """Steps 2 to 5 for all entries; the edge grown from them and the number of heads."""
    edge = RightEdge()
    heads = _heads(conn, keys, origin)
    head = await anext(heads, None)
    heads_count = 0
    while True:
        hashes = await _read_leaves(conn, edge.size, size)
        await _compare_leaves(conn, edge.size, hashes, size)
        for leaf in hashes:
            edge.append(leaf)
            if head is not None and head.size == edge.size:
                if head.root != edge.root():  # 4
                    raise LogFault(f"checkpoint {head.size}", "its root is not the one over the leaves")
                head, heads_count = await anext(heads, None), heads_count + 1
        await _compare_full_tiles(conn, edge.take_changed())
        progress(edge.size, size)
        if len(hashes) < BATCH_LEAVES:
            break
    if edge.size != size:
        raise LogFault(f"index {edge.size}", f"is missing from a log of {size} leaves")
    behind = (
        await conn.execute(select(func.min(log_entry.c.idx)).where(log_entry.c.idx >= size))
    ).scalar_one()
    if behind is not None:
        raise LogFault(f"index {behind}", f"stands behind the newest head, of {size} leaves")
    if head is not None:
        raise LogFault(f"checkpoint {head.size}", "no log has this size")
    return edge, heads_count


async def _heads(conn: AsyncConnection, keys: LogKeys, origin: str) -> AsyncIterator[Checkpoint]:
    """Step 2: all heads by size."""
    last = -1
    while True:
        query = select(log_head).where(log_head.c.size > last).order_by(log_head.c.size).limit(BATCH_HEADS)
        rows = (await conn.execute(query)).all()
        for row in rows:
            try:
                signed = open_note(row.note, origin, keys)
            except LogFault as fault:
                raise LogFault(f"checkpoint {row.size}", "its note is not one of this log") from fault
            if signed != Checkpoint(row.size, row.root):
                raise LogFault(f"checkpoint {row.size}", "the signed note says another size or root")
            yield signed
        if len(rows) < BATCH_HEADS:
            return
        last = rows[-1].size


async def _read_leaves(conn: AsyncConnection, start: int, size: int) -> list[bytes]:
    """Step 3: the leaf hashes of the next batch of entries."""
    rows = await conn.execute(
        select(
            log_entry.c.idx,
            log_entry.c.event_id,
            log_entry.c.leaf,
            log_event.c.type,
            log_event.c.time,
            exists().where(log_pending.c.event_id == log_entry.c.event_id).label("is_pending"),
        )
        .outerjoin(log_event, log_event.c.event_id == log_entry.c.event_id)
        # An index below zero shows in the first batch.
        .where(log_entry.c.idx >= (start or IDX_MIN), log_entry.c.idx < size)
        .order_by(log_entry.c.idx)
        .limit(BATCH_LEAVES)
    )
    hashes = []
    for expected, row in enumerate(rows, start):
        if row.idx != expected:
            raise LogFault(f"index {min(expected, row.idx)}", f"expected index {expected}, found {row.idx}")
        _check_entry(row)
        hashes.append(merkle.leaf_hash(row.leaf))
    return hashes


def _check_entry(row: Row[Any]) -> None:
    where = f"index {row.idx}"
    leaf = log.parse_leaf(row.leaf, where)
    if leaf.event_id != log.base64url(row.event_id.bytes):
        raise LogFault(where, "the leaf is that of another event")
    if row.type is None:
        raise LogFault(where, "the event of this leaf was removed")
    if (leaf.type, leaf.hour) != (row.type, row.time.strftime("%Y-%m-%dT%H")):
        raise LogFault(where, "the event has another type or time than its leaf")
    if row.is_pending:
        raise LogFault(where, "is entered and still pending")


async def _compare_leaves(conn: AsyncConnection, start: int, hashes: Sequence[bytes], size: int) -> None:
    """Step 3: the leaves of a batch, which starts with a tile, against the tiles that hold their hashes."""
    first = start // TILE_WIDTH
    rows = await conn.execute(
        select(log_tile.c.n, log_tile.c.hashes).where(
            log_tile.c.level == 0, log_tile.c.n >= first, log_tile.c.n < first + BATCH_TILES
        )
    )
    stored = {row.n: row.hashes for row in rows}
    for offset in range(0, len(hashes), TILE_WIDTH):
        n = (start + offset) // TILE_WIDTH
        computed = hashes[offset : offset + TILE_WIDTH]
        if stored.get(n) != b"".join(computed):
            await _blame(conn, Tile(0, n, stored.get(n, b"")), computed, size)


async def _blame(conn: AsyncConnection, stored: Tile, computed: Sequence[bytes], size: int) -> None:
    """Raise the LogFault that names the leaf at fault, or the tile that holds its hash."""
    if await _stands_under_its_parent(conn, stored, size):
        pairs = zip_longest(merkle.split_hashes(stored.hashes), computed)
        for index, (entered, found) in enumerate(pairs, stored.n * TILE_WIDTH):
            if entered != found:
                raise LogFault(f"index {index}", "the leaf was changed or removed after it was entered")
    raise LogFault(f"tile 0/{stored.n}", "does not hold the hashes of its leaves")


async def _stands_under_its_parent(conn: AsyncConnection, tile: Tile, size: int) -> bool:
    """Whether a tile of leaf hashes made what stands above it: a hash, or for the last one the root."""
    if (tile.n + 1) * TILE_WIDTH <= size:
        above = await _stored_tile(conn, 1, tile.n // TILE_WIDTH)
        start = tile.n % TILE_WIDTH * HASH_BYTES
        return above[start : start + HASH_BYTES] == merkle.root(merkle.split_hashes(tile.hashes))
    partial = [Tile(level, n, await _stored_tile(conn, level, n)) for level, n, _ in merkle.edge_places(size)]
    root = (await conn.execute(select(log_head.c.root).where(log_head.c.size == size))).scalar_one()
    try:
        return bool(RightEdge.from_tiles(size, partial).root() == root)
    except LogFault:
        return False


async def _compare_full_tiles(conn: AsyncConnection, tiles: Sequence[Tile]) -> None:
    """Step 5, for tiles above the leaves that have become full."""
    for tile in tiles:
        if tile.level and tile.is_full:
            await _compare_tile(conn, tile)


async def _verify_edge_tiles(conn: AsyncConnection, edge: RightEdge) -> None:
    """Step 5, for the partial tiles, and that no tile is stored where the tree has none."""
    for tile in edge.partial_tiles():
        await _compare_tile(conn, tile)
    in_tree = []
    level, count = 0, edge.size
    while count:
        last = (count - 1) // TILE_WIDTH
        in_tree.append(and_(log_tile.c.level == level, log_tile.c.n.between(0, last)))
        level, count = level + 1, count >> TILE_HEIGHT
    query = select(log_tile.c.level, log_tile.c.n).limit(1)
    extra = (await conn.execute(query.where(not_(or_(*in_tree))) if in_tree else query)).one_or_none()
    if extra is not None:
        raise LogFault(f"tile {extra.level}/{extra.n}", f"no log of {edge.size} leaves has this tile")


async def _compare_tile(conn: AsyncConnection, tile: Tile) -> None:
    if await _stored_tile(conn, tile.level, tile.n) != tile.hashes:
        raise LogFault(f"tile {tile.level}/{tile.n}", "is not the one that grows from the leaves")


async def _stored_tile(conn: AsyncConnection, level: int, n: int) -> bytes:
    """The tile's hashes; nothing when it is not stored."""
    query = select(log_tile.c.hashes).where(log_tile.c.level == level, log_tile.c.n == n)
    return (await conn.execute(query)).scalar_one_or_none() or b""


async def _verify_published(
    conn: AsyncConnection, published: int, held: Checkpoint | None, size: int
) -> None:
    """Step 6. The heads themselves are verified by now."""
    if held is not None:
        where = f"checkpoint {held.size}"
        if held.size > size:
            raise LogFault(where, f"the second store holds it, and the log ends at {size}")
        query = select(log_head.c.root).where(log_head.c.size == held.size)
        if (await conn.execute(query)).scalar_one_or_none() != held.root:
            raise LogFault(where, "the second store holds another tree: the log has forked")
    if published > (held.size if held else 0):
        raise LogFault(f"checkpoint {published}", "counts as published, and the second store has not seen it")


async def _verify_events(conn: AsyncConnection) -> int:
    """Step 7; the number of events that wait."""
    last = NO_EVENT
    while True:
        in_log = exists().where(log_entry.c.event_id == log_event.c.event_id)
        rows = (
            await conn.execute(
                select(log_event.c.event_id, in_log.label("in_log"), log_pending.c.leaf)
                .outerjoin(log_pending, log_pending.c.event_id == log_event.c.event_id)
                .where(log_event.c.event_id > last)
                .order_by(log_event.c.event_id)
                .limit(BATCH_EVENTS)
            )
        ).all()
        for row in rows:
            if row.leaf is not None:
                _check_pending(row)
            elif not row.in_log:
                raise LogFault(f"event {row.event_id}", "is recorded, and neither in the log nor pending")
        if len(rows) < BATCH_EVENTS:
            break
        last = rows[-1].event_id
    return await _count_pending(conn)


def _check_pending(row: Row[Any]) -> None:
    where = f"event {row.event_id}"
    if log.parse_leaf(row.leaf, where).event_id != log.base64url(row.event_id.bytes):
        raise LogFault(where, "waits with the leaf of another event")


async def _count_pending(conn: AsyncConnection) -> int:
    without_event = ~exists().where(log_event.c.event_id == log_pending.c.event_id)
    stray = (await conn.execute(select(log_pending.c.event_id).where(without_event).limit(1))).one_or_none()
    if stray is not None:
        raise LogFault(f"event {stray.event_id}", "waits to be entered, and is not recorded")
    return (await conn.execute(select(func.count()).select_from(log_pending))).scalar_one()


def _no_progress(done: int, total: int) -> None:
    pass
