"""The database: SQLite (the embedded default) and PostgreSQL behind one small class.

SQLite runs in WAL mode with synchronous=FULL: an acknowledged commit survives a power cut. Its driver's own
transaction handling is switched off; a writer says BEGIN IMMEDIATE, so that it waits for the write lock at
its start (at most five seconds) and never fails half-way for want of it. PostgreSQL runs READ COMMITTED with
row locks where the stores ask for them.

Hints: LISTEN on a direct connection of its own for PostgreSQL (a pooler in front does not carry it), an
event of this process for SQLite. See `consent.database`.

However the database fails us (no connection, one that broke, a server that stops, a full disk), callers see one
error, SQLAlchemy's OperationalError: what they do then is to tell, or to try again.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

BUSY_TIMEOUT_MS = 5_000
POOL_SIZE = 10
POOL_OVERFLOW = 10
POOL_WAIT_SECONDS = 5
STATEMENT_TIMEOUT_MS = 15_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000
LISTEN_RETRY_SECONDS = 1.0
# Connections that break, servers that stop or cancel, disks that are full (SQLSTATE classes 08, 57, 53).
NOT_OURS = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)


class SqlDatabase:
    """Transactions on one SQLite file or one PostgreSQL database; implements `consent.database.Database`."""

    def __init__(self, url: str, *, listen_url: str | None = None) -> None:
        """`url` is `sqlite:///path` or `postgresql://...`; `listen_url` a direct address for LISTEN."""
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._events: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._listener: asyncio.Task[None] | None = None
        if self.is_sqlite:
            self.engine = create_async_engine(
                parsed.set(drivername="sqlite+aiosqlite"),
                pool_size=POOL_SIZE,
                max_overflow=POOL_OVERFLOW,
                pool_timeout=POOL_WAIT_SECONDS,
                hide_parameters=True,  # an error's text must not quote what was to be stored
            )
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)
        else:
            self.engine = create_async_engine(
                parsed.set(drivername="postgresql+asyncpg"),
                pool_size=POOL_SIZE,
                max_overflow=POOL_OVERFLOW,
                pool_timeout=POOL_WAIT_SECONDS,
                hide_parameters=True,  # an error's text must not quote what was to be stored
                connect_args={
                    "server_settings": {
                        "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
                    }
                },
            )
            listen = make_url(listen_url) if listen_url else parsed
            event.listen(self.engine.sync_engine, "handle_error", _name_loss)
            self._listen_dsn = listen.set(drivername="postgresql").render_as_string(hide_password=False)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads."""
        async with self._connection() as conn:
            if not self.is_sqlite:
                await conn.execution_options(postgresql_readonly=True)
            async with conn.begin():
                yield conn

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write; its hints go out when it has committed."""
        async with self._connection() as conn:
            if self.is_sqlite:
                await conn.execution_options(onestop_write=True)
            hints: set[str] = set()
            try:
                async with conn.begin():
                    yield conn
                    hints = conn.info.get("hints", set())
            finally:
                if not conn.invalidated:  # what is asked of a lost connection opens another
                    conn.info.pop("hints", None)
            for topic in hints:
                self._events[topic].set()

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                conn = await stack.enter_async_context(self.engine.connect())
            except (OSError, asyncpg.PostgresError) as error:  # they come from the driver as they are
                raise OperationalError("connect", None, error) from error
            yield conn

    async def wait_for_hint(self, topic: str, timeout_seconds: float) -> None:
        """Return when a hint on the topic came, or after the time-out."""
        if not self.is_sqlite and self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        if not self.is_sqlite and topic not in self._events:
            # A topic that the listener does not know yet; the time-out covers the moment until it does.
            self._events[topic] = asyncio.Event()
        event_ = self._events[topic]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await event_.wait()
        event_.clear()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
        await self.engine.dispose()

    async def _listen(self) -> None:
        """Keep one connection that listens on all topics; on a lost connection, open the next."""
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await asyncpg.connect(self._listen_dsn)
                try:
                    listening: set[str] = set()
                    while not connection.is_closed():
                        for topic in self._events.keys() - listening:
                            await connection.add_listener(topic, self._on_notify)
                            listening.add(topic)
                        await asyncio.sleep(LISTEN_RETRY_SECONDS)
                finally:
                    await connection.close(timeout=LISTEN_RETRY_SECONDS)
            await asyncio.sleep(LISTEN_RETRY_SECONDS)

    def _on_notify(self, connection: Any, pid: int, topic: str, payload: str) -> None:
        self._events[topic].set()


def _name_loss(context: ExceptionContext) -> None:
    """Raise OperationalError for what is no fault of the statement, whatever the adapter made of it."""
    found = context.sqlalchemy_exception
    if not isinstance(found, DBAPIError) or isinstance(found, OperationalError) or found.orig is None:
        return
    if context.is_disconnect or isinstance(found.orig.__cause__, NOT_OURS):
        raise OperationalError(None, None, found.orig, connection_invalidated=context.is_disconnect)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    """Settings of each new SQLite connection; transactions are begun by us, not by the driver."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "foreign_keys = ON",
        "trusted_schema = OFF",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    write = connection.get_execution_options().get("onestop_write", False)
    connection.execute(text("BEGIN IMMEDIATE" if write else "BEGIN"))
