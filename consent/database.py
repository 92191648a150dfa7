"""What every store shares: transactions, instants in the database's own time, and wake-up hints.

A store function takes the caller's connection, so that one transaction spans packages; whoever opens
transactions (a worker, the sequencer, a route) is given a `Database`. The gateway has the only
implementation: it knows SQLite and PostgreSQL, nothing here does beyond the two dialect names.

Instants are columns of integer milliseconds since the Unix epoch, in UTC: equal on both databases, and
compared and added without time-zone rules. Machine time is the database's, never the host's: several hosts
share leases and expiries, and their clocks differ.

A hint is sent with the commit of its transaction (NOTIFY on PostgreSQL, an event of this process on SQLite).
It only shortens a wait: whoever waits also polls, because a hint may be lost.
"""

import datetime as dt
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from sqlalchemy import BigInteger, text
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeDecorator

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MILLISECOND = dt.timedelta(milliseconds=1)

_MACHINE_TIME_MS = {
    "postgresql": text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"),
    # Seconds, then the digits behind the point: exact to the millisecond, where julianday() is rounded.
    # unixepoch('subsec') says the same from SQLite 3.42 on, which is newer than many a Python's.
    "sqlite": text("SELECT strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)"),
}


class Database(Protocol):
    """Opens transactions; each commits when its block ends and rolls back when it raises."""

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that only reads, on one consistent snapshot where the database has them."""
        ...

    def write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that may write. On SQLite it holds the single write lock from its start."""
        ...

    async def wait_for_hint(self, topic: str, timeout_seconds: float) -> None:
        """Return when a hint on the topic came, or after the time-out: look again in either case."""
        ...


class Instant(TypeDecorator[dt.datetime]):
    """An aware UTC datetime, stored as integer milliseconds since the Unix epoch."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> int | None:
        """Milliseconds for the database; a naive datetime is refused (TypeError, by the subtraction)."""
        return None if value is None else (value - EPOCH) // MILLISECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        """An aware UTC datetime from milliseconds."""
        return None if value is None else EPOCH + value * MILLISECOND


async def machine_time(conn: AsyncConnection) -> dt.datetime:
    """The database's clock now, to the millisecond, in UTC."""
    milliseconds = (await conn.execute(_MACHINE_TIME_MS[conn.dialect.name])).scalar_one()
    return EPOCH + int(milliseconds) * MILLISECOND


async def hint(conn: AsyncConnection, topic: str) -> None:
    """Wake whoever waits for the topic, once this transaction has committed."""
    if conn.dialect.name == "postgresql":
        await conn.execute(text("SELECT pg_notify(:topic, '')"), {"topic": topic})
    else:
        conn.info.setdefault("hints", set()).add(topic)


def fault_name(error: BaseException) -> str:
    """What is wrong, in the driver's own word (`SQLITE_FULL`, `DiskFullError`), else a class name.

    For logs: a driver's message may quote a row, its name for the fault never does.
    """
    raised = getattr(error, "orig", None) or error
    return getattr(raised, "sqlite_errorname", "") or type(raised.__cause__ or raised).__name__
