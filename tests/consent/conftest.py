"""Fixtures of the log's tests: a second store, a sequencer, and a way to record events."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from consent import log
from consent.keys import FileKeyStore, Vault
from consent.model import EventType, LogEvent
from consent.second_store import SqlSecondStore
from consent.sequencer import Sequencer
from gateway.db import SqlDatabase


@pytest.fixture
def origin() -> str:
    return "onestop.example/log"


@pytest.fixture
async def second_database(second_store_url: str) -> AsyncIterator[SqlDatabase]:
    """The database of the second store, with its table."""
    database = SqlDatabase(second_store_url)
    await SqlSecondStore(database).create()
    yield database
    await database.aclose()


@pytest.fixture
def second_store(second_database: SqlDatabase) -> SqlSecondStore:
    return SqlSecondStore(second_database)


@pytest.fixture
def sequencer(
    database: SqlDatabase, second_store: SqlSecondStore, key_store: FileKeyStore, origin: str
) -> Sequencer:
    return Sequencer(database, second_store, key_store, origin)


@pytest.fixture
def record(database: SqlDatabase, vault: Vault) -> Callable[..., Awaitable[None]]:
    """Records `count` events about one subject, in a transaction of their own."""

    async def record(count: int, subject: str = "alice") -> None:
        events = [LogEvent(type=EventType.DATA_RELEASED, subject=subject)] * count
        async with database.write() as conn:
            await log.append(conn, vault, events)

    return record
