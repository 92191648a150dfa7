"""Where the newest checkpoint is kept a second time, out of reach of whatever happens to the database.

A log proves that nothing was changed since a checkpoint, to whoever remembers that checkpoint. The second
store is the first to remember: it moves forward by compare-and-swap only, so that of two histories that part
only one can ever be published. A database that was restored from a backup is behind it, one that was
rewritten disagrees with it, and in both cases nothing leaves this system any more.
"""

from typing import Protocol

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.checkpoint import Checkpoint
from consent.database import Database
from consent.errors import LogFault
from consent.store import insert_or_ignore, second_store_checkpoint, second_store_metadata

_CREATE_LOCK = 0x6F6E6573746F7001


class SecondStore(Protocol):
    """Holds one checkpoint an origin; it need not be a database (a witness of another organisation)."""

    async def read(self, origin: str) -> Checkpoint | None:
        """The newest checkpoint; None before the first."""
        ...

    async def advance(self, origin: str, old: Checkpoint | None, new: Checkpoint, note: bytes) -> None:
        """Put `new` in the place of `old`; nothing to do when `new` is there already.

        Raises LogFault when anything but these two is there, or `new` is not longer than `old`.
        """
        ...


class SqlSecondStore:
    """A second store in a database of its own: another file with SQLite, another database otherwise."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self) -> None:
        """Make the table where it is missing; processes that start together wait for one another."""
        async with self._database.write() as conn:
            if conn.dialect.name == "postgresql":
                await conn.execute(select(func.pg_advisory_xact_lock(_CREATE_LOCK)))
            await conn.run_sync(second_store_metadata.create_all)

    async def read(self, origin: str) -> Checkpoint | None:
        """See `SecondStore`."""
        async with self._database.read() as conn:
            return await _held(conn, origin)

    async def advance(self, origin: str, old: Checkpoint | None, new: Checkpoint, note: bytes) -> None:
        """See `SecondStore`."""
        table = second_store_checkpoint
        values = {"size": new.size, "root": new.root, "note": note}
        async with self._database.write() as conn:
            if old is None:
                result = await conn.execute(insert_or_ignore(conn, table).values(origin=origin, **values))
            else:
                result = await conn.execute(
                    update(table)
                    .where(
                        table.c.origin == origin,
                        table.c.size == old.size,
                        table.c.root == old.root,
                        table.c.size < new.size,
                    )
                    .values(values)
                )
            if result.rowcount == 0 and await _held(conn, origin) != new:
                raise LogFault(f"checkpoint {new.size}", "the second store holds another checkpoint")


async def _held(conn: AsyncConnection, origin: str) -> Checkpoint | None:
    table = second_store_checkpoint
    row = (
        await conn.execute(select(table.c.size, table.c.root).where(table.c.origin == origin))
    ).one_or_none()
    return None if row is None else Checkpoint(row.size, row.root)
