"""Ways to cheat the log. Each test is one, done by hand on the database; each must be noticed.

The log under attack has 300 leaves, in two tiles and a level above, and three heads, all published.
"""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from sqlalchemy import delete, insert, select, update
from sqlalchemy.sql import Executable

from consent import audit, checkpoint, log
from consent.checkpoint import Checkpoint, public_keys
from consent.errors import LogFault
from consent.ids import uuid7
from consent.keys import FileKeyStore
from consent.merkle import leaf_hash
from consent.second_store import SqlSecondStore
from consent.sequencer import Sequencer
from consent.store import (
    log_entry,
    log_event,
    log_head,
    log_pending,
    log_published,
    log_tile,
    metadata,
    second_store_checkpoint,
)
from gateway.db import SqlDatabase

Record = Callable[..., Awaitable[None]]

pytestmark = pytest.mark.usefixtures("grown_log")


@pytest.fixture
async def grown_log(record: Record, sequencer: Sequencer) -> None:
    for count in (100, 156, 44):
        await record(count)
        await sequencer.sequence_once()


class Attack:
    """The database in the attacker's hands, and the audit that must notice."""

    def __init__(
        self, database: SqlDatabase, second_store: SqlSecondStore, key_store: FileKeyStore, origin: str
    ) -> None:
        self.database = database
        self.key_store = key_store
        self.origin = origin
        self._second_store = second_store

    async def do(self, *statements: Executable) -> None:
        async with self.database.write() as conn:
            for statement in statements:
                await conn.execute(statement)

    async def entry(self, idx: int) -> Any:
        async with self.database.read() as conn:
            return (await conn.execute(select(log_entry).where(log_entry.c.idx == idx))).one()

    async def tile(self, level: int, n: int) -> bytes:
        async with self.database.read() as conn:
            query = select(log_tile.c.hashes).where(log_tile.c.level == level, log_tile.c.n == n)
            return bytes((await conn.execute(query)).scalar_one())

    async def dump(self) -> dict[str, list[dict[str, Any]]]:
        """All tables, as a backup holds them."""
        async with self.database.read() as conn:
            return {
                table.name: [dict(row._mapping) for row in await conn.execute(select(table))]
                for table in metadata.sorted_tables
            }

    async def restore(self, backup: dict[str, list[dict[str, Any]]]) -> None:
        async with self.database.write() as conn:
            for table in metadata.sorted_tables:
                await conn.execute(delete(table))
                if backup[table.name]:
                    await conn.execute(insert(table), backup[table.name])

    async def is_noticed(self, where: str) -> None:
        """The audit fails and names the place."""
        with pytest.raises(LogFault) as fault:
            await audit.verify(self.database, self._second_store, public_keys(self.key_store), self.origin)
        assert fault.value.where == where


@pytest.fixture
def attack(
    database: SqlDatabase, second_store: SqlSecondStore, key_store: FileKeyStore, origin: str
) -> Attack:
    return Attack(database, second_store, key_store, origin)


def entry_set(at: int, **values: Any) -> Executable:
    return update(log_entry).where(log_entry.c.idx == at).values(values)


def tile_set(level: int, n: int, hashes: bytes) -> Executable:
    return update(log_tile).where(log_tile.c.level == level, log_tile.c.n == n).values(hashes=hashes)


def flipped(value: bytes, at: int) -> bytes:
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]


async def test_untouched_log_is_whole(attack: Attack) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await attack.is_noticed("nowhere")


@pytest.mark.parametrize(
    ("idx", "place"),
    [(0, b'"commit":"'), (99, b'"hour":"'), (255, b'"tag":"'), (256, b'"v":'), (299, b"}")],
)
async def test_one_changed_byte_of_one_leaf_is_noticed_at_its_index(
    attack: Attack, idx: int, place: bytes
) -> None:
    entry = await attack.entry(idx)
    at = entry.leaf.index(place) + len(place) - (place == b"}")

    await attack.do(entry_set(idx, leaf=flipped(entry.leaf, at)))

    await attack.is_noticed(f"index {idx}")


async def test_leaf_rewritten_in_good_form_is_noticed_at_its_index(attack: Attack) -> None:
    entry = await attack.entry(120)
    commit = log.parse_leaf(entry.leaf, "index 120").commit
    forged = entry.leaf.replace(commit.encode(), log.base64url(bytes(32)).encode())

    await attack.do(entry_set(120, leaf=forged))

    await attack.is_noticed("index 120")


@pytest.mark.parametrize("idx", [0, 130, 255])
async def test_deleted_entry_is_noticed(attack: Attack, idx: int) -> None:
    await attack.do(delete(log_entry).where(log_entry.c.idx == idx))

    await attack.is_noticed(f"index {idx}")


async def test_deleted_entry_with_the_rest_moved_up_is_noticed(attack: Attack) -> None:
    await attack.do(delete(log_entry).where(log_entry.c.idx == 250))
    for idx in range(251, 300):
        await attack.do(entry_set(idx, idx=idx - 1))

    await attack.is_noticed("index 250")


async def test_reordered_entries_are_noticed(attack: Attack) -> None:
    first, second = await attack.entry(10), await attack.entry(11)

    await attack.do(entry_set(10, idx=-1), entry_set(11, idx=10), entry_set(-1, idx=11))

    assert (await attack.entry(10)).leaf == second.leaf
    assert (await attack.entry(11)).leaf == first.leaf
    await attack.is_noticed("index 10")


@pytest.mark.parametrize("idx", [300, -1, 5_000])
async def test_entry_inserted_outside_the_heads_is_noticed(attack: Attack, idx: int) -> None:
    leaf = (await attack.entry(0)).leaf

    await attack.do(insert(log_entry).values(idx=idx, event_id=uuid7(), leaf=leaf))

    await attack.is_noticed(f"index {idx}")


async def test_entry_inserted_between_others_is_noticed(attack: Attack, record: Record) -> None:
    await record(1)
    for idx in range(299, 149, -1):
        await attack.do(entry_set(idx, idx=idx + 1))
    async with attack.database.write() as conn:
        pending = (await conn.execute(delete(log_pending).returning(log_pending))).one()
        await conn.execute(insert(log_entry).values(idx=150, event_id=pending.event_id, leaf=pending.leaf))

    await attack.is_noticed("index 150")


async def test_truncated_tail_is_noticed(attack: Attack) -> None:
    await attack.do(delete(log_entry).where(log_entry.c.idx >= 280))

    await attack.is_noticed("index 280")


async def test_tail_truncated_to_an_earlier_head_is_noticed(attack: Attack, sequencer: Sequencer) -> None:
    """Entries, tiles and heads all say 256 leaves; the second store remembers 300."""
    await attack.do(
        delete(log_entry).where(log_entry.c.idx >= 256),
        delete(log_head).where(log_head.c.size > 256),
        delete(log_tile).where(log_tile.c.level == 0, log_tile.c.n == 1),
        update(log_published).values(size=256),
    )

    await attack.is_noticed("checkpoint 300")
    with pytest.raises(LogFault, match="checkpoint 300"):
        await sequencer.check_start()


async def test_restored_backup_is_noticed_and_never_published_from(
    attack: Attack, record: Record, sequencer: Sequencer, second_store: SqlSecondStore
) -> None:
    backup = await attack.dump()
    await record(5)
    await sequencer.sequence_once()
    published = await second_store.read(attack.origin)

    await attack.restore(backup)

    await attack.is_noticed("checkpoint 305")
    fresh = Sequencer(attack.database, second_store, attack.key_store, attack.origin)
    with pytest.raises(LogFault, match="checkpoint 305"):
        await fresh.check_start()
    for process in (sequencer, fresh):
        await record(7)
        with pytest.raises(LogFault, match="checkpoint 305"):
            await process.sequence_once()
    assert await second_store.read(attack.origin) == published
    async with attack.database.read() as conn:
        assert await log.published_size(conn) == 300


async def test_forked_tree_signed_by_the_logs_own_keys_is_noticed(
    attack: Attack, sequencer: Sequencer
) -> None:
    """Everything in the database is written anew, in another order; only the second store remembers."""
    elsewhere = SqlSecondStore(attack.database)
    await elsewhere.create()
    async with attack.database.write() as conn:
        entries = (await conn.execute(select(log_entry).order_by(log_entry.c.idx))).all()
        for table in (log_entry, log_tile, log_head, log_published):
            await conn.execute(delete(table))
    for part in (entries[150:], entries[:150]):
        rows = [{"event_id": entry.event_id, "leaf": entry.leaf} for entry in part]
        await attack.do(insert(log_pending).values(rows))
        await Sequencer(attack.database, elsewhere, attack.key_store, attack.origin).sequence_once()

    await attack.is_noticed("checkpoint 300")
    with pytest.raises(LogFault, match="forked"):
        await sequencer.check_start()


async def test_leaf_and_its_tile_changed_together_are_noticed_at_the_next_head(attack: Attack) -> None:
    entry, tile = await attack.entry(120), await attack.tile(0, 0)
    leaf = entry.leaf.replace(b'"type":"data.released"', b'"type":"data.withheld"')
    hashes = tile[: 120 * 32] + leaf_hash(leaf) + tile[121 * 32 :]

    await attack.do(
        entry_set(120, leaf=leaf),
        tile_set(0, 0, hashes),
        update(log_event).where(log_event.c.event_id == entry.event_id).values(type="data.withheld"),
    )

    await attack.is_noticed("checkpoint 256")


@pytest.mark.parametrize(("level", "n", "at"), [(0, 0, 0), (0, 0, 8_191), (0, 1, 40), (1, 0, 31)])
async def test_changed_tile_is_noticed(attack: Attack, level: int, n: int, at: int) -> None:
    await attack.do(tile_set(level, n, flipped(await attack.tile(level, n), at)))

    await attack.is_noticed(f"tile {level}/{n}")


@pytest.mark.parametrize(("level", "n"), [(0, 0), (0, 1), (1, 0)])
@pytest.mark.parametrize("change", ["shorter", "longer", "removed"])
async def test_tile_of_another_length_is_noticed(attack: Attack, level: int, n: int, change: str) -> None:
    hashes = await attack.tile(level, n)
    change_to = {"shorter": hashes[:-32], "longer": hashes + bytes(32), "removed": b""}

    await attack.do(tile_set(level, n, change_to[change]))

    await attack.is_noticed(f"tile {level}/{n}")


@pytest.mark.parametrize(("level", "n"), [(0, 2), (0, -1), (1, 1), (2, 0), (-1, 0)])
async def test_tile_where_the_tree_has_none_is_noticed(attack: Attack, level: int, n: int) -> None:
    await attack.do(insert(log_tile).values(level=level, n=n, hashes=bytes(32)))

    await attack.is_noticed(f"tile {level}/{n}")


async def test_sequencer_does_not_build_on_a_changed_tile(
    attack: Attack, record: Record, second_store: SqlSecondStore
) -> None:
    await attack.do(tile_set(0, 1, flipped(await attack.tile(0, 1), 0)))
    await record(1)

    with pytest.raises(LogFault, match="checkpoint 300"):
        await Sequencer(attack.database, second_store, attack.key_store, attack.origin).sequence_once()


async def test_head_re_signed_by_another_key_is_noticed(attack: Attack) -> None:
    async with attack.database.read() as conn:
        head = (await conn.execute(select(log_head).where(log_head.c.size == 256))).one()
    note = checkpoint.sign(
        attack.origin,
        Checkpoint(head.size, head.root),
        head.time,
        ed25519.Ed25519PrivateKey.generate(),
        attack.key_store.log_cosigning_key(),
    )

    await attack.do(update(log_head).where(log_head.c.size == 256).values(note=note))

    await attack.is_noticed("checkpoint 256")


async def test_head_of_another_root_is_noticed_though_well_signed(attack: Attack) -> None:
    forged = Checkpoint(256, bytes(32))
    async with attack.database.read() as conn:
        head = (await conn.execute(select(log_head).where(log_head.c.size == 256))).one()
    note = checkpoint.sign(
        attack.origin, forged, head.time,
        attack.key_store.log_signing_key(), attack.key_store.log_cosigning_key(),
    )  # fmt: skip

    await attack.do(update(log_head).where(log_head.c.size == 256).values(root=forged.root, note=note))

    await attack.is_noticed("checkpoint 256")


@pytest.mark.parametrize("values", [{"root": bytes(32)}, {"size": 257}])
async def test_head_that_says_other_than_its_note_is_noticed(attack: Attack, values: dict[str, Any]) -> None:
    await attack.do(update(log_head).where(log_head.c.size == 256).values(values))

    await attack.is_noticed(f"checkpoint {values.get('size', 256)}")


async def test_newest_head_removed_is_noticed(attack: Attack) -> None:
    await attack.do(delete(log_head).where(log_head.c.size == 300))

    await attack.is_noticed("index 256")


async def test_removed_event_row_is_noticed(attack: Attack) -> None:
    entry = await attack.entry(42)

    await attack.do(delete(log_event).where(log_event.c.event_id == entry.event_id))

    await attack.is_noticed("index 42")


@pytest.mark.parametrize(
    "values", [{"type": "data.withheld"}, {"time": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}]
)
async def test_event_row_that_contradicts_its_leaf_is_noticed(attack: Attack, values: dict[str, Any]) -> None:
    entry = await attack.entry(42)

    await attack.do(update(log_event).where(log_event.c.event_id == entry.event_id).values(values))

    await attack.is_noticed("index 42")


async def test_entry_given_another_events_id_is_noticed(attack: Attack) -> None:
    await attack.do(entry_set(42, event_id=uuid7()))

    await attack.is_noticed("index 42")


async def test_event_that_never_reaches_the_log_is_noticed(attack: Attack, record: Record) -> None:
    await record(1)
    async with attack.database.write() as conn:
        event_id = (await conn.execute(delete(log_pending).returning(log_pending.c.event_id))).scalar_one()

    await attack.is_noticed(f"event {event_id}")


async def test_pending_leaf_without_its_event_is_noticed(attack: Attack) -> None:
    entry = await attack.entry(42)
    event_id = uuid7()

    await attack.do(insert(log_pending).values(event_id=event_id, leaf=entry.leaf))

    await attack.is_noticed(f"event {event_id}")


async def test_pending_leaf_of_another_event_is_noticed(attack: Attack, record: Record) -> None:
    await record(1)
    async with attack.database.read() as conn:
        event_id = (await conn.execute(select(log_pending.c.event_id))).scalar_one()

    await attack.do(update(log_pending).values(leaf=(await attack.entry(42)).leaf))

    await attack.is_noticed(f"event {event_id}")


async def test_entered_leaf_put_back_to_pending_is_noticed(attack: Attack) -> None:
    entry = await attack.entry(42)

    await attack.do(insert(log_pending).values(event_id=entry.event_id, leaf=entry.leaf))

    await attack.is_noticed("index 42")


async def test_published_size_raised_by_hand_is_noticed(attack: Attack) -> None:
    await attack.do(update(log_published).values(size=301))

    await attack.is_noticed("checkpoint 301")


async def test_lost_second_store_is_noticed(
    attack: Attack, second_database: SqlDatabase, sequencer: Sequencer, second_store: SqlSecondStore
) -> None:
    async with second_database.write() as conn:
        await conn.execute(delete(second_store_checkpoint))

    await attack.is_noticed("checkpoint 300")
    with pytest.raises(LogFault, match="has lost"):
        await sequencer.check_start()


async def test_log_of_another_origin_is_noticed(attack: Attack) -> None:
    attack.origin = "elsewhere.example/log"

    await attack.is_noticed("checkpoint 100")
